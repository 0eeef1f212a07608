"""Kill a writer at every boundary of a commit and of a revert, and prove that nothing is lost, halved or doubled.

A child process does the work and kills itself with SIGKILL at one boundary: a `CommitStep`, right before a SQL statement, or right
before a COMMIT. It writes the place down first, so the parent knows that it died there and nowhere else. The parent then checks the
store, retries with the same intent, and goes on from there: one long history with a crash in every step of it.
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

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.heads import lock_head
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline_tests.stress.histories import (
    FIRST,
    History,
    MismatchError,
    Model,
    Remembered,
    Rows,
    commit,
    intent,
    reopen,
)
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, key_of, row

KINDS: Final = ("full", "partial", "revert")
RANDOM_SHARE: Final = 10
"""One kill in this many comes from outside at a random moment instead of at a counted boundary."""

REVERT_BACK: Final = 2
CHILD_SECONDS: Final = 60


@dataclass(frozen=True)
class Job:
    """One commit or revert. Everything about it follows from seed and number, so parent and child agree on it."""

    seed: int
    number: int
    kind: str

    @property
    def name(self) -> str:
        """The intent, the same in every attempt."""
        return f"job:{self.number}"

    def rows(self) -> list[Row]:
        """Rows to commit."""
        draw = random.Random(f"{self.seed}/{self.number}")
        numbers = draw.sample(range(9), draw.randrange(1, 6))
        return [
            row(EVERY_TYPE, f"k{n}", n, note=draw.choice(["", "x", None]), ratio=draw.choice([0.5, float("nan"), None]))
            for n in numbers
        ]

    def gone(self) -> list[Row]:
        """Rows to remove; none that are wanted."""
        wanted = {key_of(EVERY_TYPE, values) for values in self.rows()}
        return [row(EVERY_TYPE, f"k{n}", n) for n in range(0, 9, 4) if (f"k{n}", n) not in wanted]

    def run(self, store: StateStore) -> bool:
        """Do it; tell whether its bundle was there already."""
        if self.kind == "revert":
            return store.revert(intent(EVERY_TYPE, FIRST.shift(self.number - REVERT_BACK), self.name)).is_replay
        gone = self.gone() if self.kind == "partial" else None
        cursor = {"job": self.number}
        return commit(
            store,
            EVERY_TYPE,
            FIRST.shift(self.number),
            self.rows(),
            name=self.name,
            is_full=gone is None,
            deleted=gone,
            cursor=cursor,
        ).is_replay

    def expect(self, model: Model) -> tuple[Rows, dict[str, Any] | None]:
        """Return rows and cursor after the job."""
        if self.kind == "revert":
            target = model.state_of(FIRST.shift(self.number - REVERT_BACK))
            assert target is not None
            return target.rows, target.cursor
        after = Model(EVERY_TYPE, dict(model.rows))
        if self.kind == "full":
            after.full(self.rows())
        else:
            after.partial(self.rows(), self.gone())
        return after.rows, {"job": self.number}


def child(url: str, job: Job, kill_at: int | None, place: str) -> None:
    """Run a job and die at boundary number `kill_at`; the place is written down right before."""
    reached = 0

    def boundary(name: str) -> None:
        nonlocal reached
        if reached == kill_at:
            Path(place).write_text(f"{reached} {name}", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        reached += 1

    def before_statement(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        boundary("before " + " ".join(statement.split()[:3]))

    database = Database(url)
    event.listen(database.engine, "before_cursor_execute", before_statement)
    event.listen(database.engine, "commit", lambda _connection: boundary("before COMMIT"))

    def probe(step: CommitStep) -> None:
        boundary(step.value)

    job.run(reopen(database, EVERY_TYPE, probe=probe))
    Path(place).write_text("finished", encoding="utf-8")


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

    def __post_init__(self) -> None:
        self.model = Model(EVERY_TYPE)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["ao_pipeline_tests.stress.kills"])
        self.number = 0

    def run(self, kills: int, *, stride: int = 1, until: Callable[[], bool] = lambda: False) -> None:
        """Kill `kills` times, walking the boundaries of each kind of job in order.

        Args:
            kills: How many.
            stride: Every how many boundaries; a bounded run still reaches the far end of each job.
            until: Stop early when this is true.
        """
        for _ in range(REVERT_BACK + 1):
            self._settle(self._next("full"))
        draw = random.Random(self.seed)
        kind, boundary = 0, 0
        while self.counts["kills"] < kills and not until():
            job = self._next(KINDS[kind % len(KINDS)])
            if stride == 1 and draw.randrange(RANDOM_SHARE) == 0:
                self._kill_from_outside(job, draw.random() * 0.05)
                continue
            if self._kill_inside(job, boundary):
                boundary += stride
            else:  # The job has no boundary with that number: it finished.
                kind, boundary = kind + 1, (kind + 1) % stride

    def _next(self, kind: str) -> Job:
        self.number += 1
        return Job(self.seed, self.number, kind)

    def _kill_inside(self, job: Job, boundary: int) -> bool:
        place = self.folder / "place"
        place.unlink(missing_ok=True)
        process = self.context.Process(target=child, args=(self.url, job, boundary, str(place)))
        process.start()
        process.join(CHILD_SECONDS)
        written = place.read_text(encoding="utf-8") if place.exists() else ""
        was_killed = process.exitcode == -signal.SIGKILL
        if was_killed and written.startswith(f"{boundary} "):
            self.counts["kills"] += 1
            self.places[f"{job.kind}: {written.split(' ', 1)[1]}"] += 1
        elif process.exitcode or written != "finished":
            self.problems.append(f"{job}: exit {process.exitcode}, wrote {written!r}, expected to die at {boundary}")
        must_be_there = written == "finished" or written.endswith(CommitStep.COMMITTED.value)
        self._check(job, must_be_there=must_be_there)
        return was_killed

    def _kill_from_outside(self, job: Job, delay: float) -> None:
        place = self.folder / "place"
        place.unlink(missing_ok=True)
        process = self.context.Process(target=child, args=(self.url, job, None, str(place)))
        process.start()
        time.sleep(delay)
        process.kill()
        process.join(CHILD_SECONDS)
        if process.exitcode == -signal.SIGKILL:
            self.counts["kills"] += 1
            self.places[f"{job.kind}: at a random moment"] += 1
        self._check(job, must_be_there=place.exists() and place.read_text(encoding="utf-8") == "finished")

    def _check(self, job: Job, *, must_be_there: bool) -> None:
        """Check the store as the crash left it, then retry and check again."""
        with self.store.database.write() as connection:
            lock_head(connection, EVERY_TYPE.asset)  # Waits until the dead writer's session is gone.
        before, after = self.model, self._after(job)
        if not self._is(after) and (must_be_there or not self._is(before)):
            self._problem("lost" if must_be_there and self._is(before) else "half_applied", job)
        if self.store.verify(EVERY_TYPE.asset):
            self._problem("half_applied", job)
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """Retry until done: exactly one bundle must come of it."""
        bundles = self._bundles()
        is_replay = job.run(self.store)
        after = self._after(job)
        if self._bundles() - bundles != (0 if is_replay else 1):
            self._problem("doubled", job)
        self.model = after
        if self._bundles() != len(self.model.past):
            self._problem("doubled" if self._bundles() > len(self.model.past) else "lost", job)
        if not self._is(after) or self.store.verify(EVERY_TYPE.asset):
            self._problem("half_applied", job)

    def _after(self, job: Job) -> Model:
        rows, cursor = job.expect(self.model)
        kind = BundleKind.REVERT if job.kind == "revert" else BundleKind.MATERIALIZE
        cycle = FIRST.shift(job.number - (REVERT_BACK if job.kind == "revert" else 0))
        past = [*self.model.past, Remembered(len(self.model.past) + 1, cycle, kind.value, rows, cursor)]
        return Model(EVERY_TYPE, rows, cursor, past)

    def _is(self, model: Model) -> bool:
        history = History(self.store, EVERY_TYPE)
        history.model = model
        try:
            history.compare()
        except MismatchError:
            return False
        return True

    def _bundles(self) -> int:
        with self.store.database.read() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM ao_bundle")).scalar_one())

    def _problem(self, name: str, job: Job) -> None:
        self.counts[name] += 1
        self.problems.append(f"{name}: {job}")
