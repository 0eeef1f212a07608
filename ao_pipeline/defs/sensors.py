"""Every sensor: healing, never part of the healthy path."""

from __future__ import annotations

from typing import Final

from ao_pipeline.defs.alerts import alert
from ao_pipeline.defs.breaker_timeline import report_breakers
from ao_pipeline.defs.catch_up import catch_up
from ao_pipeline.defs.follow_up import follow_up
from ao_pipeline.defs.heal_stale import heal_stale
from ao_pipeline.defs.recovery import recover
from ao_pipeline.defs.seam import report_lost_events

SENSORS: Final = (recover, catch_up, follow_up, report_lost_events, report_breakers, heal_stale, alert)
