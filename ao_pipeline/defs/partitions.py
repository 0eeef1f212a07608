"""The cycle is the partition: one 15-minute UTC window, shared by every asset."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg

from ao_pipeline.cycle import CYCLE_CRON, KEY_FORMAT, Cycle
from ao_pipeline.defs import tags
from ao_pipeline.settings import current_settings


def cycle_partitions() -> dg.TimeWindowPartitionsDefinition:
    """Return the partitions from the configured first cycle on."""
    return dg.TimeWindowPartitionsDefinition(
        start=current_settings().first_cycle, cron_schedule=CYCLE_CRON, fmt=KEY_FORMAT, timezone="UTC"
    )


CYCLES: Final = cycle_partitions()


@contextmanager
def one_run_for_a_range() -> Iterator[dg.BackfillPolicy]:
    """Yield the backfill policy of every asset, and keep Dagster quiet about it while an asset is declared with it.

    The parameter is beta in the pinned Dagster. Without it, a range picked in the UI becomes one run a partition, and every
    partition but the newest is a revert.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)
        yield dg.BackfillPolicy.single_run()


def cycles_of(context: dg.AssetExecutionContext) -> tuple[Cycle, Cycle]:
    """Return the oldest and newest cycle of this run: the same one, unless it stands for missed ones too."""
    window = context.partition_key_range
    first = context.run.tags.get(tags.FIRST_CYCLE, window.start)
    return Cycle.from_key(first), Cycle.from_key(window.end)


def cycles_of_run(run: dg.DagsterRun) -> tuple[Cycle, Cycle] | None:
    """Return the same from a run's tags, None for a run without a partition. A person may pick a range in the UI."""
    last = (
        run.tags.get("dagster/asset_partition_range_end")
        or run.tags.get("dagster/partition")
        or run.tags.get(tags.CYCLE)
    )
    if last is None:
        return None
    first = run.tags.get(tags.FIRST_CYCLE) or run.tags.get("dagster/asset_partition_range_start", last)
    return Cycle.from_key(first), Cycle.from_key(last)
