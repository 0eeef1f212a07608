"""Stories beside the stored tasks that they follow: random histories with changes, faults, reverts and pruned bundles."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from ao_pipeline.adapters.sources import asana_stories
from ao_pipeline.adapters.sources.outcome import MAX_HOLDS
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import AoError, UnknownNameError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.random_upstreams import WORLD
from ao_pipeline_tests.sources.source_engine import SPECS, START, Engine, FakeTime
from ao_pipeline_tests.sources.source_truth import assert_equals_truth
from ao_pipeline_tests.sources.stored_engine import as_change
from ao_pipeline_tests.stress.histories import open_empty

TASKS, STORIES = "raw/asana_tasks", "raw/asana_stories"
STEPS = 40


class History:
    """Two tables in one store, and somebody at work upstream."""

    def __init__(self, engine: Engine, store: StateStore, draw: random.Random) -> None:
        self.engine, self.store, self.draw = engine, store, draw
        self.number = 0

    def collect(self, asset: str, *, shown: float = 1.0) -> None:
        """Collect and commit in a cycle of its own, of new rows the share `shown`."""
        self.number += 1
        self.engine.now += timedelta(minutes=15)
        cycle = Cycle.last_closed(self.engine.now)
        writer = self.store.begin(Intent(SPECS[asset], cycle, cycle, f"run:{self.number}"))
        time = FakeTime()
        collected = collect(
            asset,
            settings=self.engine.settings,
            cursor=self.store.cursor(asset),
            stored_keys=partial(self.store.read_keys, asset),
            now=cycle.end,
            stored_table=self.store.read,
            changes_since=self.store.changes_since,
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
        mask = pa.array([self.draw.random() < shown for _ in range(collected.rows.num_rows)], pa.bool_())
        cursor = collected.cursor if shown == 1.0 else {**collected.cursor, "seen": {}}
        self.store.commit(writer, as_change(replace(collected, rows=collected.rows.filter(mask), cursor=cursor)))

    def comment(self) -> None:
        tasks = [row["object"]["gid"] for row in self.engine.box.truth("raw_asana_tasks")]
        for _ in range(self.draw.choice([1, 1, 9])):
            self.engine.box.advance(1)
            self.engine.box.mutate("comment", "create", task=self.draw.choice(tasks))

    def uncomment(self) -> None:
        comments = [row["object"] for row in self.engine.box.truth("raw_asana_stories")]
        keys = [found["gid"] for found in comments if found["type"] == "comment"]
        self.engine.box.advance(1)
        if keys:
            self.engine.box.mutate("comment", "delete", key=self.draw.choice(keys))

    def create(self) -> None:
        self.engine.box.advance(1)
        with suppress(ValueError):
            self.engine.box.mutate("task", "create")

    def delete(self) -> None:
        tasks = [row["object"] for row in self.engine.box.truth("raw_asana_tasks")]
        alone = [found["gid"] for found in tasks if not found["num_subtasks"] and not found["parent"]]
        if len(alone) > 20:  # Fewer, and the listing shrinks too much to be believed.
            self.engine.box.mutate("task", "delete", key=self.draw.choice(alone))

    def fault(self) -> None:
        self.engine.box.fault("asana", "status", status=500, path_contains="/stories")
        with suppress(AoError):
            self.collect(STORIES)
        self.engine.box.clear_faults()

    def overlook(self) -> None:
        """Collect tasks of which Asana does not show some."""
        self.collect(TASKS, shown=0.95)

    def compare(self) -> None:
        """Let the daily comparison bring what was overlooked, and stories follow at once."""
        self.engine.now += timedelta(hours=25)
        self.collect(TASKS)
        self.draw.choice([self.linger, self.fault])()

    def linger(self) -> None:
        """Let half of the time go by after some tasks."""
        patient = self.engine.settings.model_copy(update={"call_attempts": 6})
        hasty, self.engine.settings = self.engine.settings, patient
        headers = {"Retry-After": "65"}
        skipped = self.draw.randrange(20)
        self.engine.box.fault(
            "asana", "status", status=429, headers=headers, count=1, skip=skipped, path_contains="/stories"
        )
        self.collect(STORIES)
        self.engine.box.clear_faults()
        self.engine.settings = hasty

    def malform(self) -> None:
        """Spoil records, though not more often in a row than the collector waits for."""
        if int((self.store.cursor(STORIES) or {}).get("held_count", 0)) >= MAX_HOLDS:
            return
        self.engine.box.fault("asana", "malformed_record", path_contains="/stories")
        with suppress(AoError):
            self.collect(STORIES)
        self.engine.box.clear_faults()

    def revert(self) -> None:
        asset = self.draw.choice([TASKS, TASKS, STORIES])
        bundles = self.store.bundles(asset=asset, limit=8)
        if bundles:
            self.number += 1
            cycle = Cycle.from_key(self.draw.choice(bundles).cycle)
            intent = Intent(SPECS[asset], cycle, cycle, f"back:{self.number}", kind=BundleKind.REVERT)
            with suppress(UnknownNameError):
                self.store.revert(intent)

    def prune(self) -> None:
        asset = self.draw.choice([TASKS, STORIES])
        if self.store.head(asset) is not None:
            self.store.prune(asset, keep_from=Cycle.last_closed(self.engine.now))

    def step(self) -> str:
        actions = (
            *(
                self.comment,
                self.uncomment,
                self.create,
                self.delete,
                self.fault,
                self.linger,
                self.overlook,
                self.compare,
                self.malform,
                self.revert,
                self.prune,
            ),
            *(partial(self.collect, asset) for asset in (TASKS, TASKS, STORIES, STORIES, STORIES)),
        )
        self.engine.box.advance(self.draw.choice([0, 60, 900]))
        action = self.draw.choice(actions)
        action()
        return getattr(action, "__name__", f"collect {action.args}" if isinstance(action, partial) else "")


@pytest.mark.parametrize("seed", range(5))
def test_stories_equal_the_upstream_after_any_history(
    seed: int, keys_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 20)
    monkeypatch.setattr(asana_stories, "_PORTION", 4)
    monkeypatch.setattr(asana_stories, "MAX_REMEMBERED", 25)
    draw = random.Random(seed)
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=WORLD)) as box:
        store = open_empty(f"sqlite:///{tmp_path / 'state.db'}", SPECS[TASKS], SPECS[STORIES])
        engine = Engine(box, Settings(sandbox_port=box.port, data_dir=keys_folder, call_attempts=1))
        history = History(engine, store, draw)
        history.overlook()
        done = [history.step() for _ in range(STEPS)]

        engine.advance(hours=25)
        history.collect(TASKS)
        for _ in range(20):
            history.collect(STORIES)

        engine.rows = {STORIES: {(row["story_gid"],): row for row in store.read(STORIES).to_pylist()}}
        assert_equals_truth(engine, STORIES)
        assert store.cursor(STORIES).items() >= {"pending": [], "below": None}.items(), done
        store.close()
