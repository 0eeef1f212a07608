"""Retries that Dagster promised and lost: it tries to start one once, and forgets it when the code server is away just then."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.defs import tags
from ao_pipeline.defs.healing import Healing

LOOK_BACK: Final = timedelta(hours=1)
"""Failed runs looked at; an older one was overtaken by newer cycles."""

MAX_FAILED: Final = 20
MAX_REQUESTS: Final = 3
"""Times that one retry is asked for again. What cannot be started then is left to the next cycle: nothing retries for ever."""

_WILL_RETRY: Final = "dagster/will_retry"
_RETRIED_BY: Final = "dagster/auto_retry_run_id"
_FAILURE_REASON: Final = "dagster/failure_reason"
_STEP_FAILURE: Final = "STEP_FAILURE"
_FAILED_TO_RETRY: Final = "Failed to retry run"


def ask_for_lost_retries(healing: Healing) -> None:
    """Ask again for every retry that was promised and not started."""
    since = clock.utc_now() - LOOK_BACK
    failed = healing.instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since), limit=MAX_FAILED
    )
    for record in failed:
        run = record.dagster_run
        if not _may_be_lost(run) or not healing.may_act:
            continue
        asked = int(run.tags.get(tags.RETRIES_REQUESTED, "0"))
        waited = healing.sightings.seconds(f"retry:{run.run_id}", str(asked))
        if (
            asked >= MAX_REQUESTS
            or waited <= healing.policy.lost_retry * (asked + 1)
            or not _is_lost(healing.instance, run)
        ):
            continue
        healing.tell("retry_lost", run.run_id, f"its retry was not started for {waited:.0f} s; asked again", run=run)
        healing.instance.add_run_tags(run.run_id, {tags.RETRIES_REQUESTED: str(asked + 1)})
        # The retry daemon acts on failure events: a second one is how it is asked again. It starts no second retry.
        healing.instance.report_run_failed(run, "The retry of this run was lost; it is asked for again.")


def _may_be_lost(run: dg.DagsterRun) -> bool:
    return (
        run.remote_job_origin is not None
        and run.tags.get(_FAILURE_REASON) != _STEP_FAILURE
        and _RETRIED_BY not in run.tags
        and _WILL_RETRY in run.tags
    )


def _is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a retry was due: Dagster still says so, or says that starting it failed."""
    group = instance.get_run_group(run.run_id)
    if group is not None and any(other.parent_run_id == run.run_id for other in group[1]):
        return False
    if run.tags[_WILL_RETRY] == "true":
        return True
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=1000).records
    return any(
        (record.event_log_entry.dagster_event.message or "") == _FAILED_TO_RETRY
        for record in records
        if record.event_log_entry.dagster_event
    )
