"""Is the engine well? One verdict from stored state and the time, with every reason.

Thresholds derive from the cadence, so that a slower schedule does not flap and a faster one does not hide a stop:
1. A cycle is computed when its window closes, and has until the next window closes. So the newest completed cycle is
   normally less than two windows old (`test_a_cycle_on_time_is_healthy_until_two_windows_have_passed`).
2. Unhealthy means that nothing was completed for `UNHEALTHY_CYCLES` windows, or that the store cannot be read.
   Only that answers 503: a degraded engine still publishes (`test_only_unhealthy_is_unavailable`).
3. Silence is never health: before the first cycle, and when a figure cannot be read, there is a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.cycle import CYCLE_MINUTES, Cycle
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.observability.view import DagsterFigures, OpenIncident, OperationsView

LATE_CYCLES: Final = 2
"""Windows until the newest completed cycle is late: one for the window to close, one to compute it."""

UNHEALTHY_CYCLES: Final = 4
"""Windows without a completed cycle until the engine counts as down: two more than normal, so one retry fits in."""

HEARTBEAT_LIMIT_SECONDS: Final = 90
"""Dagster writes a heartbeat every 30 s; three missed ones are a stop. Its own `healthy` flag waits half an hour."""

DERIVED_LAYERS: Final = frozenset({"norm", "truth", "snapshot", "notify"})
"""Layers that every cycle computes; assets of other layers are late only by a cadence of their own."""


SEEN_OTHERWISE: Final = frozenset(
    {
        *("cycle_missing", "cycle_failed", "cycle_interrupted", "cycle_degraded"),
        *("breaker_open", "auto_reverted", "stale", "manual_run_failed"),
    }
)
"""Kinds of incidents that need no reason of their own: this module sees them itself, or they say nothing about the engine."""


class HealthStatus(StrEnum):
    """Worst first is `unhealthy`."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class HealthReport:
    """The answer of `/health`. `cycle_age_minutes` is that of the newest completed cycle's end, None before it."""

    status: HealthStatus
    reasons: tuple[str, ...]
    last_cycle: str
    cycle_age_minutes: float | None
    uptime_seconds: float
    circuit_breakers: Mapping[str, str] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
    stale_assets: Mapping[str, str] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    incidents: tuple[Mapping[str, str], ...] = ()
    db_size_bytes: Mapping[str, int] = field(default_factory=dict)
    daemon_heartbeat_age_seconds: float | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def http_status(self) -> int:
        """503 only when unhealthy."""
        return 503 if self.status is HealthStatus.UNHEALTHY else 200

    def as_json(self) -> dict[str, Any]:
        """Return the body of `/health`."""
        return asdict(self)


def assess(
    view: OperationsView,
    *,
    now: datetime,
    started_at: datetime,
    cadence_minutes: Mapping[str, int],
    dagster: DagsterFigures | None,
    identity: str = "",
) -> HealthReport:
    """Judge one reading of the store.

    Args:
        view: What the store holds.
        now: The moment of the question.
        started_at: When the asking process started: before the first cycle, silence is measured from here.
        cadence_minutes: Minutes between two collections by raw asset; others are computed every cycle.
        dagster: None when Dagster's figures could not be read.
        identity: The asking machine's engine, to tell whether it acts or stands by.
    """
    unhealthy, degraded = _cycle_reasons(view, now=now, started_at=started_at)
    stale = stale_assets(view, now=now, cadence_minutes=cadence_minutes)
    degraded += [f"{asset} is on hold: {reason}" for asset, reason in sorted(view.holds.items())]
    degraded += [f"{asset} is stale: as of {cycle}" for asset, cycle in stale.items()]
    degraded += [
        f"circuit breaker of {job} is {state}" for job, state in sorted(view.breakers.items()) if state != "closed"
    ]
    degraded += [
        f"{item.kind.replace('_', ' ')}: {item.subject}: {item.detail}"
        for item in view.incidents
        if item.kind not in SEEN_OTHERWISE
    ]
    heartbeat_age = None if dagster is None else heartbeat_age_seconds(dagster, now=now)
    degraded += _dagster_reasons(dagster, now=now)
    engine = engine_report(view, now=now, identity=identity)
    if view.engine and view.engine.expires_at_us and engine["renewal_age_seconds"] > HEARTBEAT_LIMIT_SECONDS:
        degraded.append(
            f"no engine acts: {view.engine.holder} renewed its lease {engine['renewal_age_seconds']:.0f} s ago"
        )
    status = HealthStatus.UNHEALTHY if unhealthy else HealthStatus.DEGRADED if degraded else HealthStatus.HEALTHY
    return HealthReport(
        status=status,
        reasons=(*unhealthy, *degraded),
        last_cycle=view.last_completed,
        cycle_age_minutes=_age_minutes(view.last_completed, now),
        uptime_seconds=(now - started_at).total_seconds(),
        circuit_breakers=dict(view.breakers),
        holds=dict(view.holds),
        stale_assets=stale,
        quarantined=dict(view.quarantined),
        incidents=tuple(_incident_json(item) for item in view.incidents),
        db_size_bytes=dict(view.db_size_bytes),
        daemon_heartbeat_age_seconds=heartbeat_age,
        engine=engine,
    )


def engine_report(view: OperationsView, *, now: datetime, identity: str) -> dict[str, Any]:
    """Return who acts on the store, and whether the asking machine's engine acts or stands by; empty when nobody ever did."""
    lease = view.engine
    if lease is None:
        return {}
    role = "active" if lease.holder == identity else "standby" if lease.expires_at_us else "idle"
    age = (now - from_micros(lease.renewed_at_us)).total_seconds()
    return {"role": role, "holder": lease.holder, "token": lease.token, "renewal_age_seconds": round(age, 1)}


def unreachable(reason: str, *, now: datetime, started_at: datetime) -> HealthReport:
    """Return the report when the state store cannot be read: nothing is known, so nothing is claimed."""
    return HealthReport(
        status=HealthStatus.UNHEALTHY,
        reasons=(f"state store cannot be read: {reason}",),
        last_cycle="",
        cycle_age_minutes=None,
        uptime_seconds=(now - started_at).total_seconds(),
    )


def stale_assets(view: OperationsView, *, now: datetime, cadence_minutes: Mapping[str, int]) -> dict[str, str]:
    """Return what is older than its cadence allows, by asset: the cycle it stands for, `never` without one.

    A revert takes an asset's cycle back: a reverted asset is stale until computed again, however new the write is.
    """
    late: dict[str, str] = {}
    known = {head.asset: head.as_of_cycle for head in view.heads}
    for asset in sorted(known.keys() | (cadence_minutes.keys() if view.last_cycle else set())):
        minutes = cadence_minutes.get(asset)
        if minutes is None and asset.split("/", 1)[0] not in DERIVED_LAYERS:
            continue
        age = _age_minutes(known.get(asset, ""), now)
        if age is None:
            late[asset] = "never"
        elif age > (minutes or CYCLE_MINUTES) + (LATE_CYCLES - 1) * CYCLE_MINUTES:
            late[asset] = known[asset]
    return late


def heartbeat_age_seconds(dagster: DagsterFigures, *, now: datetime) -> float | None:
    """Return the age of the oldest heartbeat of a required daemon; None when one never beat."""
    beats = list(dagster.heartbeats.values())
    if not beats or any(beat is None for beat in beats):
        return None
    return max((now - beat).total_seconds() for beat in beats if beat is not None)


def _cycle_reasons(view: OperationsView, *, now: datetime, started_at: datetime) -> tuple[list[str], list[str]]:
    unhealthy: list[str] = []
    degraded: list[str] = []
    age = _age_minutes(view.last_completed, now)
    if age is None:
        silent_minutes = (now - started_at).total_seconds() / 60
        sink = unhealthy if silent_minutes > UNHEALTHY_CYCLES * CYCLE_MINUTES else degraded
        sink.append(f"no cycle was completed yet, after {silent_minutes:.0f} minutes")
    elif age > UNHEALTHY_CYCLES * CYCLE_MINUTES:
        unhealthy.append(f"the last completed cycle is {view.last_completed}, {age:.0f} minutes old")
    elif age > LATE_CYCLES * CYCLE_MINUTES:
        degraded.append(f"the last completed cycle is {view.last_completed}, {age:.0f} minutes old")
    if view.last_cycle and view.last_status != "success":
        degraded.append(f"cycle {view.last_cycle} ended {view.last_status}")
    for item in view.open_cycles:
        open_minutes = (now - from_micros(item.opened_at_us)).total_seconds() / 60
        if open_minutes > LATE_CYCLES * CYCLE_MINUTES:
            degraded.append(f"cycle {item.cycle} is open for {open_minutes:.0f} minutes (run {item.run_id})")
    return unhealthy, degraded


def _incident_json(item: OpenIncident) -> dict[str, str]:
    since = to_iso(from_micros(item.opened_at_us))
    return {"kind": item.kind, "subject": item.subject, "detail": item.detail, "since": since}


def _dagster_reasons(dagster: DagsterFigures | None, *, now: datetime) -> list[str]:
    if dagster is None:
        return ["Dagster's own figures cannot be read"]
    if not dagster.heartbeats:
        return ["no Dagster daemon has ever run"]
    reasons = []
    for name, beat in sorted(dagster.heartbeats.items()):
        age = None if beat is None else (now - beat).total_seconds()
        if age is None:
            reasons.append(f"daemon {name} never gave a heartbeat")
        elif age > HEARTBEAT_LIMIT_SECONDS:
            reasons.append(f"daemon {name} gave no heartbeat for {age:.0f} seconds")
    failing = sorted(name for name, is_failing in dagster.instigators_failing.items() if is_failing)
    return reasons + [f"{name} fails at every tick" for name in failing]


def _age_minutes(cycle: str, now: datetime) -> float | None:
    if not cycle:
        return None
    try:
        return round((now - Cycle.from_key(cycle).end).total_seconds() / 60, 2)
    except UnknownNameError:
        return None
