"""What is wrong right now, from one reading of stored state. Root causes are named once; what follows from them is not.

A condition has no history: whether it is new, lasts or is over, and whether people were told, belongs to `incidents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from ao_pipeline.cycle import CYCLE_MINUTES, Cycle


class IncidentKind(StrEnum):
    """Closed set: a metric label and the first word of `ao incidents`."""

    CYCLE_MISSING = "cycle_missing"
    CYCLE_FAILED = "cycle_failed"
    CYCLE_INTERRUPTED = "cycle_interrupted"
    CYCLE_DEGRADED = "cycle_degraded"
    BREAKER_OPEN = "breaker_open"
    AUTO_REVERTED = "auto_reverted"
    ACCESS_REFUSED = "access_refused"
    CONTRACT_BROKEN = "contract_broken"
    FAILING = "failing"
    STALE = "stale"
    QUARANTINE_GROWS = "quarantine_grows"
    MESSAGES_DEAD = "messages_dead"
    ALERTS_UNDELIVERED = "alerts_undelivered"
    HEALER_FAILING = "healer_failing"
    SWITCHED_OFF = "switched_off"
    CHECK_FAILED = "check_failed"
    MANUAL_RUN_FAILED = "manual_run_failed"
    HEARTBEAT_UNHEARD = "heartbeat_unheard"


@dataclass(frozen=True)
class Condition:
    """Something wrong now. `detail` says what was seen; it may change while the condition lasts."""

    kind: IncidentKind
    subject: str
    detail: str


@dataclass(frozen=True)
class CycleSeen:
    """One closed cycle."""

    cycle: str
    status: str
    missing: tuple[str, ...] = ()
    closed_at: datetime | None = None


@dataclass(frozen=True)
class FailureSeen:
    """The newest failure of an asset: `error` is its class, `category` transient | permanent | bug."""

    asset: str
    cycle: str
    error: str
    category: str
    message: str


@dataclass(frozen=True)
class HoldSeen:
    """A hold on an asset."""

    asset: str
    reason: str
    actor: str


@dataclass(frozen=True)
class Reading:
    """Plain values of one moment.

    Attributes:
        now: The moment.
        cycles: Closed cycles, the newest first; at least `FAILING_CYCLES` of them when there are so many.
        last_completed: Newest cycle with a published snapshot; empty before the first.
        computed: Highest cycle computed, by asset.
        stale: The cycle that a stale asset's state is of, `never` without one.
        breakers: Reason of each breaker that is not closed, by asset or `source:<name>`.
        holds: Every hold.
        failures: The newest failure of each asset that failed lately.
        refused: Records newly refused within `QUARANTINE_WINDOW`, by asset.
        dead_messages: Notifications given up within `DEAD_WINDOW`.
        waiting_messages: Notifications still to be sent.
        undelivered: Alerts that were given up or fail again and again; 0 once one arrives.
        healers: Error of each sensor or schedule whose last ticks all failed.
        switched_off: Sensors and schedules that somebody stopped.
        failed_checks: Asset of each check whose newest result is an error, by check.
        manual_runs: Runs started by hand in the UI that failed lately, with what failed in them.
        heartbeat_error: Why the dead-man's switch could not be reached for the newest cycle; empty when it was.
    """

    now: datetime
    cycles: tuple[CycleSeen, ...] = ()
    last_completed: str = ""
    computed: Mapping[str, str] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)
    breakers: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[HoldSeen, ...] = ()
    failures: tuple[FailureSeen, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    dead_messages: int = 0
    waiting_messages: int = 0
    undelivered: int = 0
    healers: Mapping[str, str] = field(default_factory=dict)
    switched_off: tuple[str, ...] = ()
    failed_checks: Mapping[str, str] = field(default_factory=dict)
    manual_runs: Mapping[str, str] = field(default_factory=dict)
    heartbeat_error: str = ""


ENGINE_ACTOR: Final = "engine"
"""Actor of holds that no human asked for."""

LATE: Final = timedelta(minutes=2 * CYCLE_MINUTES + 5)
"""Age of the newest completed cycle's end at which one is missing: its window, one to compute it, and the catch-up's start."""

FAILING_CYCLES: Final = 3
"""Cycles in a row: the number that opens a breaker, so that what has no breaker is told of at the same moment."""

INTERRUPTED_WINDOW: Final = timedelta(minutes=CYCLE_MINUTES)
"""An interrupted cycle is an event; it counts as current for one window, and the incident's settling does the rest."""

QUARANTINE_WINDOW: Final = timedelta(hours=1)
QUARANTINE_LIMIT: Final = 10
"""Records newly refused in that window; the same number as `AoRecordsRefused`."""

DEAD_WINDOW: Final = timedelta(hours=1)
WAITING_LIMIT: Final = 100
"""Four cycles' worth of messages (25 each). A night's quiet hours hold back a few dozen at most: the daily caps see to it."""

_CONTRACT_ERRORS: Final = frozenset({"ContractError", "ConfigError", "IntegrityError"})


def current_conditions(reading: Reading, *, source_of: Callable[[str], str]) -> list[Condition]:
    """Return everything that is wrong, each thing once.

    Args:
        reading: What the store and Dagster say.
        source_of: The upstream of a raw asset: five collectors with one revoked token are one incident.
    """
    return [
        *_cycles(reading),
        *_assets(reading, source_of),
        *_records(reading),
        *_messages(reading),
        *_machinery(reading),
    ]


def failing_assets(cycles: tuple[CycleSeen, ...], *, in_a_row: int = FAILING_CYCLES) -> list[str]:
    """Return what was due and not written in each of the newest cycles."""
    if len(cycles) < in_a_row:
        return []
    newest = [set(cycle.missing) for cycle in cycles[:in_a_row]]
    return sorted(set.intersection(*newest))


def is_cycle_missing(reading: Reading) -> bool:
    """Tell whether no cycle was completed for too long, or one lies in the future, which keeps all others from coming.

    Before the first one there is nothing to miss.
    """
    if not reading.last_completed:
        return False
    age = reading.now - Cycle.from_key(reading.last_completed).end
    return age > LATE or age < -timedelta(minutes=CYCLE_MINUTES)


def _cycles(reading: Reading) -> Iterator[Condition]:
    if is_cycle_missing(reading):
        minutes = (reading.now - Cycle.from_key(reading.last_completed).end) // timedelta(minutes=1)
        detail = f"none was completed for {minutes} minutes; the last one is {reading.last_completed}"
        if minutes < 0:
            detail = f"the last one, {reading.last_completed}, lies in the future: the machine's clock was wrong or is"
        yield Condition(IncidentKind.CYCLE_MISSING, "cycle", detail)
    if reading.cycles:
        newest = reading.cycles[0]
        if newest.status == "failed":
            yield Condition(IncidentKind.CYCLE_FAILED, "cycle", f"{newest.cycle} published nothing")
        elif newest.status == "degraded":
            lacks = ", ".join(newest.missing[:5]) or "something stale or on hold"
            more = f" and {len(newest.missing) - 5} more" if len(newest.missing) > 5 else ""
            yield Condition(IncidentKind.CYCLE_DEGRADED, "cycle", f"{newest.cycle} lacks {lacks}{more}")
    for cycle in reading.cycles:
        is_new = cycle.closed_at is not None and abs(reading.now - cycle.closed_at) < INTERRUPTED_WINDOW
        if cycle.status == "interrupted" and is_new:
            yield Condition(IncidentKind.CYCLE_INTERRUPTED, "cycle", f"{cycle.cycle} was broken off; newer ones go on")
            break


def _assets(reading: Reading, source_of: Callable[[str], str]) -> Iterator[Condition]:
    refusals = [*_refusals(reading)]
    named = {*reading.breakers, *(hold.asset for hold in reading.holds), *(failure.asset for failure, _ in refusals)}

    def is_covered(name: str) -> bool:
        # A breaker of a whole source covers its collectors and their breakers.
        return name.startswith("raw/") and f"source:{source_of(name)}" in named

    for name, reason in sorted(reading.breakers.items()):
        if not is_covered(name):
            yield Condition(IncidentKind.BREAKER_OPEN, name, reason or "it failed again and again")
    by_subject: dict[tuple[IncidentKind, str], str] = {}
    for failure, kind in refusals:
        subject = source_of(failure.asset) if failure.asset.startswith("raw/") else failure.asset
        by_subject.setdefault((kind, subject), f"{failure.asset}: {failure.message}")
    for (kind, subject), detail in by_subject.items():
        yield Condition(kind, subject, detail)
    failing = failing_assets(reading.cycles)
    for asset in failing:
        if asset not in named and not is_covered(asset):
            yield Condition(IncidentKind.FAILING, asset, f"it was due and missing in {FAILING_CYCLES} cycles in a row")
    for asset, as_of in [] if is_cycle_missing(reading) else sorted(reading.stale.items()):
        if not (asset in named or asset in failing or is_covered(asset)):
            yield Condition(IncidentKind.STALE, asset, f"its state is as of {as_of}")


def _records(reading: Reading) -> Iterator[Condition]:
    for hold in reading.holds:
        if hold.actor == ENGINE_ACTOR:
            yield Condition(IncidentKind.AUTO_REVERTED, hold.asset, hold.reason)
    for asset, count in sorted(reading.refused.items()):
        if count > QUARANTINE_LIMIT:
            yield Condition(IncidentKind.QUARANTINE_GROWS, asset, f"{count} records were refused within an hour")


def _refusals(reading: Reading) -> Iterator[tuple[FailureSeen, IncidentKind]]:
    """Yield the failures that no retry can heal and that no later computation has overcome, by asset."""
    for failure in sorted(reading.failures, key=lambda failure: failure.asset):
        kind = _refusal(failure.error)
        if kind is not None and reading.computed.get(failure.asset, "") < failure.cycle:
            yield failure, kind


def _refusal(error: str) -> IncidentKind | None:
    if error == "AuthError":
        return IncidentKind.ACCESS_REFUSED
    return IncidentKind.CONTRACT_BROKEN if error in _CONTRACT_ERRORS else None


def _messages(reading: Reading) -> Iterator[Condition]:
    if reading.dead_messages:
        detail = f"{reading.dead_messages} notifications were given up within an hour"
        yield Condition(IncidentKind.MESSAGES_DEAD, "notifications", detail)
    elif reading.waiting_messages > WAITING_LIMIT:
        detail = f"{reading.waiting_messages} notifications wait to be sent"
        yield Condition(IncidentKind.MESSAGES_DEAD, "notifications", detail)
    if reading.undelivered:
        detail = f"{reading.undelivered} alerts could not be delivered; `ao incidents` lists what they said"
        yield Condition(IncidentKind.ALERTS_UNDELIVERED, "alerts", detail)


def _machinery(reading: Reading) -> Iterator[Condition]:
    for name, error in sorted(reading.healers.items()):
        yield Condition(IncidentKind.HEALER_FAILING, name, error)
    for name in sorted(reading.switched_off):
        yield Condition(IncidentKind.SWITCHED_OFF, name, "somebody stopped it; switch it on in the UI under Automation")
    held = {hold.asset for hold in reading.holds}
    for check, asset in sorted(reading.failed_checks.items()):
        if asset not in held:  # The engine took it back, and says that.
            yield Condition(IncidentKind.CHECK_FAILED, check, f"its newest result for {asset} is an error")
    for run, what in sorted(reading.manual_runs.items()):
        yield Condition(IncidentKind.MANUAL_RUN_FAILED, run, what)
    if reading.heartbeat_error:
        yield Condition(IncidentKind.HEARTBEAT_UNHEARD, "dead-man's switch", reading.heartbeat_error)
