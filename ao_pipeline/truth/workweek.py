"""When the organisation works: one policy that deadlines, blocks and capacity share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final


@dataclass(frozen=True)
class WorkWeek:
    """Working days and hours.

    Attributes:
        weekend: Days off, Monday is 0. Friday and Saturday by default.
        start_minute: First working minute of a day, after local midnight.
        end_minute: End of the working day.
    """

    weekend: frozenset[int] = frozenset({4, 5})
    start_minute: int = 600
    end_minute: int = 1200

    def __post_init__(self) -> None:
        if not self.weekend < frozenset(range(7)):
            raise ValueError(f"weekend {sorted(self.weekend)} must name some of the days 0 to 6, not all")
        if not 0 <= self.start_minute < self.end_minute <= 1440:
            raise ValueError(f"working hours {self.start_minute}..{self.end_minute} are not part of a day")

    @property
    def working_day_count(self) -> int:
        return 7 - len(self.weekend)

    def is_working(self, day: date) -> bool:
        return day.weekday() not in self.weekend

    def last_of_week(self, day: date) -> date:
        """Return the last working day before the next weekend; a day on the weekend gives the week that follows."""
        while not self.is_working(day):
            day += timedelta(days=1)
        while self.weekend and self.is_working(day + timedelta(days=1)):
            day += timedelta(days=1)
        return day

    def first_of_next_week(self, day: date) -> date:
        """Return the first working day after the next weekend."""
        if not self.weekend:
            return day + timedelta(days=7)
        if self.is_working(day):
            day = self.last_of_week(day) + timedelta(days=1)
        while not self.is_working(day):
            day += timedelta(days=1)
        return day


DEFAULT_WORK_WEEK: Final = WorkWeek()
