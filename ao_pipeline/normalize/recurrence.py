"""A small, honest subset of RFC 5545: DAILY and WEEKLY with INTERVAL, BYDAY, COUNT, UNTIL, and EXDATE.

Anything else gives None: the caller counts it as not expanded instead of inventing meetings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

MAX_OCCURRENCES: Final = 5_000
"""Days walked for one rule with COUNT. A daily meeting reaches it after 13 years; beyond it the series counts as over."""

_WEEKDAYS: Final = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_PARTS: Final = frozenset({"FREQ", "INTERVAL", "BYDAY", "COUNT", "UNTIL", "WKST"})
_STAMP: Final = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")


@dataclass(frozen=True)
class Recurrence:
    """One supported rule. `until_on` is a day in the event's own zone, included."""

    is_weekly: bool
    interval: int
    weekdays: frozenset[int]
    count: int | None
    until_on: date | None
    week_start: int
    excluded: frozenset[date]

    def days(self, start_on: date, *, first: date, last: date) -> Iterator[date]:
        """Yield the days of occurrences in `[first, last]` of a series that starts on `start_on`."""
        stop = last if self.until_on is None else min(last, self.until_on)
        # Without COUNT no earlier day matters, so years of a running series are not walked.
        day = start_on if self.count is not None else max(start_on, first)
        seen = 0
        for _ in range(MAX_OCCURRENCES):
            if day > stop or (self.count is not None and seen >= self.count):
                return
            if self._falls_on(day, start_on):
                seen += 1
                if day >= first and day not in self.excluded:
                    yield day
            day += timedelta(days=1)

    def _falls_on(self, day: date, start_on: date) -> bool:
        if day == start_on:
            return True
        if self.is_weekly:
            weeks = (_week_of(day, self.week_start) - _week_of(start_on, self.week_start)).days // 7
            return weeks % self.interval == 0 and day.weekday() in (self.weekdays or {start_on.weekday()})
        return (day - start_on).days % self.interval == 0 and (not self.weekdays or day.weekday() in self.weekdays)


def parse_recurrence(lines: Sequence[str], *, zone: ZoneInfo) -> Recurrence | None:
    """Read the recurrence lines of a master event; None when they use anything outside the subset.

    Args:
        lines: RFC 5545 lines such as `RRULE:FREQ=WEEKLY;BYDAY=MO`.
        zone: The event's own zone, in which UNTIL and EXDATE instants become days.
    """
    rule: str | None = None
    excluded: set[date] = set()
    for line in lines:
        name, _, value = line.strip().partition(":")
        property_name = name.partition(";")[0].upper()
        if property_name == "RRULE" and rule is None:
            rule = value
        elif property_name == "EXDATE":
            days = [parse_stamp(stamp, zone=zone) for stamp in value.split(",")]
            if None in days:
                return None
            excluded.update(day for day in days if day is not None)
        else:
            return None
    return _parse_rule(rule, frozenset(excluded), zone) if rule is not None else None


def parse_stamp(text: str, *, zone: ZoneInfo) -> date | None:
    """Return the day in `zone` of `YYYYMMDD`, `YYYYMMDDTHHMMSS` (already local) or `YYYYMMDDTHHMMSSZ`; None for others."""
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        return None
    day, clock, utc = match.groups()
    try:
        if not utc:
            return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()
        instant = datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return instant.astimezone(zone).date()
    except (ValueError, OverflowError):
        return None


def _parse_rule(rule: str, excluded: frozenset[date], zone: ZoneInfo) -> Recurrence | None:
    parts: dict[str, str] = {}
    for item in rule.split(";"):
        name, _, value = item.partition("=")
        parts[name.strip().upper()] = value.strip().upper()
    if not parts.keys() <= _PARTS or parts.get("FREQ") not in {"DAILY", "WEEKLY"}:
        return None
    names = [name for name in parts.get("BYDAY", "").split(",") if name]
    until_on = parse_stamp(parts["UNTIL"], zone=zone) if "UNTIL" in parts else None
    week_start = parts.get("WKST", "MO")
    if any(name not in _WEEKDAYS for name in (*names, week_start)) or ("UNTIL" in parts and until_on is None):
        return None
    try:
        interval = int(parts.get("INTERVAL", "1"))
        count = int(parts["COUNT"]) if "COUNT" in parts else None
    except ValueError:
        return None
    if interval < 1 or (count is not None and count < 1):
        return None
    weekdays = frozenset(_WEEKDAYS[name] for name in names)
    return Recurrence(parts["FREQ"] == "WEEKLY", interval, weekdays, count, until_on, _WEEKDAYS[week_start], excluded)


def _week_of(day: date, week_start: int) -> date:
    return day - timedelta(days=(day.weekday() - week_start) % 7)
