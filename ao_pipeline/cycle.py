"""A cycle: one 15-minute UTC window. Its key is the partition key and stands in every log line, bundle and metric."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.errors import UnknownNameError

CYCLE_MINUTES: Final = 15
"""Cadence of the truth cycle. Partition definition, schedules and freshness all derive from it."""

KEY_FORMAT: Final = "%Y-%m-%d-%H:%M"
CYCLE_CRON: Final = "*/15 * * * *"
_WIDTH: Final = timedelta(minutes=CYCLE_MINUTES)


@dataclass(frozen=True, order=True)
class Cycle:
    """The window `[start, end)`; `start` is UTC on a quarter of an hour. Ordered by time; keys sort the same way."""

    start: datetime

    def __post_init__(self) -> None:
        start = self.start
        if start.tzinfo is None or start.utcoffset() != timedelta(0):
            raise UnknownNameError(f"cycle start {start!r} is not UTC")
        if start.minute % CYCLE_MINUTES or start.second or start.microsecond:
            raise UnknownNameError(f"cycle start {start.isoformat()} is not on a multiple of {CYCLE_MINUTES} minutes")

    @classmethod
    def from_key(cls, key: str) -> Cycle:
        """Parse a partition key such as `2026-11-22-10:15`.

        Raises:
            UnknownNameError: `key` is not such a key.
        """
        try:
            start = datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)
        except ValueError as error:
            raise UnknownNameError(
                f"{key!r} is not a cycle; write YYYY-MM-DD-HH:MM in UTC on a quarter of an hour, like 2026-11-22-10:15"
            ) from error
        return cls(start)

    @classmethod
    def containing(cls, instant: datetime) -> Cycle:
        """Return the cycle whose window holds `instant`."""
        utc = instant.astimezone(UTC)
        return cls(utc.replace(minute=utc.minute - utc.minute % CYCLE_MINUTES, second=0, microsecond=0))

    @classmethod
    def last_closed(cls, instant: datetime) -> Cycle:
        """Return the newest cycle whose window has ended at `instant`: the one a schedule may compute."""
        return cls.containing(instant).shift(-1)

    @property
    def key(self) -> str:
        """The partition key."""
        return self.start.strftime(KEY_FORMAT)

    @property
    def end(self) -> datetime:
        """The end of the window: "now" for everything computed in this cycle."""
        return self.start + _WIDTH

    def shift(self, count: int) -> Cycle:
        """Return the cycle `count` windows later, earlier if negative."""
        return Cycle(self.start + count * _WIDTH)

    def org_date(self, zone: ZoneInfo) -> date:
        """Return the organisation's calendar day at the cycle's end."""
        return self.end.astimezone(zone).date()

    def __str__(self) -> str:
        return self.key


def cycles_between(first: Cycle, last: Cycle) -> Iterator[Cycle]:
    """Yield every cycle from `first` to `last`, both included; nothing when `last` is earlier."""
    cycle = first
    while cycle <= last:
        yield cycle
        cycle = cycle.shift(1)
