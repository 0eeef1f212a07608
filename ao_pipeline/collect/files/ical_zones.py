"""Time zones of calendar files: names of the world, names of other makers, and zones that a file defines itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from ao_pipeline.collect.files.windows_zones import WINDOWS_ZONES

_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?")
_LOCAL: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)")
_ORDINAL_DAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    return {name.lower(): name for name in available_timezones()}


def zone_name(tzid: str) -> str | None:
    """Return the IANA name that a TZID means: itself, the end of a path, a Windows name; None for others."""
    text = tzid.strip().strip('"')
    parts = text.split("/")
    for start in range(len(parts)):
        found = _names().get("/".join(parts[start:]).lower().replace(" ", "_"))
        if found is not None:
            return found
    return WINDOWS_ZONES.get(text.lower())


@dataclass(frozen=True)
class _Rule:
    """One STANDARD or DAYLIGHT block: from its onset on, every year when it repeats, the offset holds."""

    starts: datetime
    offset: timedelta
    month: int | None
    ordinal: int
    weekday: int
    until_year: int
    extra: tuple[datetime, ...]

    def onset(self, year: int) -> datetime | None:
        """Return the local time of the change in a year."""
        if year < self.starts.year or year > self.until_year:
            return None
        if self.month is None:
            return self.starts if year == self.starts.year else None
        first = date(year, self.month, 1)
        if self.ordinal > 0:
            day = first + timedelta(days=(self.weekday - first.weekday()) % 7 + 7 * (self.ordinal - 1))
        else:
            following = date(year + self.month // 12, self.month % 12 + 1, 1)
            last = following - timedelta(days=1)
            day = last - timedelta(days=(last.weekday() - self.weekday) % 7 + 7 * (-self.ordinal - 1))
        return datetime.combine(day, self.starts.time())


class FileZone(tzinfo):
    """A zone that a calendar file defines. Good for reading local times; it is never stored."""

    def __init__(self, name: str, rules: Sequence[_Rule]) -> None:
        self._name = name
        self._rules = tuple(rules)

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Return the offset in force at a local time."""
        if moment is None:
            return timedelta(0)
        local = moment.replace(tzinfo=None)
        best: tuple[datetime, timedelta] | None = None
        for rule in self._rules:
            onsets = [rule.onset(local.year), rule.onset(local.year - 1), rule.starts, *rule.extra]
            for onset in onsets:
                if onset is not None and onset <= local and (best is None or onset >= best[0]):
                    best = onset, rule.offset
        if best is not None:
            return best[1]
        return min(self._rules, key=lambda rule: rule.starts).offset

    def dst(self, moment: datetime | None) -> timedelta:
        """Return nothing: which part of the offset is summer time is not asked."""
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        """Return the file's own name of the zone."""
        return self._name


def read_zone(name: str, blocks: Sequence[Mapping[str, str]]) -> tzinfo | None:
    """Return the zone of a VTIMEZONE, None when it says nothing usable.

    Args:
        name: Its TZID.
        blocks: The properties of its STANDARD and DAYLIGHT parts, by upper-case name.
    """
    rules = [rule for block in blocks if (rule := _rule(block)) is not None]
    return FileZone(name, rules) if rules else None


def named_zone(name: str) -> tzinfo:
    """Return the zone of an IANA name."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _rule(block: Mapping[str, str]) -> _Rule | None:
    offset = _OFFSET.fullmatch(block.get("TZOFFSETTO", "").strip())
    starts = _local(block.get("DTSTART", ""))
    if offset is None or starts is None:
        return None
    seconds = int(offset.group(2)) * 3600 + int(offset.group(3)) * 60 + int(offset.group(4) or 0)
    if seconds >= 24 * 3600:
        return None
    parts = dict(part.partition("=")[::2] for part in block.get("RRULE", "").upper().split(";") if "=" in part)
    day = _ORDINAL_DAY.fullmatch(parts.get("BYDAY", ""))
    month = parts.get("BYMONTH", "")
    is_yearly = parts.get("FREQ") == "YEARLY" and day is not None and month.isdecimal() and 1 <= int(month) <= 12
    until = parts.get("UNTIL", "")[:4]
    extra = tuple(found for text in block.get("RDATE", "").split(",") if (found := _local(text)) is not None)
    return _Rule(
        starts,
        timedelta(seconds=seconds if offset.group(1) == "+" else -seconds),
        int(month) if is_yearly else None,
        _ordinal(day.group(1), parts.get("BYMONTHDAY", "")) if is_yearly and day is not None else 1,
        _WEEKDAYS.index(day.group(2)) if is_yearly and day is not None else 0,
        int(until) if until.isdecimal() else 9998,
        extra,
    )


def _ordinal(number: str | None, days: str) -> int:
    """Return which weekday of its month is meant: by its number, or by the week of month days that it must fall into."""
    found = [int(day) for day in days.split(",") if day.strip().lstrip("-").isdecimal()]
    if number or not found:
        return max(min(int(number or 1), 4), -4) or 1
    first = min(found)
    if first < 0 or first > 22:
        return -1
    return (first - 1) // 7 + 1


def _local(text: str) -> datetime | None:
    match = _LOCAL.match(text.strip())
    if match is None:
        return None
    try:
        year, month, day, hour, minute, second = (int(part) for part in match.groups())
        # A wall clock without a zone is what an onset is.
        return datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001
    except ValueError:
        return None
