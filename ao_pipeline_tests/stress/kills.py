"""Kill a writer at every boundary of each kind of change, and prove that nothing is lost, halved or doubled.

A child process does the work and kills itself with SIGKILL at one boundary: a `CommitStep`, right before a SQL statement, right
before a COMMIT, or, on SQLite, around one fsync or write of the database file or its log. It writes the place down first, so the parent
knows that it died there and nowhere else. Some of the kills are power cuts: what was written and not yet synced is lost with the process.
The parent then checks the store, makes the same change again, and goes on from there: one long history with a crash in every step of it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.heads import lock_head
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.errors import AoError
from ao_pipeline_tests.stress.histories import MismatchError, reopen, wipe
from ao_pipeline_tests.stress.jobs import KEPT_CYCLES, KINDS, Job
from ao_pipeline_tests.stress.model import COMPUTED, Model
from ao_pipeline_tests.stress.oracle import Oracle
from ao_pipeline_tests.stress.sqlite_files import watch_files
from ao_pipeline_tests.stress.tables import EVERY_TYPE

RANDOM_SHARE: Final = 10
"""One kill in this many comes from outside at a random moment instead of at a counted boundary."""

CUT_SHARE: Final = 3
"""One kill in this many on SQLite takes the power away as well."""

CHILD_SECONDS: Final = 300
"""A child that takes longer hangs, even on a machine with other work."""

ACKNOWLEDGED: Final = "the change is acknowledged"
FINISHED: Final = "finished"


class Boundaries:
    """Counts the boundaries that a store passes and calls `reached(number, name)` at each."""

    def __init__(self, reached: Callable[[int, str], None]) -> None:
        self._reached = reached
        self.count = 0

    def __call__(self, name: str) -> None:
        number, self.count = self.count, self.count + 1
        self._reached(number, name)

    def open(self, url: str) -> StateStore:
        """Open a store whose every statement, commit and step is a boundary."""
        database = Database(url)
        event.listen(database.engine, "before_cursor_execute", self._before_statement)
        event.listen(database.engine, "commit", lambda _connection: self("before COMMIT"))
        return reopen(database, EVERY_TYPE, probe=lambda step: self(step.value))

    def _before_statement(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self("before " + " ".join(statement.split()[:3]))


def child(url: str, job: Job, kill_at: int | str | None, place: str, *, is_cut: bool) -> None:
    """Run a job and die at boundary number `kill_at`, or at the first with that name; the place is written down right before."""

    def die(number: int, name: str) -> None:
        if kill_at in (number, name):
            Path(place).write_text(f"{number} {name}", encoding="utf-8")
            if is_cut and files is not None:
                files.cut_power(random.Random(f"{job.seed}/{job.number}/{number}"))
            os.kill(os.getpid(), signal.SIGKILL)

    boundary = Boundaries(die)
    files = watch_files(boundary) if url.startswith("sqlite") else None
    job.run(boundary.open(url))
    boundary(ACKNOWLEDGED)
    Path(place).write_text(FINISHED, encoding="utf-8")


@dataclass
class Killer:
    """Runs a history of jobs, each of which is killed once and then retried."""

    store: StateStore
    url: str
    folder: Path
    seed: int
    places: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    walked: list[str] = field(default_factory=list)
    """Kinds of change whose every boundary was reached, in order."""
    work: Callable[..., None] = child
    model: Model = field(default_factory=lambda: Model(EVERY_TYPE))
    number: int = 0
    usual_seconds: float = 0.1
    """How long the last undisturbed child took: random moments lie within it."""

    def __post_init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ao_pipeline_tests.stress.kills"])
        self.is_sqlite = self.url.startswith("sqlite")

    def run(
        self,
        kills: int,
        *,
        stride: int = 1,
        after_each: Callable[[int], None] = lambda _done: None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """Kill `kills` times, walking the boundaries of each kind of job in order.

        Args:
            kills: How many.
            stride: Every how many boundaries; a bounded run still reaches the far end of each job.
            after_each: Called with the number of kills so far.
            is_late: Stop early when this is true.
        """
        draw = random.Random(self.seed)
        kind, boundary = 0, 0
        while self.counts["kills"] < kills and not is_late():
            job = self.prepared(KINDS[kind % len(KINDS)])
            if stride == 1 and draw.randrange(RANDOM_SHARE) == 0:
                self._kill_from_outside(job, draw.random() * self.usual_seconds)
            elif self.kill_inside(job, boundary, is_cut=self.is_sqlite and draw.randrange(CUT_SHARE) == 0):
                boundary += stride
            else:  # The job has no boundary with that number: it finished.
                self.walked.append(job.kind)
                kind, boundary = kind + 1, (kind + 1) % stride
            after_each(self.counts["kills"])

    def prepared(self, kind: str) -> Job:
        """Return the next job of a kind, on a store where it has something to do."""
        computed = {"full": 0, "partial": 0, "prune": KEPT_CYCLES + 1}.get(kind, 2)
        if kind not in ("full", "partial"):
            self.settle(self.next_job("full"))
        while len({past.cycle for past in self.model.kept if past.kind == COMPUTED}) < computed:
            self.settle(self.next_job("full"))
        return self.next_job(kind)

    def next_job(self, kind: str) -> Job:
        """Return the next job of a kind."""
        self.number += 1
        return Job.make(self.seed, self.number, kind, self.model)

    def kill_inside(self, job: Job, boundary: int | str, *, is_cut: bool) -> bool:
        """Let a child die at a boundary, check, and make the change again; tell whether it reached the boundary."""
        if is_cut:
            self.store.database.close()  # Nobody outlives a power cut: no other process may hold the file open.
        exit_code, written = self._spawn(job, boundary, is_cut=is_cut)
        number, _, name = written.partition(" ")
        was_killed = exit_code == -signal.SIGKILL
        if was_killed and str(boundary) in (number, name):
            self.counts["kills"] += 1
            self.places[f"{job.kind}: {name}{', power cut' if is_cut else ''}"] += 1
        elif exit_code or written != FINISHED:
            self.problems.append(f"{job}: exit {exit_code}, wrote {written!r}, expected to die at {boundary}")
        self.check(job, must_be_there=written == FINISHED or name in (CommitStep.COMMITTED.value, ACKNOWLEDGED))
        return was_killed

    def _kill_from_outside(self, job: Job, delay: float) -> None:
        exit_code, written = self._spawn(job, None, is_cut=False, delay=delay)
        if exit_code == -signal.SIGKILL:
            self.counts["kills"] += 1
            self.places[f"{job.kind}: at a random moment"] += 1
        self.check(job, must_be_there=written == FINISHED)

    def _spawn(
        self, job: Job, kill_at: int | str | None, *, is_cut: bool, delay: float | None = None
    ) -> tuple[int | None, str]:
        """Run a job in a child; return its exit code and what it wrote last."""
        place = self.folder / "place"
        place.unlink(missing_ok=True)
        arguments = (self.url, job, kill_at, str(place))
        process = self.context.Process(target=self.work, args=arguments, kwargs={"is_cut": is_cut})
        began = time.monotonic()
        process.start()
        if delay is not None:
            time.sleep(delay)
            process.kill()
        process.join(CHILD_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            self.problems.append(f"{job}: still at work after {CHILD_SECONDS} seconds")
        if process.exitcode == 0:
            self.usual_seconds = time.monotonic() - began
        return process.exitcode, place.read_text(encoding="utf-8") if place.exists() else ""

    def check(self, job: Job, *, must_be_there: bool) -> None:
        """Check the store as the crash left it, then make the change again and check again."""
        with self.store.database.write() as connection:
            lock_head(connection, EVERY_TYPE.asset)  # Waits until the dead writer's session is gone.
        after = job.apply(self.model)
        if not self._is(after):
            if not self._is(self.model):
                self._problem("half_applied", job)
            elif must_be_there:
                self._problem("lost", job)
        if self.store.verify(EVERY_TYPE.asset):
            self._problem("half_applied", job)
        self.settle(job)

    def settle(self, job: Job) -> None:
        """Make the change again until it is there: exactly one bundle must come of it."""
        before = self._names()
        try:
            is_replay = job.run(self.store)
        except AoError as error:
            self._problem("half_applied", job, str(error))
            wipe(self.store)  # What is broken stays broken: go on with an empty store.
            self.model = Model(EVERY_TYPE)
            return
        self.model = job.apply(self.model)
        names, expected = self._names(), [(past.seq, past.name) for past in self.model.kept]
        is_new = names[-1:] != before[-1:]
        if names != expected or is_new == is_replay:
            self._problem("doubled" if len(names) > len(expected) or is_new == is_replay else "lost", job)
        if not self._is(self.model) or self.store.verify(EVERY_TYPE.asset):
            self._problem("half_applied", job)

    def _is(self, model: Model) -> bool:
        try:
            Oracle(self.store, EVERY_TYPE, model).compare()
        except MismatchError:
            return False
        return True

    def _names(self) -> list[tuple[int, str]]:
        with self.store.database.read() as connection:
            rows = connection.execute(sa.select(BUNDLE.c.seq, BUNDLE.c.intent).order_by(BUNDLE.c.seq)).all()
        return [(row.seq, row.intent) for row in rows]

    def _problem(self, name: str, job: Job, why: str = "") -> None:
        self.counts[name] += 1
        self.problems.append(f"{name}: {job} {why}".rstrip())
