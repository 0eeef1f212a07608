"""Jobs and the schedule of the healthy path: one run a cycle."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import dagster as dg

from ao_pipeline.cycle import CYCLE_CRON, Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.blocking import BLOCKING_CHECKS, IN_CYCLE_CHECKS
from ao_pipeline.defs.breakers import admit
from ao_pipeline.defs.engine import join_engine, standby_reason
from ao_pipeline.defs.operations import due_assets, state_cycles
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.resilience.catch_up import first_missed
from ao_pipeline.settings import current_settings

CYCLE_JOB_NAME: Final = "cycle"
MANUAL_JOB: Final = "__ASSET_JOB"
"""Dagster's own job behind "materialize" in the UI. Its runs have none of our tags: neither lane nor purpose."""

CYCLE_LANE: Final = {"ao/lane": "cycle"}
"""Runs with this tag execute one at a time; see the concurrency limits in `dagster.yaml`."""

cycle_job: Final = dg.define_asset_job(
    CYCLE_JOB_NAME,
    selection=dg.AssetSelection.all().without_checks() | dg.AssetSelection.checks(*BLOCKING_CHECKS),
    description="Collect, normalize, truth, snapshot, notify: one cycle in one run.",
    tags=CYCLE_LANE,
    executor_def=dg.in_process_executor,
)


def cycle_request(first: Cycle, last: Cycle, *, purpose: str, run_key: str | None, reason: str = "") -> dg.RunRequest:
    """Return the request of one run over the cycles `first` to `last`: everything due in them, as far as holds and breakers let it.

    A probe's token is taken here: of the processes that ask for a cycle at the same time, one gets it.
    """
    with opened_store() as store:
        holds = store.holds()
        as_of = state_cycles(store)
        due = [asset for asset in due_assets(first, last, as_of) if asset not in holds]
        token = join_engine(store, current_settings())
        holder = run_key or f"{purpose}:{last}:{secrets.token_hex(4)}"
        admission = admit(store, due, as_of=as_of, cycle=last, holder=holder)
    barriers = ", ".join(sorted(set(admission.left_out.values()))) or admission.trouble
    extra = {tags.BREAKERS: barriers, tags.PROBES: ", ".join(admission.probes), tags.ENGINE_LEASE: str(token)}
    return run_request(
        first,
        last,
        [*(dg.AssetKey(asset.split("/")) for asset in admission.assets), dg.AssetKey(["ops", "cycle_report"])],
        run_key=run_key,
        run_tags={tags.PURPOSE: purpose, tags.REASON: reason, **extra},
    )


def run_request(
    first: Cycle, last: Cycle, assets: Sequence[dg.AssetKey], *, run_key: str | None, run_tags: Mapping[str, str]
) -> dg.RunRequest:
    """Return the request of one run of these assets; empty tags are left out.

    It computes the newest cycle and stands for those from `first` on: what was missed was never computed, so there is nothing to
    materialize for it, and an outage of three days costs as much as one cycle (ADR 12).
    """
    all_tags = {name: value for name, value in run_tags.items() if value} | {tags.CYCLE: last.key, **CYCLE_LANE}
    if first != last:
        all_tags |= {tags.FIRST_CYCLE: first.key}
    return dg.RunRequest(
        run_key=run_key,
        partition_key=last.key,
        asset_selection=list(assets),
        asset_check_keys=in_cycle_checks(assets),
        tags=all_tags,
    )


def in_cycle_checks(selection: Sequence[dg.AssetKey]) -> list[dg.AssetCheckKey]:
    """Return the checks that go with a selection. Named, because selecting assets alone selects all their checks."""
    return sorted((check for check in IN_CYCLE_CHECKS if check.asset_key in selection), key=str)


@dg.schedule(
    job=cycle_job, cron_schedule=CYCLE_CRON, execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.RUNNING
)
def cycle_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for each cycle when its window closes, together with those that were missed before it.

    Dagster fires only the newest of several missed ticks, and what is computed late would be overtaken: so the first tick after
    an outage takes the whole gap along.
    """
    cycle = Cycle.last_closed(context.scheduled_execution_time)
    with opened_store() as store:
        if (standby := standby_reason(store, current_settings())) is not None:
            return dg.SkipReason(standby)
        first = first_missed(cycle, store.cycles.newest_before(cycle))
    return cycle_request(first, cycle, purpose="cycle", run_key=f"cycle:{cycle}")
