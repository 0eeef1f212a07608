"""When objects are born: evenly by number, denser in office hours, the same for every anchor day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from ao_pipeline.clock import to_micros
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change
from ao_pipeline.sandbox.world.size import DAY_MICROS

HISTORY_EPOCH: Final = to_micros(datetime(2020, 1, 1, tzinfo=UTC))
"""Number zero of every kind. Moving it gives every object another identity."""

Life = Callable[[int, int], list[Change]]
"""Give all changes of the object with this number, born at this microsecond."""

_OFFICE: Final = ((0.0, 0.0), (0.14, 5 / 24), (0.78, 15 / 24), (1.0, 1.0))
"""Share of a day's births before an hour UTC: 64 % fall into 05-15 UTC, the office hours of the organisation's zone."""


@dataclass
class Births:
    """One kind of object and the number of the next one to be born."""

    kind: str
    seed: int
    spacing: int
    next_number: int
    life: Life
    horizon_days: int = 0

    def until(self, limit: int) -> Iterator[Change]:
        """Yield the changes of every object whose day share begins before `limit`, and remember how far that was."""
        while HISTORY_EPOCH + self.next_number * self.spacing < limit:
            number = self.next_number
            self.next_number += 1
            yield from self.life(number, birth_instant(self.seed, self.kind, number, spacing=self.spacing))


def schedule_births(
    kind: str, *, seed: int, count: int, horizon_days: int, anchor: int, life: Life, family: int = 1
) -> Births:
    """Return the births that put about `count` objects into the `horizon_days` before `anchor`.

    Args:
        family: Objects refer to others of their family of this many numbers, so the first number is a multiple of it.
    """
    spacing = max(1, horizon_days * DAY_MICROS // count)
    first = (anchor - horizon_days * DAY_MICROS - HISTORY_EPOCH) // spacing
    return Births(
        kind=kind, seed=seed, spacing=spacing, next_number=first - first % family, life=life, horizon_days=horizon_days
    )


def birth_instant(seed: int, kind: str, number: int, *, spacing: int) -> int:
    """Return the microsecond at which an object is born; grows with `number`."""
    even = number * spacing + Draw(seed, kind, "birth", number).below(spacing)
    day, within = divmod(even, DAY_MICROS)
    share = within / DAY_MICROS
    for (low, low_hour), (high, high_hour) in pairwise(_OFFICE):
        if share < high:
            warped = low_hour + (share - low) / (high - low) * (high_hour - low_hour)
            return HISTORY_EPOCH + day * DAY_MICROS + int(warped * DAY_MICROS)
    return HISTORY_EPOCH + even
