"""Recovery of what Dagster leaves to people: dead and hung runs, lost retries, stuck runs, leaked slots."""

from __future__ import annotations

import dagster as dg

from ao_pipeline.adapters.run_beats import ENGINE, beat_once
from ao_pipeline.defs.dead_runs import end_dead_runs
from ao_pipeline.defs.healing import Healing, Sightings
from ao_pipeline.defs.jobs import cycle_job
from ao_pipeline.defs.lost_retries import ask_for_lost_retries
from ao_pipeline.defs.pool_slots import free_leaked_slots
from ao_pipeline.settings import current_settings


@dg.sensor(job=cycle_job, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING)
def recover(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """End what is dead, hung or stuck, ask again for lost retries, free leaked slots; leave a sign of life of the engine."""
    settings = current_settings()
    beat_once(settings.data_path, ENGINE)
    healing = Healing(context.instance, settings.data_path, Sightings.from_cursor(context.cursor), context.log)
    end_dead_runs(healing)
    ask_for_lost_retries(healing)
    free_leaked_slots(healing)
    return dg.SensorResult(
        run_requests=healing.requests,
        cursor=healing.sightings.as_cursor(),
        skip_reason=None if healing.requests else dg.SkipReason("; ".join(healing.done) or "all is well"),
    )
