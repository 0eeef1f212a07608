"""The database goes away in the middle of a cycle: it fails cleanly, nothing is half written, the next cycle catches up."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from ao_pipeline.adapters.state import database
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.defs import collect
from ao_pipeline.defs.jobs import cycle_request
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.conftest import _plant
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant, errors_in
from ao_pipeline_tests.state.private_postgres import PrivatePostgres, private_postgres


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the half minute out of a step's own retry."""
    up_for_retry = ActiveExecution.mark_up_for_retry
    monkeypatch.setattr(ActiveExecution, "mark_up_for_retry", lambda self, key, _at_time=None: up_for_retry(self, key))


@pytest.fixture
def on_postgres(key_folder: Path, tmp_path: Path) -> Iterator[tuple[Plant, PrivatePostgres]]:
    """A pipeline whose state store is a server of its own."""
    with private_postgres() as server, ExitStack() as stack:
        plant = _plant(stack, tmp_path / "data", key_folder, AO_STATE_URL=server.url)
        assert plant.cycle(FIRST).is_good
        yield plant, server


def once_at(monkeypatch: pytest.MonkeyPatch, asset: str, happens: Any) -> list[str]:
    """Let something happen when the collector of `asset` runs for the first time."""
    happened: list[str] = []
    collect_as_always = collect.collect_from_origin

    def disturbed(spec: TableSpec, **named: Any) -> Any:
        if spec.asset == asset and not happened:
            happened.append(asset)
            happens()
        return collect_as_always(spec, **named)

    monkeypatch.setattr(collect, "collect_from_origin", disturbed)
    return happened


def test_a_server_that_is_killed_and_restarted_within_a_cycle_costs_nothing(
    on_postgres: tuple[Plant, PrivatePostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, server = on_postgres

    def restart() -> None:
        server.kill()
        server.start()
        server.wait_until_ready()

    happened = once_at(monkeypatch, "raw/chat_messages", restart)

    outcome = plant.cycle(SECOND)

    assert happened, "nothing was disturbed"
    assert outcome.status == "success", outcome
    assert plant.findings() == []


def test_a_server_that_stays_away_fails_the_cycle_cleanly_and_the_next_one_catches_up(
    on_postgres: tuple[Plant, PrivatePostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, server = on_postgres
    monkeypatch.setattr(database, "CONNECT_WAITS_SECONDS", (0.1, 0.1))
    happened = once_at(monkeypatch, "raw/chat_messages", server.kill)

    result = plant.execute_request(cycle_request(SECOND, SECOND, purpose="cycle", run_key=None))

    assert happened, "nothing was disturbed"
    assert not result.success
    server.start()
    server.wait_until_ready()
    assert plant.findings() == []
    assert plant.cycle(THIRD).status == "success"
    assert plant.findings() == []


def test_a_lock_that_another_process_holds_for_too_long_costs_the_steps_a_retry_and_nothing_else(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    command = [
        *(sys.executable, "-m", "ao_pipeline_tests.state.lock_holder"),
        str(plant.settings.data_path / "state.db"),
    ]
    timers: list[threading.Timer] = []

    def lock_for_a_while() -> None:
        holder = subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        timers.append(threading.Timer(8.0, holder.communicate, ["\n"]))
        timers[0].start()

    once_at(monkeypatch, "raw/chat_messages", lock_for_a_while)
    job = plant.execute_request(cycle_request(SECOND, SECOND, purpose="cycle", run_key=None))
    timers[0].join()

    retried = [event for event in job.all_events if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert retried, "the lock was not noticed"
    assert all("cannot write: database is locked" in str(event.event_specific_data) for event in retried)
    assert job.success, errors_in(job)
    assert plant.findings() == []
    assert plant.cycle(THIRD).status == "success"


def test_a_database_that_cannot_be_opened_fails_the_run_before_anything_is_collected(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CONNECT_WAITS_SECONDS", (0.05,))
    path = plant.settings.data_path / "state.db"
    away = path.with_suffix(".away")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True) if suffix else path.rename(away)
    path.mkdir()

    result = plant.execute(SECOND, "raw/chat_messages", ao__purpose="cycle")

    assert not result.success
    assert "raw/chat_messages" not in errors_in(result), "its step began"
    path.rmdir()
    away.rename(path)
    assert plant.cycle(THIRD).status == "success"
