"""Planted failures of the healers themselves: the engine goes on, and people see what does not heal any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.operations import OperationsReader
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.clock import monotonic_seconds
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.defs.alerts import alert
from ao_pipeline.defs.jobs import cycle_schedule
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.ticks import tick_errors
from ao_pipeline.exporter.metrics import Scrape, render
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.observability.health import assess
from ao_pipeline.observability.view import DagsterFigures
from ao_pipeline_tests.pipeline.alerting import Watch
from ao_pipeline_tests.pipeline.plant import FIRST, NOW, QUIET, SECOND, THIRD, Plant

MINUTE = timedelta(minutes=1)


@pytest.fixture
def watch(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watch]:
    """The alert sensor, over a Dagster instance with ticks."""
    with ExitStack() as stack:
        (tmp_path / "dagster").mkdir()
        instance = stack.enter_context(dg.DagsterInstance.local_temp(str(tmp_path / "dagster")))
        yield Watch(plant, monkeypatch, ticks=instance)


def plant_ticks(instance: dg.DagsterInstance | None, name: str, now: datetime, *statuses: TickStatus) -> None:
    """Let a sensor have ticked, the oldest first, half a minute apart."""
    assert instance is not None
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="ao_pipeline.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    if instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
        instance.add_instigator_state(state)
    for position, status in enumerate(statuses):
        error = (
            SerializableErrorInfo("RuntimeError: boom\n", [], "RuntimeError") if status == TickStatus.FAILURE else None
        )
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                name,
                InstigatorType.SENSOR,
                status,
                (now - 30 * (len(statuses) - position) * timedelta(seconds=1)).timestamp(),
                error=error,
                selector_id=state.selector_id,
            )
        )


def health_of(plant: Plant, now: datetime, dagster: DagsterFigures | None = None) -> tuple[list[str], str]:
    """Return what `/health` names and what `/metrics` shows, both from stored state."""
    reader = OperationsReader(plant.settings.resolved_state_url)
    try:
        view = reader.view()
    finally:
        reader.close()
    figures = dagster or DagsterFigures({"SENSOR": now}, {}, None, now)
    report = assess(view, now=now, started_at=NOW, cadence_minutes=CADENCE.interval_minutes, dagster=figures)
    return list(report.reasons), render(Scrape(report, NOW, 0.0, view, figures, 0)).decode()


@pytest.mark.parametrize("name", ["catch_up", "follow_up", "heal_stale", "recover", "report_lost_events"])
def test_a_sensor_that_raises_is_told_and_shown(watch: Watch, name: str) -> None:
    failed = [TickStatus.FAILURE] * 3
    plant_ticks(watch.ticks, name, NOW, *failed)
    before = len(watch.texts())

    watch.at(NOW)

    assert [(i.kind.value, i.subject, i.detail) for i in watch.open()] == [
        ("healer_failing", name, "RuntimeError: boom")
    ]
    assert len(watch.texts()) == before + 1
    reasons, metrics = health_of(watch.plant, NOW + MINUTE)
    assert any(name in reason for reason in reasons)
    assert 'ao_incidents_open{kind="healer_failing"} 1.0' in metrics


def test_a_single_failed_tick_is_no_incident(watch: Watch) -> None:
    ticks = [TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.SKIPPED, TickStatus.FAILURE]
    plant_ticks(watch.ticks, "catch_up", NOW, *ticks)

    watch.at(NOW)

    assert watch.open() == []


def test_an_alert_sensor_that_raises_stops_no_cycle_and_is_shown_without_it(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError("boom")

    monkeypatch.setattr("ao_pipeline.defs.alerts.read_everything", boom)
    with pytest.raises(RuntimeError, match="boom"):
        alert(dg.build_sensor_context(instance=watch.plant.instance))
    plant_ticks(watch.ticks, "alert", NOW, *[TickStatus.FAILURE] * 3)
    watch.cycle(SECOND)

    assert watch.ticks is not None
    errors = tick_errors(watch.ticks, now=NOW)
    failing = {name: error is not None for name, error in errors.items()}
    figures = DagsterFigures({"SENSOR": NOW}, {}, None, NOW, None, failing)
    reasons, metrics = health_of(watch.plant, SECOND.end + MINUTE, figures)

    assert watch.plant.report(SECOND)["recorded"] == "success"
    assert "alert fails at every tick" in reasons
    assert 'ao_dagster_instigator_failing{name="alert"} 1.0' in metrics


def test_a_catch_up_that_raises_loses_no_cycle_because_the_schedule_takes_the_gap_along(watch: Watch) -> None:
    last = FIRST.shift(6)

    with dg.build_schedule_context(instance=watch.plant.instance, scheduled_execution_time=last.end) as context:
        request = cycle_schedule(context)

    assert isinstance(request, dg.RunRequest)
    assert (request.tags["ao/first_cycle"], request.partition_key) == (SECOND.key, last.key)


def test_notification_fails_and_neither_a_full_nor_a_dead_outbox_fails_the_cycle(watch: Watch) -> None:
    rows = [delivery(number, "pending") for number in range(150)] + [delivery(999, "dead")]
    with watch.plant.store() as store:
        change = Change(conform(NOTIFY_DELIVERIES, rows), is_full=False)
        store.commit(store.begin(Intent(NOTIFY_DELIVERIES, cycle=FIRST, first_cycle=FIRST, name="planted")), change)
    watch.cycle(SECOND)

    watch.at(SECOND.end + MINUTE)

    assert watch.plant.report(SECOND)["recorded"] == "success"
    assert watch.kinds() == {"messages_dead"}
    assert any("given up" in text for text in watch.texts())


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "hang", "seconds": 30.0}])
def test_an_alert_channel_that_is_down_or_hangs_stops_nothing_and_loses_no_alert(
    watch: Watch, fault: dict[str, object]
) -> None:
    with watch.plant.with_environment(AO_READ_TIMEOUT_SECONDS="0.3") as quick:
        watch.plant = quick
        watch.plant.box.fault("xero", "status", status=401)
        watch.cycle(SECOND)
        watch.plant.box.fault("webhook", **fault)
        began = monotonic_seconds()
        for half_minutes in range(12):
            watch.at(SECOND.end + half_minutes * MINUTE / 2)
        assert monotonic_seconds() - began < 12 * 15  # Each evaluation would hang for 30 seconds.
        during = watch.kinds()
        watch.plant.box.clear_faults()
        before = len(watch.texts())
        watch.cycle(THIRD)
        for minutes in range(2, 40, 4):
            watch.at(THIRD.end + minutes * MINUTE)

    assert "alerts_undelivered" in during
    assert watch.plant.report(THIRD)["recorded"] == "success"
    assert [item.status for item in watch.alerts()] == ["sent"] * len(watch.alerts())
    assert any(SECOND.key in text for text in watch.texts()[before:])


def test_an_alert_that_is_refused_for_good_is_dead_in_the_open_and_can_be_sent_again(watch: Watch) -> None:
    watch.plant.box.fault("xero", "status", status=401)
    watch.cycle(SECOND)
    watch.plant.box.fault("webhook", "status", status=404)
    watch.at(SECOND.end + MINUTE)
    watch.at(SECOND.end + 2 * MINUTE)

    assert watch.alerts()[0].status == "dead"
    assert "alerts_undelivered" in watch.kinds()
    reasons, metrics = health_of(watch.plant, SECOND.end + 2 * MINUTE)
    assert any("alerts undelivered" in reason for reason in reasons)
    assert 'ao_alert_sent_total{status="dead"} 1.0' in metrics
    watch.plant.box.clear_faults()
    with watch.plant.store() as store:
        assert store.incidents.revive() == 1
    watch.at(SECOND.end + 3 * MINUTE)
    assert watch.alerts()[0].status == "sent"


def test_a_dagster_storage_that_cannot_be_read_hides_nothing_else(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_args: object, **_kwargs: object) -> NoReturn:
        raise OSError("disk I/O error")

    watch.plant.box.fault("xero", "status", status=401)
    watch.cycle(SECOND)
    monkeypatch.setattr(type(watch.ticks), "all_instigator_state", boom)

    watch.at(SECOND.end + MINUTE)

    assert {"healer_failing", "access_refused", "cycle_degraded"} <= watch.kinds()


def test_a_failing_check_is_told(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    with watch.plant.store() as store, store.database.write() as connection:
        connection.exec_driver_sql("UPDATE ao_bundle SET reason = 'edited' WHERE asset = 'truth/capacity'")
    definitions = build_definitions()
    job = definitions.resolve_job_def("checks")
    key = dg.AssetCheckKey(dg.AssetKey(["truth", "capacity"]), "bundle_chain_is_intact")
    job.get_subset(asset_check_selection={key}, asset_selection=set()).execute_in_process(
        instance=watch.plant.instance, run_config=QUIET, raise_on_error=False
    )
    monkeypatch.setattr("ao_pipeline_tests.pipeline.alerting.DEFINITIONS", definitions)
    watch.ticks = None

    watch.at(NOW + MINUTE)

    assert [(i.kind.value, i.subject) for i in watch.open()] == [
        ("check_failed", "bundle_chain_is_intact of truth/capacity")
    ]


def delivery(number: int, status: str) -> dict[str, object]:
    """Return an outbox row of the first cycle's day."""
    return {
        "idempotency_key": f"planted-{number}",
        "kind": "client_at_risk",
        "priority": "low",
        "entity": f"client-{number}",
        "planned_on": NOW.date(),
        "title": "t",
        "body": "b",
        "channel": "chat_webhook",
        "status": status,
        "attempts": 8 if status == "dead" else 0,
        "first_cycle": FIRST.key,
        "last_attempt_at": SECOND.end if status == "dead" else None,
        "sent_cycle": None,
        "last_error": "TransientError" if status == "dead" else None,
    }
