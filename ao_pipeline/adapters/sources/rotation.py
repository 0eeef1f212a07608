"""Ask in turn what tells no changes by itself: every thing has its slot of the round, which follows from its name alone.

A round is cut into slots of one cycle each, so every collection has its equal share of the work, and what was asked once
is asked again no later than one round after, whatever was skipped between.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.clock import EPOCH
from ao_pipeline.cycle import CYCLE_MINUTES

_SLOT: Final = timedelta(minutes=CYCLE_MINUTES)


def slot_count(round_length: timedelta) -> int:
    """Return how many slots a round has, at least one."""
    return max(1, round_length // _SLOT)


def widened(slots: int, places: int, *, most: int) -> int:
    """Return a round's slots, doubled until a slot has no more than `most` of the places, so that its cost stays level.

    Doubling keeps the order: a place's slot in the longer round is its slot in the shorter one, or that many later.

    Args:
        slots: Of the round as it is wanted.
        places: How many places there are.
        most: Places of one slot, on average.
    """
    while places > most * slots:
        slots *= 2
    return slots


def spread(times: Sequence[str], slots: int) -> list[str] | None:
    """Return a time for each of `slots` slots from those of a round that was doubled or halved since; else None."""
    if times and slots % len(times) == 0:
        return list(times) * (slots // len(times))
    if times and len(times) % slots == 0:
        return [min(times[slot::slots]) for slot in range(slots)]
    return None


def slot_of(name: str, slots: int) -> int:
    """Return the slot of a project, space or calendar: the same in every process and for ever."""
    return zlib.crc32(name.encode()) % slots


def due_slots(since: datetime, until: datetime, slots: int) -> frozenset[int]:
    """Return the slots that began after `since` and not after `until`: all of them when a whole round went by."""
    first, final = (since - EPOCH) // _SLOT + 1, (until - EPOCH) // _SLOT
    if final - first + 1 >= slots:
        return frozenset(range(slots))
    return frozenset(number % slots for number in range(first, final + 1))
