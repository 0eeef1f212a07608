"""One pipeline under test: a simulated agency that stands still, a state store and a Dagster instance of its own."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.operate import CycleOutcome, run_cycle
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.sandbox.world.size import SIZE_S
from ao_pipeline.settings import Settings, current_settings

SIZE = replace(SIZE_S, name="small", tasks=300, mail_threads=150, chat_messages=400, events=150, invoices=60)
"""Large enough for every rule to have something to do; a first cycle over it takes three seconds."""

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
FIRST = Cycle.last_closed(NOW)
SECOND, THIRD = FIRST.shift(1), FIRST.shift(2)
"""SECOND starts on the hour: every collector is due in it."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Plant:
    """Everything that a test of the Dagster layer holds in its hands."""

    box: RunningSandbox
    settings: Settings
    instance: dg.DagsterInstance

    def cycle(self, cycle: Cycle) -> CycleOutcome:
        """Run a cycle as `ao cycle` does."""
        return run_cycle(self.settings, cycle, instance=self.instance)

    def execute(
        self, cycle: Cycle, *assets: str, job: str = "cycle", raises: bool = False, **tags: str
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets in one partition as a person does in the UI; all of the job's without names."""
        definition = build_definitions().resolve_job_def(job)
        if assets:
            definition = definition.get_subset(
                asset_selection=frozenset(dg.AssetKey(asset.split("/")) for asset in assets),
            )
        return definition.execute_in_process(
            instance=self.instance,
            partition_key=cycle.key,
            run_config=QUIET,
            raise_on_error=raises,
            tags={name.replace("__", "/"): value for name, value in tags.items()},
        )

    def execute_tagged(self, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        """Run the whole cycle job with these run tags: how a range of partitions is asked for."""
        job = build_definitions().resolve_job_def("cycle")
        return job.execute_in_process(instance=self.instance, run_config=QUIET, raise_on_error=False, tags=tags)

    def execute_request(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what a schedule or sensor asked for, in one partition."""
        assert request.partition_key is not None
        job = build_definitions().resolve_job_def("cycle")
        subset = job.get_subset(
            asset_selection=frozenset(request.asset_selection or ()),
            asset_check_selection=frozenset(request.asset_check_keys or ()),
        )
        return subset.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=QUIET,
            raise_on_error=False,
            tags=dict(request.tags),
        )

    @contextmanager
    def with_environment(self, **variables: str) -> Iterator[Plant]:
        """Yield the same pipeline under other settings."""
        with environment(**variables) as settings:
            yield replace(self, settings=settings)

    @contextmanager
    def store(self) -> Iterator[StateStore]:
        """Open the state store."""
        store = open_store(self.settings)
        try:
            yield store
        finally:
            store.close()

    def table(self, asset: str) -> pa.Table:
        """Return a table's rows in key order."""
        with self.store() as store:
            spec = store.spec(asset)
            return store.read(asset).sort_by([(name, "ascending") for name in spec.key_names])

    def state_hashes(self) -> dict[str, str]:
        """Return every asset's state hash."""
        with self.store() as store:
            return {asset: head.state_hash for asset, head in store.heads().items()}

    def findings(self) -> list[str]:
        """Return everything that verification of every asset complains of."""
        with self.store() as store:
            return [f"{asset}: {found.problem}" for asset in store.heads() for found in store.verify(asset)]

    def trust(self) -> dict[str, Any]:
        """Return the snapshot's trust strip."""
        bodies = {row["section"]: row["body_json"] for row in self.table("snapshot/agency").to_pylist()}
        strip: dict[str, Any] = json.loads(bodies["trust"])
        return strip

    def report(self, cycle: Cycle) -> dict[str, Any]:
        """Return a cycle's recorded report, with its status."""
        with self.store() as store:
            record = store.cycles.get(cycle)
        assert record is not None, f"cycle {cycle} has no record"
        return {**record.report, "recorded": record.status, "first_cycle": record.first_cycle}

    def materialization(self, asset: str) -> dg.AssetMaterialization:
        """Return the newest materialization event of an asset."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert event is not None, f"{asset} was never materialized"
        assert event.asset_materialization is not None
        return event.asset_materialization

    def facts(self, asset: str) -> dict[str, Any]:
        """Return the metadata of the newest materialization."""
        return {name: value.value for name, value in self.materialization(asset).metadata.items()}


def errors_of(outcome: CycleOutcome) -> dict[str, str]:
    """Return the error of each failed asset."""
    return {item.asset: item.note for item in outcome.assets if item.status == "failed"}


def errors_in(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return the last error's text of each failed step, by asset."""
    found: dict[str, str] = {}
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key:
            failure = event.step_failure_data.user_failure_data
            text = failure.description if failure else str(event.step_failure_data.error)
            found[event.step_key.replace("__", "/")] = text or ""
    return found


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database with whatever still lies in its write-ahead log."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


@contextmanager
def environment(**variables: str) -> Iterator[Settings]:
    """Set `AO_` variables and yield the settings that follow from them; put everything back at the end."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    current_settings.cache_clear()
    try:
        yield current_settings()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        current_settings.cache_clear()


@contextmanager
def sandbox(folder: Path, key_folder: Path) -> Iterator[RunningSandbox]:
    """Serve a world of its own, with a copied service-account key: making one costs more than a world."""
    target = folder / "sandbox"
    target.mkdir(parents=True, exist_ok=True)
    if (key_folder / "google-service-account.json").exists():
        shutil.copy(key_folder / "google-service-account.json", target)
    with serve(SandboxOptions(data_dir=folder, frozen_at=NOW, size=SIZE)) as box:
        yield box
