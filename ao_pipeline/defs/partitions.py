"""The cycle is the partition: one 15-minute UTC window, shared by every asset."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg

from ao_pipeline.cycle import CYCLE_CRON, KEY_FORMAT, Cycle
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
    """Return the oldest and newest cycle of this run: the same one, unless it catches up on a range."""
    window = context.partition_key_range
    return Cycle.from_key(window.start), Cycle.from_key(window.end)
