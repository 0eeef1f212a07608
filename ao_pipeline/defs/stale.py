"""Which assets' states are of an older cycle than they should be: the question that Dagster's freshness cannot answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.staleness import staleness

NEVER: Final = "never"
"""Stands for the cycle of an asset without any state."""


def stale_states(state_cycles: Mapping[str, str], cycle: Cycle) -> dict[str, str]:
    """Return the cycle that each stale asset's state is of, by asset.

    Args:
        state_cycles: The cycle that each asset's state is of, absent when it has none.
        cycle: What was due up to this cycle should be there.
    """
    late: dict[str, str] = {}
    for spec in ALL_SPECS:
        is_due = partial(CADENCE.is_due, spec.asset) if spec.asset in CADENCE.interval_minutes else _always
        state = staleness(state_cycles.get(spec.asset), cycle=cycle, is_due=is_due)
        if state.is_stale:
            late[spec.asset] = state.as_of_cycle or NEVER
    return late


def _always(_cycle: Cycle) -> bool:
    return True
