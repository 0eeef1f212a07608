"""What the kernel says about a process: is it the one that was meant, does it run, and ending it for certain.

A process is named by its pid and the moment it started: pids are used again, and nothing may ever be ended by pid alone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from ao_pipeline.clock import monotonic_seconds, sleep

_PROC: Final = Path("/proc")
_START_FIELD: Final = 19
"""Of `/proc/PID/stat`, counted after the name: the 22nd field, in ticks since the machine started."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE: Final = Path("/proc/self/ns/pid")


class ProcessState(StrEnum):
    """What a process is doing. `gone` includes a zombie, which only waits to be collected."""

    RUNNING = "running"
    WAITING_FOR_DISK = "waiting for disk"
    STOPPED = "stopped"
    TRACED = "traced"
    GONE = "gone"


_STATES: Final = {
    psutil.STATUS_STOPPED: ProcessState.STOPPED,
    psutil.STATUS_TRACING_STOP: ProcessState.TRACED,
    psutil.STATUS_ZOMBIE: ProcessState.GONE,
    psutil.STATUS_DEAD: ProcessState.GONE,
    psutil.STATUS_DISK_SLEEP: ProcessState.WAITING_FOR_DISK,
}


def boot_id() -> str:
    """Return what tells this start of the machine from others; empty where the kernel has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Return whose pids this process sees: those of its container; empty where the kernel has none."""
    try:
        return os.readlink(_PID_NAMESPACE)
    except OSError:
        return ""


def started_at(pid: int) -> float | None:
    """Return when a process started, in seconds since the machine did; None when there is none.

    As the kernel counts it. psutil tells an instant of the wall clock, and two processes disagree on it after the clock was set.
    """
    if not _PROC.is_dir():
        try:
            return float(psutil.Process(pid).create_time())
        except psutil.Error:
            return None
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        return int(text.rpartition(")")[2].split()[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def is_worker(pid: int) -> bool:
    """Tell whether a process was started by Python's `multiprocessing`, as a code server starts its run workers."""
    try:
        return any("multiprocessing" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def state_of(pid: int, *, started: float) -> ProcessState:
    """Return what the process that started then is doing; a younger one with its pid is another one."""
    if started_at(pid) != started:
        return ProcessState.GONE
    try:
        return _STATES.get(psutil.Process(pid).status(), ProcessState.RUNNING)
    except psutil.NoSuchProcess:
        return ProcessState.GONE
    except psutil.Error:
        return ProcessState.RUNNING  # It is there, and may not be looked at: nothing speaks against it.


def is_stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process: it cannot go on by itself. One that a debugger holds does not count."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 when there is none."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def end_for_certain(pid: int, *, started: float, wait_seconds: float) -> bool:
    """Kill the process that started then; return whether it is gone. A stopped one dies too; others are left alone.

    It is not waited for as a child: the code server, in which sensors run, collects the exits of its own run workers.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if started_at(pid) == started:
            process.send_signal(signal.SIGKILL)  # psutil looks once more that the pid was not used again.
    limit = monotonic_seconds() + wait_seconds
    while state_of(pid, started=started) is not ProcessState.GONE:
        if monotonic_seconds() >= limit:
            return False
        sleep(0.05)
    return True
