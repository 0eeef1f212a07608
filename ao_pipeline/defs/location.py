"""Puts the code location together."""

from __future__ import annotations

import dagster as dg

from ao_pipeline.defs.blocking import BLOCKING_CHECKS
from ao_pipeline.defs.checks import CHECKS, checks_job, checks_schedule
from ao_pipeline.defs.inventory import ALL_ASSETS
from ao_pipeline.defs.jobs import cycle_job, cycle_schedule
from ao_pipeline.defs.resources import StateResource
from ao_pipeline.defs.retries import nothing_retries_for_ever
from ao_pipeline.defs.seam import every_bundle_has_its_event
from ao_pipeline.defs.sensors import SENSORS


def build_definitions() -> dg.Definitions:
    """Return every definition of the project; opens nothing."""
    return dg.Definitions(
        assets=ALL_ASSETS,
        asset_checks=[*CHECKS, *BLOCKING_CHECKS, every_bundle_has_its_event, nothing_retries_for_ever],
        jobs=[cycle_job, checks_job],
        schedules=[cycle_schedule, checks_schedule],
        sensors=SENSORS,
        resources={"state": StateResource()},
        executor=dg.in_process_executor,
    )
