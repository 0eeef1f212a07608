"""The control: runs that are slow and healthy, for several times the limits. None of them may be ended.

A third only waits, a third works and beats, a third holds the interpreter so long that it cannot beat at all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import dagster as dg

from ao_pipeline.clock import monotonic_seconds, sleep
from ao_pipeline.defs.dead_runs import end_dead_runs
from ao_pipeline.defs.healing import Healing, Sightings
from ao_pipeline.resilience.run_recovery import RunPolicy
from ao_pipeline.settings import PROJECT_DIR

QUICK: Final = RunPolicy(silent=2.0, stopped=1.0, report=0.0)
"""The product's limits divided by twelve, with beats to match."""

SECONDS: Final = 12.0
"""Six times the limit of silence."""

RUNS_AT_ONCE: Final = 20
"""Processes of the control at one time: each is a Python of its own."""

WORKER: Final = """
import sys, threading, time
from contextlib import ExitStack
from pathlib import Path
from ao_pipeline.adapters.run_beats import beating
folder, kind, seconds, *runs = sys.argv[1:]
end = time.monotonic() + float(seconds)
with ExitStack() as stack:
    for run in runs:
        stack.enter_context(beating(Path(folder), run, every_seconds=0.2))
    print("beats", flush=True)
    while time.monotonic() < end:
        if kind == "waits":
            time.sleep(0.5)
        elif kind == "works":
            sum(range(50_000)); time.sleep(0.01)
        else:
            max(range(120_000_000))
"""

KINDS: Final = ("waits", "works", "holds")


@dg.op
def slow() -> None:
    """Stand for a slow step; never executed here."""


@dg.job
def slow_job() -> None:
    """Hold one step."""
    slow()


def wrongly_ended(count: int) -> list[str]:
    """Let `count` slow runs go on under the eyes of the recovery; return what it did to them."""
    done: list[str] = []
    for first in range(0, count, RUNS_AT_ONCE):
        done += _batch(min(RUNS_AT_ONCE, count - first))
    return done


def _batch(count: int) -> list[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ao_controls_")))
        instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        runs = [instance.create_run_for_job(slow_job, status=dg.DagsterRunStatus.STARTED).run_id for _ in range(count)]
        processes = []
        for number, kind in enumerate(KINDS):
            command = [sys.executable, "-c", WORKER, str(folder), kind, str(SECONDS + 30), *runs[number :: len(KINDS)]]
            processes.append(subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE))
            stack.callback(_end, processes[-1])
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        healing = Healing(instance, folder, Sightings.from_cursor(None), dg.get_dagster_logger(), QUICK)
        limit = monotonic_seconds() + SECONDS
        while monotonic_seconds() < limit:
            end_dead_runs(healing)
            sleep(0.5)
        return healing.done


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
