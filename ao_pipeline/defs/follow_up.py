"""After a failed cycle: what was left out because of the failure runs on the last good data, once and in the open."""

from __future__ import annotations

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.cycles import OPEN
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.auto_revert import revert_again, revert_requests
from ao_pipeline.defs.gated import without_gated
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, MANUAL_JOB, cycle_job, run_request
from ao_pipeline.defs.operations import close_cycle, root_runs
from ao_pipeline.defs.partitions import cycles_of_run
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.errors import TransientError
from ao_pipeline.settings import current_settings


@dg.run_failure_sensor(
    request_job=cycle_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def follow_up(context: dg.RunFailureSensorContext) -> list[dg.RunRequest] | dg.SkipReason:
    """After a failed cycle: take back what a blocking check refused, then run what was left out on the last good data.

    Once a cycle, and in the open. A failed follow-up is not followed up: it closes the cycle as what it then is. A run that a
    person started from an asset in the UI, and one that heals, are no cycles: only what a check refused is taken back.

    Raises:
        LookAgainError: A database was away. The same run is looked at again with the next tick.
    """
    try:
        return _answer(context)
    except TransientError as error:
        raise LookAgainError(str(error)) from error
    except Exception as error:
        # Dagster's own storage, or a bug: no older run than this may keep the newer ones waiting.
        span = cycles_of_run(context.dagster_run)
        if span is None or Cycle.last_closed(clock.utc_now()) > span[1].shift(1):
            raise
        raise LookAgainError(f"{type(error).__name__}: the failed run is looked at again") from error


class LookAgainError(dg.DagsterError):
    """The failed run could not be looked at now.

    Dagster moves on from a run whose evaluation raised, and nobody would follow it up any more. Only an error of its own
    kind ends the tick without that.
    """


def _answer(context: dg.RunFailureSensorContext) -> list[dg.RunRequest] | dg.SkipReason:
    run = context.dagster_run
    if run.job_name not in (CYCLE_JOB_NAME, MANUAL_JOB):
        return dg.SkipReason("its failure is its answer")
    span = cycles_of_run(run)
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("Dagster runs it again")
    if tags.TAKES_BACK in run.tags:
        return revert_again(run)
    if span is None or run.tags.get(tags.PURPOSE) in ("revert", "recompute"):
        return dg.SkipReason("not a cycle")
    first, last = span
    if run.tags.get(tags.PURPOSE) == "follow-up":
        return dg.SkipReason(f"the follow-up failed too; cycle {last} is {_close(run, first, last)}")
    reverts = revert_requests(context.instance, run)
    if run.job_name == MANUAL_JOB or run.tags.get(tags.PURPOSE) == tags.HEAL:
        return reverts or dg.SkipReason("not a cycle; the next one computes what failed")
    if not _has_begun(last):
        return dg.SkipReason(f"nothing opened cycle {last}; the catch-up asks for it")
    skipped = without_gated(context.instance, run, skipped_assets(context.instance, run))
    if is_overtaken(last):
        return reverts or dg.SkipReason(f"a newer cycle is computed; cycle {last} is {_close(run, first, last)}")
    if not skipped:
        return reverts or dg.SkipReason(f"nothing was left out; cycle {last} is {_close(run, first, last)}")
    root = run.root_run_id or run.run_id
    return [
        *reverts,
        run_request(
            first,
            last,
            skipped,
            run_key=f"follow-up:{root}",
            run_tags={
                tags.PURPOSE: "follow-up",
                tags.REASON: f"left out by run {run.run_id[:8]}",
                tags.FOLLOWS: root,
                "dagster/priority": "5",
            },
        ),
    ]


def is_overtaken(cycle: Cycle) -> bool:
    """Tell whether a newer cycle is computed already: then this one is history, and nothing may be computed for it."""
    with opened_store() as store:
        return any(head.computed_cycle > cycle.key for head in store.heads().values())


def _has_begun(cycle: Cycle) -> bool:
    with opened_store() as store:
        return store.cycles.get(cycle) is not None


def _close(run: dg.DagsterRun, first: Cycle, last: Cycle) -> str:
    """Close the cycle's record if nothing has; return its status."""
    with opened_store() as store:
        record = store.cycles.get(last)
        if record is not None and record.status != OPEN:
            return record.status
        report = close_cycle(store, current_settings(), first=first, last=last, run_id=run.run_id, runs=root_runs(run))
        return str(report["status"])


def skipped_assets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.AssetKey]:
    """Return the assets of a run that never started: neither materialized nor failed."""
    planned: set[dg.AssetKey] = set()
    started: set[dg.AssetKey] = set()
    failed_steps: set[str] = set()
    step_assets: dict[str, set[dg.AssetKey]] = {}
    kinds = {
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
    }
    for record in instance.get_records_for_run(run.run_id, of_type=kinds, limit=100_000).records:
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
