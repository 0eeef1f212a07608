"""What a failed gate keeps from being computed: a follow-up publishes the last good truth, it does not make bad truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import dagster as dg

from ao_pipeline.defs.blocking import GATE_CHECK

GATED_STAGE: Final = "truth"
"""The stage that the gates protect; what comes after it stands on the last good state."""


def without_gated(instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
    """Return the assets that may be computed after `run`: all, or all but truth when its gate failed."""
    records = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, limit=1_000
    ).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None:
            evaluation = event.asset_check_evaluation_data
            if evaluation.asset_check_key == GATE_CHECK and not evaluation.passed:
                return [key for key in assets if key.path[0] != GATED_STAGE]
    return list(assets)
