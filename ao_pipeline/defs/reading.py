"""One reading of everything that may be wrong: the state store first, Dagster's own storage as far as it answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from ao_pipeline.adapters.state.signs import read_signs
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.stale import stale_states
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.resilience.conditions import Reading

STALE_CYCLES: Final = 2
"""Cycles that an asset may lag behind before it is told of: the one under way and one that failed and is tried again."""

FAILING_TICKS: Final = 3
"""Ticks in a row that failed: one is a hiccup, three are a healer that does not heal."""

TICK_WINDOW: Final = timedelta(hours=2)
"""Older ticks say nothing about now: twice the longest interval of any schedule."""

MANUAL_RUN_WINDOW: Final = timedelta(minutes=30)
MANUAL_JOB: Final = "__ASSET_JOB"
"""Job of runs that a person starts from an asset in the UI."""

_TEXT_CHARACTERS: Final = 160


@dataclass(frozen=True)
class _Machinery:
    healers: dict[str, str] = field(default_factory=dict)
    switched_off: tuple[str, ...] = ()
    manual_runs: dict[str, str] = field(default_factory=dict)


def read_everything(
    store: StateStore,
    instance: dg.DagsterInstance,
    *,
    now: datetime,
    names: Collection[str] | None = None,
    heartbeat_error: str = "",
) -> Reading:
    """Return what is to be judged.

    Args:
        store: The state store.
        instance: Dagster's instance; what cannot be read from it is itself something wrong, and stops nothing.
        now: The moment.
        names: Sensors and schedules that exist; None when unknown.
        heartbeat_error: Why the dead-man's switch could not be reached.

    Raises:
        TransientError: The state store cannot be read.
    """
    signs = read_signs(store.database, now)
    machinery = _read_machinery(instance, now=now, names=names)
    state_cycles = {asset: head.state_cycle for asset, head in signs.heads.items()}
    due = Cycle.last_closed(now).shift(-STALE_CYCLES)
    return Reading(
        now=now,
        cycles=signs.cycles,
        last_completed=signs.last_completed,
        computed={asset: head.computed_cycle for asset, head in signs.heads.items()},
        stale=stale_states(state_cycles, due) if signs.last_completed else {},
        holds=signs.holds,
        refused=signs.refused,
        dead_messages=signs.dead_messages,
        waiting_messages=signs.waiting_messages,
        undelivered=store.incidents.undelivered(),
        healers=machinery.healers,
        switched_off=machinery.switched_off,
        manual_runs=machinery.manual_runs,
        heartbeat_error=heartbeat_error,
    )


def _read_machinery(instance: dg.DagsterInstance, *, now: datetime, names: Collection[str] | None) -> _Machinery:
    try:
        healers, switched_off = _read_instigators(instance, now=now, names=names)
        return _Machinery(healers, switched_off, _read_manual_runs(instance, now=now))
    except Exception as error:  # noqa: BLE001 - the boundary: whatever Dagster raises is told of, and hides nothing else.
        return _Machinery(healers={"Dagster's storage": f"it cannot be read ({type(error).__name__})"})


def _read_instigators(
    instance: dg.DagsterInstance, *, now: datetime, names: Collection[str] | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    if instance.schedule_storage is None:
        return {}, ()  # An instance in memory has no sensors and schedules.
    failing: dict[str, str] = {}
    stopped: list[str] = []
    over = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    for state in instance.all_instigator_state():
        if names is not None and state.instigator_name not in names:
            continue  # It is gone from the code; Dagster keeps its history.
        if not state.is_running:
            stopped.append(state.instigator_name)
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=(now - TICK_WINDOW).timestamp(),
            limit=FAILING_TICKS,
            statuses=over,
        )
        if len(ticks) == FAILING_TICKS and all(tick.status == TickStatus.FAILURE for tick in ticks):
            error = ticks[0].error
            failing[state.instigator_name] = _text("" if error is None else _innermost(error.message, error.cause))
    return failing, tuple(stopped)


def _innermost(message: str, cause: object) -> str:
    while cause is not None:
        message, cause = getattr(cause, "message", message), getattr(cause, "cause", None)
    return message


def _read_manual_runs(instance: dg.DagsterInstance, *, now: datetime) -> dict[str, str]:
    failed = dg.RunsFilter(
        job_name=MANUAL_JOB, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - MANUAL_RUN_WINDOW
    )
    found: dict[str, str] = {}
    for run in instance.get_runs(failed, limit=10):
        assets = sorted("/".join(key.path) for key in run.asset_selection or ())
        partition = run.tags.get("dagster/partition", run.tags.get(tags.CYCLE, ""))
        found[f"run {run.run_id[:8]}"] = _text(f"{', '.join(assets[:3]) or 'unknown assets'} {partition}")
    return found


def _text(text: str) -> str:
    flat = " ".join(redact_text(text).split())
    return flat[:_TEXT_CHARACTERS] or "no reason was given"
