"""What is said of a process: by its own start, never by its pid alone, and independent of the wall clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ao_pipeline.adapters.processes import ProcessState, end_for_certain, is_stopped, started_at, state_of
from ao_pipeline.clock import monotonic_seconds, sleep


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def start_of(process: subprocess.Popen[bytes]) -> float:
    started = started_at(process.pid)
    assert started is not None
    return started


def until(state: ProcessState, process: subprocess.Popen[bytes], started: float) -> None:
    limit = monotonic_seconds() + 10
    while state_of(process.pid, started=started) is not state:
        assert monotonic_seconds() < limit, f"never {state}"
        sleep(0.01)


def test_a_process_is_running_stopped_and_gone(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_of(sleeper)
    assert state_of(sleeper.pid, started=started) is ProcessState.RUNNING

    sleeper.send_signal(signal.SIGSTOP)
    until(ProcessState.STOPPED, sleeper, started)
    assert is_stopped(sleeper.pid)

    sleeper.send_signal(signal.SIGKILL)
    until(ProcessState.GONE, sleeper, started)
    assert psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE  # Gone, and not collected by us.


def test_another_process_with_the_pid_is_not_the_one_that_was_meant(sleeper: subprocess.Popen[bytes]) -> None:
    earlier = start_of(sleeper) - 1

    assert state_of(sleeper.pid, started=earlier) is ProcessState.GONE
    assert end_for_certain(sleeper.pid, started=earlier, wait_seconds=0.1)
    assert sleeper.poll() is None


def test_a_stopped_process_is_ended_for_certain_and_left_to_its_parent(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_of(sleeper)
    sleeper.send_signal(signal.SIGSTOP)

    assert end_for_certain(sleeper.pid, started=started, wait_seconds=10)

    assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the kernel tells no start since its own")
def test_a_start_does_not_depend_on_the_wall_clock() -> None:
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - (started_at(os.getpid()) or 0.0)

    assert 0 <= age < 24 * 3600
    assert started_at(2**22 + 1) is None
