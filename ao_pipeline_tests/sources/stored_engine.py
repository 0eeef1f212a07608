"""Collections as the pipeline makes them, with a real store and processes of their own: a writer, a fetch, a commit, and SIGKILL."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.heads import lock_head
from ao_pipeline.adapters.state.model import CommitStep, Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.collect.result import Collected
from ao_pipeline.cycle import Cycle
from ao_pipeline.sandbox.server import RunningSandbox
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SPECS, Engine
from ao_pipeline_tests.stress.histories import open_empty

FETCHING: Final = "fetching"
FETCHED: Final = "fetched"
PLACES: Final = (FETCHING, FETCHED, *(step.value for step in CommitStep))
"""Where a collection may die: before its second request, with all answers in hand, and at each step of its commit."""

CHILD_SECONDS: Final = 120
PRELOADED: Final = ("ao_pipeline_tests.sources.stored_engine", "ao_pipeline_tests.sources.random_upstreams")
"""Imported once for all children: each runs its parent's main module again, which must not import the world each time."""

ENGINE_TABLES: Final = (
    "ao_asset_head", "ao_bundle", "ao_bundle_payload", "ao_row_index", "ao_quarantine", "ao_acceptance",
)  # fmt: skip


class DoubledError(AssertionError):
    """One collection has more or fewer bundles than one."""


@dataclass(frozen=True)
class Job:
    """One collection to make. Whoever repeats it repeats it under the same name."""

    url: str
    settings: Settings
    asset: str
    cycle: Cycle
    name: str


def collect_and_commit(store: StateStore, job: Job, *, fetched: Callable[[], None] = lambda: None) -> None:
    """Take the asset over, collect, commit; do nothing when an earlier attempt has its bundle."""
    spec = store.spec(job.asset)
    writer = store.begin(Intent(spec, job.cycle, job.cycle, job.name))
    if writer.found is not None:
        return
    collected = collect(
        job.asset,
        settings=job.settings,
        cursor=store.cursor(job.asset),
        stored_keys=partial(store.read_keys, job.asset),
        now=job.cycle.end,
        stored_table=store.read,
        changes_since=store.changes_since,
        sleep=lambda _seconds: None,
    )
    fetched()
    store.commit(writer, as_change(collected))


def as_change(collected: Collected) -> Change:
    """Return what the pipeline's raw assets make of a collection."""
    return Change(
        rows=collected.rows,
        is_full=collected.is_full,
        deleted=None if collected.is_full else collected.deleted,
        cursor=collected.cursor,
        quarantined=collected.quarantined,
    )


def child(job: Job, die_at: str, place: str) -> None:
    """Collect in this process and die at a place, which is written down right before; empty dies nowhere."""

    dying = threading.Lock()

    def pass_by(name: str) -> None:
        if name == die_at:
            dying.acquire()  # For ever: of several threads that come by, the first one dies for all.
            Path(place).write_text(name, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    database = Database(job.url)
    store = StateStore(database, [SPECS[job.asset]], probe=lambda step: pass_by(step.value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceClient, "send", _dying_send(pass_by))
        collect_and_commit(store, job, fetched=lambda: pass_by(FETCHED))
    store.close()
    Path(place).write_text("finished", encoding="utf-8")


def _dying_send(pass_by: Callable[[str], None]) -> Callable[..., Any]:
    real, sent = SourceClient.send, 0

    def send(self: SourceClient, *given: Any, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > 1:
            pass_by(FETCHING)
        return real(self, *given, **named)

    return send


class StoredEngine(Engine):
    """Collects one asset into a real store, and reads rows and cursor back from it."""

    def __init__(self, box: RunningSandbox, settings: Settings, *, url: str, asset: str, folder: Path) -> None:
        """Make the asset's tables in an empty database."""
        super().__init__(box, settings)
        self.url, self.asset, self.folder = url, asset, folder
        self.store = open_empty(url, SPECS[asset])
        self.number = 0
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(PRELOADED))

    def forget(self) -> None:
        """Empty the store, as if it had never collected."""
        with self.store.database.write() as connection:
            for table in (*ENGINE_TABLES, SPECS[self.asset].name):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        self._read_back()

    def run(self, asset: str) -> Any:
        """Collect and commit in this process."""
        try:
            collect_and_commit(self.store, self._next())
        finally:
            self._read_back()

    def crash(self, place: str, *, between: Callable[[], None]) -> str:
        """Let a process collect and die at `place`, then another one collect; return where the first really died.

        Raises:
            DoubledError: The collection has no bundle, or two.
            AssertionError: A process ended in another way.
        """
        job = self._next()
        died_at = self._run_child(job, place)
        between()
        with self.store.database.write() as connection:
            lock_head(connection, self.asset)  # Waits until the dead writer's session is gone.
        if self._run_child(job, "") != "finished":
            raise AssertionError("the repeated collection did not finish")
        self._read_back()
        query = sa.select(sa.func.count()).where(BUNDLE.c.cycle == job.cycle.key, BUNDLE.c.intent == job.name)
        with self.store.database.read() as connection:
            bundles = connection.execute(query).scalar_one()
        if bundles != 1:
            raise DoubledError(f"{job.name} has {bundles} bundles after its crash at {died_at}")
        return died_at

    def _next(self) -> Job:
        self.number += 1
        return Job(self.url, self.settings, self.asset, Cycle.last_closed(self.now), f"run:{self.number}")

    def _run_child(self, job: Job, die_at: str) -> str:
        place = self.folder / "place"
        place.unlink(missing_ok=True)
        process = self.context.Process(target=child, args=(job, die_at, str(place)))
        process.start()
        process.join(CHILD_SECONDS)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"a collection hung; it was to die at {die_at or 'no place'}")
        written = ""
        with suppress(FileNotFoundError):
            written = place.read_text(encoding="utf-8")
        expected = 0 if written == "finished" else -signal.SIGKILL
        if process.exitcode != expected or not written:
            raise AssertionError(f"exit {process.exitcode}, wrote {written!r}, was to die at {die_at!r}")
        return written

    def _read_back(self) -> None:
        spec = SPECS[self.asset]
        rows = self.store.read(self.asset).to_pylist()
        self.rows[self.asset] = {tuple(row[name] for name in spec.key_names): row for row in rows}
        self.cursors[self.asset] = self.store.cursor(self.asset)
