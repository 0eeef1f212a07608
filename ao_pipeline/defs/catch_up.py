"""What nothing has opened is caught up: the very first cycle at once, missed ones as one range."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.engine import standby_reason
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, cycle_job, cycle_request
from ao_pipeline.defs.live import LIVE
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.resilience.catch_up import plan_catch_up
from ao_pipeline.resilience.outcome import CycleStatus
from ao_pipeline.settings import current_settings

MAX_ATTEMPTS: Final = 6
"""Runs for one cycle, retries and follow-ups included, before catching up waits for the next cycle: nothing retries for ever."""


@dg.sensor(job=cycle_job, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the cycles that nothing has opened: the very first one at once, missed ones as one range."""
    settings = current_settings()
    runs = context.instance.get_runs(dg.RunsFilter(job_name=CYCLE_JOB_NAME, statuses=LIVE), limit=20)
    live = {run.tags[tags.CYCLE] for run in runs if tags.CYCLE in run.tags}
    with opened_store() as store:
        if (standby := standby_reason(store, settings)) is not None:
            return dg.SkipReason(standby)
        records = store.cycles.latest(limit=1)
        close_interrupted(store, Cycle.last_closed(clock.utc_now()), live)
    newest = Cycle.from_key(records[0].cycle) if records else None
    missed = plan_catch_up(
        now=clock.utc_now(), first_cycle=Cycle.from_key(settings.first_cycle), newest_recorded=newest, live=live
    )
    if missed is None:
        return dg.SkipReason("no cycle was missed")
    attempt = context.instance.get_runs_count(dg.RunsFilter(tags={tags.CYCLE: missed.last.key})) + 1
    if attempt > MAX_ATTEMPTS:
        return dg.SkipReason(
            f"{attempt - 1} runs could not open cycle {missed.last}; it is asked for again with the next one"
        )
    return cycle_request(
        missed.first,
        missed.last,
        purpose="catch-up",
        run_key=f"catch-up:{missed.first}:{missed.last}:{attempt}",
        reason=f"nothing had opened {missed.first}" + ("" if missed.first == missed.last else f" to {missed.last}"),
    )


def close_interrupted(store: StateStore, newest: Cycle, live: Collection[str]) -> list[str]:
    """Close the cycles before the newest one that a run opened and nothing works on any more; return their keys."""
    interrupted = [record for record in store.cycles.open_before(newest) if record.cycle not in live]
    for record in interrupted:
        store.cycles.close(
            Cycle.from_key(record.cycle),
            status=CycleStatus.INTERRUPTED.value,
            report={**record.report, "status": CycleStatus.INTERRUPTED.value, "degraded": True},
            run_id=record.run_id,
        )
    return [record.cycle for record in interrupted]
