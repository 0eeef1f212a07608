"""Jobs and the schedule of the healthy path: one run a cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import dagster as dg

from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.cycle import CYCLE_CRON, Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.blocking import BLOCKING_CHECKS, IN_CYCLE_CHECKS
from ao_pipeline.defs.operations import due_assets, state_cycles
from ao_pipeline.resilience.catch_up import MAX_CYCLES
from ao_pipeline.settings import current_settings

CYCLE_JOB_NAME: Final = "cycle"
CHECKS_JOB_NAME: Final = "checks"

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
    """Return the request of one run over the cycles `first` to `last`: everything due in them, holds left out."""
    store = open_store(current_settings())
    try:
        holds = store.holds()
        due = due_assets(first, last, state_cycles(store))
    finally:
        store.close()
    selection = [dg.AssetKey(asset.split("/")) for asset in due if asset not in holds]
    run_tags = {tags.PURPOSE: purpose, tags.CYCLE: last.key, **CYCLE_LANE} | ({tags.REASON: reason} if reason else {})
    if first != last:
        run_tags |= {"dagster/asset_partition_range_start": first.key, "dagster/asset_partition_range_end": last.key}
    return dg.RunRequest(
        run_key=run_key,
        partition_key=last.key if first == last else None,
        asset_selection=[*selection, dg.AssetKey(["ops", "cycle_report"])],
        asset_check_keys=in_cycle_checks(selection),
        tags=run_tags,
    )


def in_cycle_checks(selection: Sequence[dg.AssetKey]) -> list[dg.AssetCheckKey]:
    """Return the checks that go with a selection. Named, because selecting assets alone selects all their checks."""
    return sorted((check for check in IN_CYCLE_CHECKS if check.asset_key in selection), key=str)


@dg.schedule(
    job=cycle_job, cron_schedule=CYCLE_CRON, execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.RUNNING
)
def cycle_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for each cycle when its window closes, together with those that were missed before it.

    Dagster fires only the newest of several missed ticks, and what is computed late would be overtaken: so the first tick after
    an outage takes the whole gap along.
    """
    cycle = Cycle.last_closed(context.scheduled_execution_time)
    store = open_store(current_settings())
    try:
        records = store.cycles.latest(limit=1)
    finally:
        store.close()
    newest = Cycle.from_key(records[0].cycle) if records else cycle.shift(-1)
    first = min(max(newest.shift(1), cycle.shift(1 - MAX_CYCLES)), cycle)
    return cycle_request(first, cycle, purpose="cycle", run_key=f"cycle:{cycle}")
