"""Which cycles were missed? Dagster's schedules never ask for them again, so we do: once, as one range."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.cycle import Cycle

GRACE: Final = timedelta(minutes=3)
"""The schedule's turn: a cycle that closed less than this ago is not missed yet."""

MAX_CYCLES: Final = 30 * 96
"""Longest range that one cycle stands for: as long as bundles are kept. Its cost does not grow with its length (ADR 12); cycles
before it stay without a record, and the data heals all the same, through the cursors."""


@dataclass(frozen=True)
class Missed:
    """Cycles from `first` to `last` that nothing has opened."""

    first: Cycle
    last: Cycle


def first_missed(cycle: Cycle, newest_recorded: str | None) -> Cycle:
    """Return the oldest cycle that a run of `cycle` stands for: what was missed since the newest recorded one, else itself."""
    if newest_recorded is None:
        return cycle
    return min(max(Cycle.from_key(newest_recorded).shift(1), cycle.shift(1 - MAX_CYCLES)), cycle)


def plan_catch_up(
    *, now: datetime, first_cycle: Cycle, newest_recorded: Cycle | None, live: Collection[str]
) -> Missed | None:
    """Return the cycles to ask for now, None when there are none.

    Args:
        now: The present.
        first_cycle: Older cycles do not exist.
        newest_recorded: Newest cycle that any run has opened; None on an empty store.
        live: Keys of cycles that a queued or running run already works on.

    Returns:
        On an empty store the last closed cycle alone: history that never was is not made up.
    """
    closed = Cycle.last_closed(now)
    if closed < first_cycle or live:
        return None
    if newest_recorded is None:
        return Missed(closed, closed)
    if newest_recorded >= closed:
        return None
    first = max(newest_recorded.shift(1), first_cycle, closed.shift(1 - MAX_CYCLES))
    if first == closed and now - closed.end < GRACE:
        return None
    return Missed(first, closed)
