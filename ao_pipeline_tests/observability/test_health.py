"""The health verdict: a fault table on plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ao_pipeline.clock import to_micros
from ao_pipeline.cycle import CYCLE_MINUTES, Cycle
from ao_pipeline.observability.health import HealthReport, HealthStatus, assess, stale_assets, unreachable
from ao_pipeline.observability.view import AssetHead, DagsterFigures, EngineLease, OpenCycle, OperationsView

LAST = Cycle.from_key("2026-11-22-10:00")
NOW = LAST.end + timedelta(minutes=10)
STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
CADENCE = {"raw/asana_tasks": 15, "raw/xero_invoices": 60}


def head(asset: str, cycle: Cycle = LAST) -> AssetHead:
    return AssetHead(asset, cycle.key, cycle.key, 1, 1, "materialize", 0)


WELL = OperationsView(
    heads=(
        head("raw/asana_tasks"),
        head("raw/xero_invoices"),
        head("truth/capacity"),
        head("ref/clients", LAST.shift(-900)),
    ),
    last_cycle=LAST.key,
    last_status="success",
    last_successful=LAST.key,
    last_completed=LAST.key,
    breakers={"raw/asana_tasks": "closed"},
    db_size_bytes={"state": 4096},
)


def figures(*, age_seconds: float | None = 20.0, now: datetime = NOW) -> DagsterFigures:
    beat = None if age_seconds is None else now - timedelta(seconds=age_seconds)
    return DagsterFigures({"SENSOR": now, "SCHEDULER": beat}, {}, None, now)


def judge(view: OperationsView = WELL, *, now: datetime = NOW, **given: Any) -> HealthReport:
    dagster = given.get("dagster", figures(now=now))
    return assess(view, now=now, started_at=given.get("started_at", STARTED), cadence_minutes=CADENCE, dagster=dagster)


def test_an_engine_on_time_is_healthy_without_a_reason() -> None:
    report = judge()

    assert (report.status, report.reasons, report.http_status) == (HealthStatus.HEALTHY, (), 200)
    assert (report.cycle_age_minutes, report.uptime_seconds) == (10.0, 8700.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"holds": {"truth/capacity": "wrong hours"}}, "truth/capacity is on hold: wrong hours"),
        ({"breakers": {"raw/asana_tasks": "open"}}, "circuit breaker of raw/asana_tasks is open"),
        ({"breakers": {"raw/asana_tasks": "half-open"}}, "circuit breaker of raw/asana_tasks is half-open"),
        ({"last_status": "degraded"}, "cycle 2026-11-22-10:00 ended degraded"),
        (
            {"last_cycle": LAST.shift(1).key, "last_status": "failed"},
            "cycle 2026-11-22-10:15 ended failed",
        ),
        ({"last_status": "interrupted"}, "cycle 2026-11-22-10:00 ended interrupted"),
        (
            {"open_cycles": (OpenCycle(LAST.shift(-1).key, "run-9", to_micros(NOW - timedelta(minutes=31))),)},
            "cycle 2026-11-22-09:45 is open for 31 minutes (run run-9)",
        ),
        (
            {"heads": (*WELL.heads, head("snapshot/agency", LAST.shift(-3)))},
            "snapshot/agency is stale: as of 2026-11-22-09:15",
        ),
        (
            {"heads": tuple(item for item in WELL.heads if item.asset != "raw/xero_invoices")},
            "raw/xero_invoices is stale: as of never",
        ),
    ],
)
def test_a_fault_degrades_with_its_reason(change: dict[str, Any], reason: str) -> None:
    report = judge(replace(WELL, **change))

    assert (report.status, report.reasons) == (HealthStatus.DEGRADED, (reason,))


@pytest.mark.parametrize(
    ("dagster", "reason"),
    [
        (None, "Dagster's own figures cannot be read"),
        (figures(age_seconds=91), "daemon SCHEDULER gave no heartbeat for 91 seconds"),
        (figures(age_seconds=None), "daemon SCHEDULER never gave a heartbeat"),
        (DagsterFigures({}, {}, None, NOW), "no Dagster daemon has ever run"),
    ],
)
def test_a_silent_daemon_degrades(dagster: DagsterFigures | None, reason: str) -> None:
    assert judge(dagster=dagster).reasons == (reason,)


def test_refused_records_are_shown_and_do_not_degrade() -> None:
    report = judge(replace(WELL, quarantined={"raw/asana_tasks": 3}))

    assert (report.status, report.quarantined) == (HealthStatus.HEALTHY, {"raw/asana_tasks": 3})


@pytest.mark.parametrize(
    ("minutes", "status"),
    [
        (0, HealthStatus.HEALTHY),
        (2 * CYCLE_MINUTES, HealthStatus.HEALTHY),
        (2 * CYCLE_MINUTES + 1, HealthStatus.DEGRADED),
        (4 * CYCLE_MINUTES, HealthStatus.DEGRADED),
        (4 * CYCLE_MINUTES + 1, HealthStatus.UNHEALTHY),
        (60 * 24 * 30, HealthStatus.UNHEALTHY),
    ],
)
def test_a_cycle_on_time_is_healthy_until_two_windows_have_passed(minutes: int, status: HealthStatus) -> None:
    now = LAST.end + timedelta(minutes=minutes)

    assert judge(replace(WELL, heads=(), last_cycle=""), now=now).status is status


@pytest.mark.parametrize(("minutes", "status"), [(1, HealthStatus.DEGRADED), (61, HealthStatus.UNHEALTHY)])
def test_silence_before_the_first_cycle_is_never_health(minutes: int, status: HealthStatus) -> None:
    report = judge(OperationsView(), started_at=NOW - timedelta(minutes=minutes))

    assert report.status is status
    assert report.reasons == (f"no cycle was completed yet, after {minutes} minutes",)
    assert report.cycle_age_minutes is None


def test_only_unhealthy_is_unavailable() -> None:
    degraded = judge(replace(WELL, holds={"truth/capacity": "x"}))
    down = unreachable("locked", now=NOW, started_at=STARTED)

    assert (degraded.http_status, down.http_status) == (200, 503)
    assert down.reasons == ("state store cannot be read: locked",)


@pytest.mark.parametrize(
    ("asset", "age_cycles", "is_stale"),
    [
        ("raw/asana_tasks", 2, False),
        ("raw/asana_tasks", 3, True),
        ("raw/xero_invoices", 5, False),
        ("raw/xero_invoices", 6, True),
        ("truth/capacity", 2, False),
        ("truth/capacity", 3, True),
        ("ref/clients", 10_000, False),
        ("archive/bundles", 10_000, False),
    ],
)
def test_an_asset_is_stale_by_its_own_cadence(asset: str, age_cycles: int, is_stale: bool) -> None:
    view = OperationsView(heads=(head(asset),), last_cycle="")

    late = stale_assets(view, now=LAST.shift(age_cycles).end, cadence_minutes=CADENCE)

    assert late == ({asset: LAST.key} if is_stale else {})


@pytest.mark.parametrize(
    ("identity", "age_seconds", "role", "reasons"),
    [
        ("here", 10, "active", ()),
        ("there", 10, "standby", ()),
        ("here", 100, "active", ("no engine acts: here renewed its lease 100 s ago",)),
    ],
)
def test_health_says_which_engine_acts_and_whether_this_one_stands_by(
    identity: str, age_seconds: int, role: str, reasons: tuple[str, ...]
) -> None:
    renewed = to_micros(NOW - timedelta(seconds=age_seconds))
    view = replace(WELL, engine=EngineLease("here", 7, renewed, renewed + 90_000_000))

    report = assess(view, now=NOW, started_at=STARTED, cadence_minutes=CADENCE, dagster=figures(), identity=identity)

    assert report.engine == {"role": role, "holder": "here", "token": 7, "renewal_age_seconds": float(age_seconds)}
    assert report.reasons == reasons
