"""Stale states are asked for again, unless somebody else is responsible for them: Dagster's freshness and our own are both heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.cycles import OPEN, CycleRecord
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.standing import Standing, read_standings
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.breakers import breakers_of
from ao_pipeline.defs.engine import join_engine, standby_reason
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, cycle_job, run_request
from ao_pipeline.defs.live import LIVE
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.defs.stale import stale_states
from ao_pipeline.resilience.breaker_state import Phase
from ao_pipeline.resilience.conditions import ENGINE_ACTOR
from ao_pipeline.resilience.stale_states import not_now, plan_healing
from ao_pipeline.settings import current_settings

MAX_NAMED: Final = 8
"""Assets named in a run's reason; a tag is no place for a list of fifty."""


@dg.sensor(job=cycle_job, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def heal_stale(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the stale assets of the newest closed cycle that nobody else takes care of."""
    settings, now = current_settings(), clock.utc_now()
    runs = dg.RunsFilter(job_name=CYCLE_JOB_NAME, statuses=LIVE)
    is_live = context.instance.get_runs_count(runs) > 0
    cycle = Cycle.last_closed(now)
    with opened_store() as store:
        if (standby := standby_reason(store, settings)) is not None:
            return dg.SkipReason(standby)
        record = store.cycles.get(cycle)
        is_closed = record is not None and record.status != OPEN and record.closed_at_us is not None
        reason = not_now(
            now,
            closed_cycle=cycle.key if is_closed else "",
            closed_at=clock.from_micros(record.closed_at_us) if record and record.closed_at_us is not None else None,
            is_live=is_live,
        )
        if reason is not None or record is None:
            return dg.SkipReason(reason or "there is no cycle yet")
        standings = {item.head.asset: item for item in read_standings(store.database)}
        stale = why_stale(standings, cycle, late=late_by_dagster(context.instance))
        if not stale:
            return dg.SkipReason("nothing is stale")
        computed = {asset: _computed_at_us(store, asset, standings.get(asset)) for asset in stale}
        now_us = clock.to_micros(now)
        plan = plan_healing(
            stale,
            others=responsible(store, stale, standings, record),
            asked=store.healing.asked(computed, cycle=cycle),
            now_us=now_us,
        )
        if not plan.heal:
            return dg.SkipReason("; ".join(f"{asset}: {why}" for asset, why in plan.left_alone.items())[:500])
        attempt = store.healing.attempts(cycle) + 1
        token = join_engine(store, settings)
        store.healing.record(cycle, plan.heal, attempt=attempt, now_us=now_us)
    named = ", ".join(list(plan.heal)[:MAX_NAMED])
    more = f" and {len(plan.heal) - MAX_NAMED} more" if len(plan.heal) > MAX_NAMED else ""
    return run_request(
        cycle,
        cycle,
        [dg.AssetKey(asset.split("/")) for asset in plan.heal],
        run_key=f"heal:{cycle}:{attempt}",
        run_tags={
            tags.PURPOSE: tags.HEAL,
            tags.REASON: f"stale: {named}{more}",
            tags.ENGINE_LEASE: str(token),
        },
    )


def why_stale(standings: Mapping[str, Standing], cycle: Cycle, *, late: Iterable[str]) -> dict[str, str]:
    """Return why each stale asset is stale: by the cycle that its state is of, or by Dagster's freshness policy.

    Args:
        standings: Where every asset stands.
        cycle: The newest closed cycle.
        late: Assets whose freshness policy Dagster finds violated.
    """
    state_cycles = {asset: item.head.state_cycle for asset, item in standings.items()}
    reasons = dict.fromkeys(late, "Dagster's freshness policy is violated")
    reasons |= {asset: f"its state is as of {as_of}" for asset, as_of in stale_states(state_cycles, cycle).items()}
    return reasons


def late_by_dagster(instance: dg.DagsterInstance) -> list[str]:
    """Return the assets with a table whose freshness policy Dagster finds violated. It does not look at partitions."""
    keys = {dg.AssetKey(spec.asset.split("/")): spec.asset for spec in ALL_SPECS}
    records = instance.get_freshness_state_records(list(keys))
    return sorted(keys[key] for key, record in records.items() if record.freshness_state.value == "FAIL")


def responsible(
    store: StateStore, stale: Iterable[str], standings: Mapping[str, Standing], record: CycleRecord
) -> dict[str, str]:
    """Return who else takes care of a stale asset, by asset."""
    holds = store.holds()
    barred = {item.name for item in store.breakers.all() if item.state is not Phase.CLOSED}
    failed = {item.asset for item in store.failures.latest(since_us=record.opened_at_us, limit=1_000)}
    found: dict[str, str] = {}
    for asset in stale:
        barrier = next((name for name in breakers_of(asset) if name in barred), None)
        bundle = standings[asset].bundle if asset in standings else None
        if asset in holds:
            found[asset] = "it is on hold"
        elif barrier is not None:
            found[asset] = f"the breaker of {barrier} is not closed"
        elif asset in failed:
            found[asset] = "it failed in this cycle; the next one tries it"
        elif (
            bundle is not None
            and bundle.kind == BundleKind.REVERT
            and bundle.actor != ENGINE_ACTOR
            and bundle.started_at_us >= record.opened_at_us
        ):
            found[asset] = f"{bundle.actor} reverted it; the next cycle computes it"
    return found


def _computed_at_us(store: StateStore, asset: str, standing: Standing | None) -> int:
    """Return when the asset was last computed; a revert is no computation."""
    if standing is None or standing.bundle is None:
        return 0
    if standing.bundle.kind == BundleKind.MATERIALIZE:
        return standing.bundle.started_at_us
    history = store.bundles(asset=asset, limit=20)
    return next((header.started_at_us for header in history if header.kind == BundleKind.MATERIALIZE), 0)
