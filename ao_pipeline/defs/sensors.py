"""Healing: what was missed is caught up, what was skipped runs on the last good data. Not part of the healthy path."""

from __future__ import annotations

from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, cycle_job, cycle_request, gate_checks
from ao_pipeline.defs.operations import close_cycle
from ao_pipeline.resilience.catch_up import plan_catch_up
from ao_pipeline.settings import current_settings

_LIVE: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_RANGE_START: Final = "dagster/asset_partition_range_start"


@dg.sensor(job=cycle_job, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the cycles that nothing has opened: the very first one at once, missed ones as one range."""
    settings = current_settings()
    store = open_store(settings)
    try:
        records = store.cycles.latest(limit=1)
    finally:
        store.close()
    newest = Cycle.from_key(records[0].cycle) if records else None
    runs = context.instance.get_runs(dg.RunsFilter(job_name=CYCLE_JOB_NAME, statuses=_LIVE), limit=20)
    live = {run.tags[tags.CYCLE] for run in runs if tags.CYCLE in run.tags}
    missed = plan_catch_up(
        now=clock.utc_now(), first_cycle=Cycle.from_key(settings.first_cycle), newest_recorded=newest, live=live
    )
    if missed is None:
        return dg.SkipReason("no cycle was missed")
    attempt = context.instance.get_runs_count(dg.RunsFilter(tags={tags.CYCLE: missed.last.key})) + 1
    return cycle_request(
        missed.first,
        missed.last,
        purpose="catch-up",
        run_key=f"catch-up:{missed.first}:{missed.last}:{attempt}",
        reason=f"nothing had opened {missed.first}" + ("" if missed.first == missed.last else f" to {missed.last}"),
    )


@dg.run_failure_sensor(
    monitored_jobs=[cycle_job],
    request_job=cycle_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def follow_up(context: dg.RunFailureSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Run what a failed step left out on the last good data: once a cycle, and in the open.

    A failed follow-up is not followed up: it closes the cycle as what it then is.
    """
    run = context.dagster_run
    cycle_key = run.tags.get(tags.CYCLE) or run.tags.get("dagster/partition")
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("Dagster runs it again")
    if cycle_key is None or run.tags.get(tags.PURPOSE) in ("revert", "recompute"):
        return dg.SkipReason("not a cycle")
    last = Cycle.from_key(cycle_key)
    first = Cycle.from_key(run.tags.get(_RANGE_START, cycle_key))
    if run.tags.get(tags.PURPOSE) == "follow-up":
        store = open_store(current_settings())
        try:
            report = close_cycle(store, current_settings(), first=first, last=last, run_id=run.run_id)
        finally:
            store.close()
        return dg.SkipReason(f"the follow-up failed too; cycle {last} is closed as {report['status']}")
    skipped = skipped_assets(context.instance, run)
    if not skipped:
        return dg.SkipReason("nothing was left out")
    request = cycle_request(
        first,
        last,
        purpose="follow-up",
        run_key=f"follow-up:{run.root_run_id or run.run_id}",
        reason=f"left out by run {run.run_id[:8]}",
    )
    return dg.RunRequest(
        run_key=request.run_key,
        partition_key=request.partition_key,
        asset_selection=skipped,
        asset_check_keys=gate_checks(skipped),
        tags=request.tags,
    )


def skipped_assets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.AssetKey]:
    """Return the assets of a run that never started: neither materialized nor failed."""
    planned: set[dg.AssetKey] = set()
    started: set[dg.AssetKey] = set()
    failed_steps: set[str] = set()
    step_assets: dict[str, set[dg.AssetKey]] = {}
    for record in instance.get_records_for_run(run.run_id, limit=10_000).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED and event.asset_key:
            planned.add(event.asset_key)
            step_assets.setdefault(event.step_key or "", set()).add(event.asset_key)
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            started.add(event.asset_key)
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key:
            failed_steps.add(event.step_key)
    for step in failed_steps:
        started |= step_assets.get(step, set())
    return sorted(planned - started)


SENSORS: Final = (catch_up, follow_up)
