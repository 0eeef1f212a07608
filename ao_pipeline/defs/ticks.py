"""How Dagster's sensors and schedules fare: Dagster only logs a failed tick, and a stopped sensor looks like a quiet one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

FAILING_TICKS: Final = 3
"""Ticks in a row that failed: one is a hiccup, three are a healer that does not heal."""

TICK_WINDOW: Final = timedelta(hours=3)
"""Older ticks say nothing about now: three ticks of the slowest schedule, which is hourly."""

_OVER: Final = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def tick_errors(
    instance: dg.DagsterInstance, *, now: datetime, names: Collection[str] | None = None
) -> dict[str, str | None]:
    """Return each running sensor and schedule: None when it fares well, its newest error when its last ticks all failed.

    Args:
        instance: Dagster's instance.
        now: The moment.
        names: Sensors and schedules that exist; what is gone from the code is left out. None when unknown.
    """
    errors: dict[str, str | None] = {}
    for state in _states(instance, names):
        if not state.is_running:
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=(now - TICK_WINDOW).timestamp(),
            limit=FAILING_TICKS,
            statuses=_OVER,
        )
        is_failing = len(ticks) == FAILING_TICKS and all(tick.status == TickStatus.FAILURE for tick in ticks)
        errors[state.instigator_name] = _innermost(ticks[0]) if is_failing else None
    return errors


def stopped_instigators(instance: dg.DagsterInstance, *, names: Collection[str] | None = None) -> list[str]:
    """Return the sensors and schedules that somebody switched off."""
    return sorted(state.instigator_name for state in _states(instance, names) if not state.is_running)


def _states(instance: dg.DagsterInstance, names: Collection[str] | None) -> list[InstigatorState]:
    if instance.schedule_storage is None:
        return []  # An instance in memory has no sensors and schedules.
    return [item for item in instance.all_instigator_state() if names is None or item.instigator_name in names]


def _innermost(tick: InstigatorTick) -> str:
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "no error was kept" if error is None else error.message.strip()
