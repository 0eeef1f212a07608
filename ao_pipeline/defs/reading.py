"""One reading of everything that may be wrong: the state store first, Dagster's own storage as far as it answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from ao_pipeline.adapters.state.signs import read_signs
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.clock import to_micros
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.jobs import MANUAL_JOB
from ao_pipeline.defs.stale import stale_states
from ao_pipeline.defs.ticks import stopped_instigators, tick_errors
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.resilience.breaker_state import Phase
from ao_pipeline.resilience.conditions import FailureSeen, Reading

STALE_CYCLES: Final = 2
"""Cycles that an asset may lag behind before it is told of: the one under way and one that failed and is tried again."""

MANUAL_RUN_WINDOW: Final = timedelta(minutes=30)

FAILURE_WINDOW: Final = timedelta(hours=2)
"""Older failures say nothing about now: the slowest collector is due every hour, and a failed one in each cycle."""

MAX_FAILURES: Final = 500

_TEXT_CHARACTERS: Final = 160


@dataclass(frozen=True)
class _Machinery:
    healers: dict[str, str] = field(default_factory=dict)
    switched_off: tuple[str, ...] = ()
    manual_runs: dict[str, str] = field(default_factory=dict)
    failed_checks: dict[str, str] = field(default_factory=dict)


def read_everything(
    store: StateStore,
    instance: dg.DagsterInstance,
    *,
    now: datetime,
    names: Collection[str] | None = None,
    checks: Collection[dg.AssetCheckKey] = (),
    heartbeat_error: str = "",
) -> Reading:
    """Return what is to be judged.

    Args:
        store: The state store.
        instance: Dagster's instance; what cannot be read from it is itself something wrong, and stops nothing.
        now: The moment.
        names: Sensors and schedules that exist; None when unknown.
        checks: Asset checks that exist.
        heartbeat_error: Why the dead-man's switch could not be reached.

    Raises:
        TransientError: The state store cannot be read.
    """
    signs = read_signs(store.database, now)
    machinery = _read_machinery(instance, now=now, names=names, checks=checks)
    state_cycles = {asset: head.state_cycle for asset, head in signs.heads.items()}
    due = Cycle.last_closed(now).shift(-STALE_CYCLES)
    return Reading(
        now=now,
        cycles=signs.cycles,
        last_completed=signs.last_completed,
        computed={asset: head.computed_cycle for asset, head in signs.heads.items()},
        stale=stale_states(state_cycles, due) if signs.last_completed else {},
        breakers={item.name: item.reason for item in store.breakers.all() if item.state != Phase.CLOSED},
        failures=_newest_failures(store, since=now - FAILURE_WINDOW),
        holds=signs.holds,
        refused=signs.refused,
        dead_messages=signs.dead_messages,
        waiting_messages=signs.waiting_messages,
        undelivered=store.incidents.undelivered(now_us=to_micros(now)),
        healers=machinery.healers,
        switched_off=machinery.switched_off,
        failed_checks=machinery.failed_checks,
        manual_runs=machinery.manual_runs,
        heartbeat_error=heartbeat_error,
    )


def _newest_failures(store: StateStore, *, since: datetime) -> tuple[FailureSeen, ...]:
    newest: dict[str, FailureSeen] = {}
    for item in store.failures.latest(since_us=to_micros(since), limit=MAX_FAILURES):
        seen = FailureSeen(item.asset, item.cycle, item.error, item.category, _text(item.message))
        newest.setdefault(item.asset, seen)
    return tuple(newest.values())


def _read_machinery(
    instance: dg.DagsterInstance,
    *,
    now: datetime,
    names: Collection[str] | None,
    checks: Collection[dg.AssetCheckKey],
) -> _Machinery:
    try:
        errors = tick_errors(instance, now=now, names=names)
        return _Machinery(
            {name: _text(error) for name, error in errors.items() if error is not None},
            tuple(stopped_instigators(instance, names=names)),
            _read_manual_runs(instance, now=now),
            _read_failed_checks(instance, checks),
        )
    except Exception as error:  # noqa: BLE001 - the boundary: whatever Dagster raises is told of, and hides nothing else.
        return _Machinery(healers={"Dagster's storage": f"it cannot be read ({type(error).__name__})"})


def _read_failed_checks(instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]) -> dict[str, str]:
    """Return the asset of each check whose newest result is an error, by the check's name and asset; warnings are none."""
    failed: dict[str, str] = {}
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks)).items():
        event = record.event.dagster_event if record.event else None
        if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue  # Planned, and not evaluated yet: Dagster's record of it has no result to ask for.
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            asset = "/".join(key.asset_key.path)
            failed[f"{key.name} of {asset}"] = asset
    return failed


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
