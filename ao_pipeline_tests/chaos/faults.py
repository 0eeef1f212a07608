"""What is done to the engine: drawn from the seed, done once, and noted with the process that it hit."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import psutil

from ao_pipeline.adapters.run_beats import Beat
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline_tests.chaos.cycles import Cadence
from ao_pipeline_tests.chaos.database import PrivatePostgres
from ao_pipeline_tests.chaos.engine import Engine

RUN_TARGETS: Final = ("run", "step", "oom")
"""`step`: when a drawn number of steps is done. `oom`: when its memory has passed a drawn size, as the kernel would; the kernel's own
killer needs a memory group of our own, which a test machine does not grant."""

SERVICES: Final = ("daemon", "code-server", "webserver", "exporter", "sandbox")
DATABASE: Final = "database"
WEIGHTS: Final = {
    "run": 3, "step": 3, "oom": 2, "daemon": 3, "code-server": 3, "webserver": 1, "exporter": 2, "sandbox": 2, DATABASE: 3,
}  # fmt: skip

DOUBLE_SHARE: Final = 6
"""One fault in this many hits two things at once."""

STOP_SHARE: Final = 0.4
"""Share of SIGSTOP; the others are SIGKILL."""

WORKER_WAIT_SECONDS: Final = 60.0

LATE_STEPS: Final = 25
"""Steps of a run's forty after which it is hit in any case."""


@dataclass
class Fault:
    """One blow: `kind` is kill or stop; for the database a stop ends by itself after `seconds`."""

    target: str
    kind: str
    seconds: float = 0.0
    pid: int = 0
    run_id: str = ""

    @property
    def name(self) -> str:
        return f"{self.target}/{self.kind}"


@dataclass
class Executioner:
    """Draws and does.

    Args:
        seed: Same seed, same sequence of targets, kinds and moments.
        postgres: None on SQLite, whose database is no process.
    """

    engine: Engine
    cadence: Cadence
    draw: random.Random
    postgres: PrivatePostgres | None
    hit_pids: set[int] = field(default_factory=set)
    hit_runs: set[str] = field(default_factory=set)
    hit_services: set[str] = field(default_factory=set)

    def next_faults(self) -> list[Fault]:
        """Return one fault, or two of different targets."""
        targets = [name for name in WEIGHTS if name != DATABASE or self.postgres is not None]
        count = 2 if self.draw.randrange(DOUBLE_SHARE) == 0 else 1
        chosen: list[str] = []
        while len(chosen) < count:
            name = self.draw.choices(targets, [WEIGHTS[target] for target in targets])[0]
            if name not in chosen and not (name in RUN_TARGETS and set(chosen) & set(RUN_TARGETS)):
                chosen.append(name)
        return [
            Fault(name, "stop" if self.draw.random() < STOP_SHARE else "kill", self.draw.uniform(2.0, 8.0))
            for name in chosen
        ]

    def do(self, faults: list[Fault]) -> bool:
        """Do them, a run's first, at once after the others are ready; False when there was nothing to hit."""
        faults.sort(key=lambda fault: fault.target not in RUN_TARGETS)
        for fault in faults:
            if fault.target in RUN_TARGETS and not self._find_worker(fault):
                return False
            if fault.target in SERVICES:
                process = self.engine.processes().get(fault.target)
                if process is None:
                    return False
                fault.pid = process.pid
        for fault in faults:
            self._strike(fault)
        return True

    def _find_worker(self, fault: Fault) -> bool:
        """Wait for a run's process; for a step, until a drawn number of steps are done."""
        steps = self.draw.randrange(1, 12)
        moment = self.draw.uniform(0.0, 3.0)
        memory_bytes = self.draw.randrange(120, 240) << 20
        if fault.target == "oom":
            fault.kind = "kill"
        limit = time.monotonic() + WORKER_WAIT_SECONDS
        while time.monotonic() < limit:
            with suppress(Exception):
                beats = self.engine.workers()
                if beats and self._is_moment(fault.target, beats[-1], steps, memory_bytes):
                    if fault.target == "run":
                        self._wait_in_run(beats[-1].subject, moment)
                    fault.pid, fault.run_id = beats[-1].pid, beats[-1].subject
                    os.kill(fault.pid, 0)
                    return True
            time.sleep(0.05)
        return False

    def _wait_in_run(self, run_id: str, seconds: float) -> None:
        """Let time go by, but not the run: on a fast machine it is over before the longest wait, and there is nothing to heal."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._steps_done(run_id) < LATE_STEPS:
            time.sleep(0.05)

    def _is_moment(self, target: str, beat: Beat, steps: int, memory_bytes: int) -> bool:
        if target == "step":
            return self._steps_done(beat.subject) >= steps
        return target == "run" or psutil.Process(beat.pid).memory_info().rss > memory_bytes

    def _steps_done(self, run_id: str) -> int:
        current = self.cadence.current
        if current is None:
            return 0
        store = open_store(self.engine.settings)
        try:
            return sum(header.run_id == run_id for header in store.bundles(cycle=current.cycle, limit=1_000))
        finally:
            store.close()

    def _strike(self, fault: Fault) -> None:
        if fault.target == DATABASE:
            assert self.postgres is not None
            if fault.kind == "kill":
                self.postgres.kill()
                threading.Timer(fault.seconds, self.postgres.start).start()
            else:
                threading.Thread(target=self.postgres.stop_for, args=(fault.seconds,), daemon=True).start()
            return
        self.hit_pids.add(fault.pid)
        self.hit_runs.add(fault.run_id)
        if fault.target in SERVICES:
            self.hit_services.add(fault.target)
        with suppress(ProcessLookupError):
            os.kill(fault.pid, signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
