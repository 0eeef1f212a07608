"""Every process that descends from a supervisor, found by a mark in its environment, whoever its parent is by now.

A parent's death hands its children to another process, so ancestry alone loses exactly the ones that must be ended.
The mark is inherited, cannot be lost on the way, and names the data folder: leftovers of a supervisor that was killed
together with its watchdog are found by the next one.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "SUPERVISED_BY"
"""Environment variable of every descendant: `<data folder>|<supervisor's pid>|<random>`."""

_PR_SET_CHILD_SUBREAPER: Final = 36


def mark_of(folder: Path) -> str:
    """Return a new mark for a supervisor of this data folder."""
    return f"{prefix_of(folder)}{os.getpid()}|{os.urandom(8).hex()}"


def prefix_of(folder: Path) -> str:
    """Return how the marks of all supervisors of this data folder begin."""
    return f"{folder}|"


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, so that they are reaped; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_adopted(own: set[int]) -> None:
    """Collect the exit of adopted children; those in `own` are collected by their `Popen`."""
    for child in psutil.Process().children():
        if child.pid not in own:
            with suppress(psutil.Error, ChildProcessError):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def marked(beginning: str, *, spare: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """Return living processes whose mark begins so, except this one, its ancestors and `spare`."""
    kept = {os.getpid(), *spare, *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in kept:
            continue
        with suppress(psutil.Error, OSError):
            is_ours = process.environ().get(MARK, "").startswith(beginning)
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(beginning: str, *, grace_seconds: float, spare: frozenset[int] = frozenset()) -> int:
    """End every process whose mark begins so: SIGTERM, then SIGKILL after the grace; return how many needed the latter.

    Looks again until none is left, for a process may start another one while it is being ended.
    """
    killed = 0
    for grace in (grace_seconds, 1.0, 1.0):
        processes = marked(beginning, spare=spare)
        if not processes:
            break
        for process in processes:
            with suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=grace)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        killed += len(alive)
        psutil.wait_procs(alive, timeout=2.0)
    return killed
