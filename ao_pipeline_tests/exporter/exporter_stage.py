"""A real store, filled through its own API, behind a real exporter on a free loopback port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import sqlalchemy as sa
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.operations import OperationsReader
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import TableSpec, integer, text
from ao_pipeline.cycle import Cycle
from ao_pipeline.exporter.app import Exporter, build_app
from ao_pipeline.exporter.dagster_figures import DagsterWatch
from ao_pipeline.observability.view import DagsterFigures
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY

FIRST = Cycle.from_key("2026-11-22-10:00")
NOW = FIRST.end + timedelta(minutes=5)
RAW = TableSpec(asset="raw/asana_tasks", key=(text("task_id"),), columns=(integer("minutes"),), row="one task")
TRUTH = TableSpec(asset="truth/capacity", key=(text("lane_id"),), columns=(integer("minutes"),), row="one lane")
SPECS = (RAW, TRUTH, SNAPSHOT_AGENCY)


def commit(store: StateStore, spec: TableSpec, cycle: Cycle, rows: list[dict[str, Any]], **change: Any) -> None:
    intent = Intent(spec=spec, cycle=cycle, first_cycle=cycle, name="compute", run_id="run-1")
    table = spec.arrow_schema.empty_table().from_pylist(rows, schema=spec.arrow_schema)
    store.commit(store.begin(intent), Change(table, is_full=True, **change))


def make_store(url: str) -> StateStore:
    store = StateStore(Database(url), SPECS)
    ENGINE.create_all(store.database.engine)
    metadata = sa.MetaData()
    managed_tables(SPECS, metadata)
    metadata.create_all(store.database.engine)
    return store


def run_cycle(store: StateStore, cycle: Cycle, *, status: str = "success") -> None:
    store.cycles.open(cycle, first_cycle=cycle, run_id="run-1")
    minutes = cycle.start.hour * 60 + cycle.start.minute
    commit(store, RAW, cycle, [{"task_id": "1", "minutes": minutes}, {"task_id": "2", "minutes": 0}])
    commit(store, TRUTH, cycle, [{"lane_id": "ops", "minutes": minutes}])
    body = {"section": "trust", "position": 1, "status": "fresh", "item_count": 2, "body_json": '{"sources":[]}'}
    commit(store, SNAPSHOT_AGENCY, cycle, [body])
    store.cycles.close(cycle, status=status, report={}, run_id="run-1")


def beating(now: datetime = NOW) -> DagsterFigures:
    return DagsterFigures({"SENSOR": now - timedelta(seconds=20)}, {"queued": 3, "started": 1}, None, now)


@dataclass
class Served:
    url: str

    def get(self, path: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.url + path, timeout=20)

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample of a scrape, by name and labels."""
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer.text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }


@contextmanager
def serve(
    url: str | None = None,
    *,
    now: Callable[[], datetime] = lambda: NOW,
    store: Any = None,
    read_dagster: Callable[[], DagsterFigures] = beating,
    answer_seconds: float = 5.0,
) -> Iterator[Served]:
    reader = store or OperationsReader(url or "")
    exporter = Exporter(
        store=reader,
        watch=DagsterWatch(read_dagster),
        cadence_minutes={"raw/asana_tasks": 15},
        started_at=datetime(2026, 11, 22, 9, 0, tzinfo=UTC),
        now=now,
        answer_seconds=answer_seconds,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(exporter), log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        exporter.close()
        listener.close()
