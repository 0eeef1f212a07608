"""Meetings on org-local days: single events, exceptions and expanded series, in a window around the organisation's day."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.tables import RAW_CALENDAR_EVENTS
from ao_pipeline.normalize.messages import domain_of
from ao_pipeline.normalize.recurrence import parse_recurrence, parse_stamp
from ao_pipeline.normalize.rows import Frame, Row, load_list, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_MEETINGS

MEETINGS_VERSION: Final = "1"

DAYS_BACK: Final = 7
DAYS_AHEAD: Final = 14
"""The window. It covers the 14 days that time blocks plan; a wider one only makes more rows move every midnight."""

MAX_MEETING_DAYS: Final = 31
"""Days of one event that become rows. Longer ones (a year of leave typed as one event) are cut."""

_NOT_BLOCKING_TYPES: Final = frozenset({"workingLocation", "birthday", "fromGmail"})
_DAY_MINUTES: Final = 1440


@dataclass(frozen=True)
class _Occurrence:
    """One occurrence: local start and end; whole days when `is_all_day`, then `end` is the midnight after."""

    start: datetime
    end: datetime
    expansion: str


def normalize_meetings(events: Frame, *, as_of: date, org_domains: Collection[str], zone: ZoneInfo) -> list[Row]:
    """Lay every meeting of the window on the organisation's days.

    Cancelled events are left out. A series is expanded in its own zone; an exception takes the place of the occurrence
    that its id names. A rule outside the supported subset gives one row with `expansion` = `unexpanded`, never blocking.

    Args:
        events: `raw_calendar_events`.
        as_of: The organisation's day; rows lie from 7 days before to 14 days after it.
        org_domains: The agency's own mail domains.
        zone: The organisation's time zone.

    Returns:
        Rows of `norm_meetings`: a meeting over midnight has one row a day.
    """
    ours = frozenset(domain.strip().lower() for domain in org_domains)
    first, last = as_of - timedelta(days=DAYS_BACK), as_of + timedelta(days=DAYS_AHEAD)
    raw_rows = read_rows(events, RAW_CALENDAR_EVENTS)
    replaced = _replaced_days(raw_rows, zone)
    rows: list[Row] = []
    for raw in raw_rows:
        if raw["status"] == "cancelled" or not _has_times(raw):
            continue
        facts = _facts(raw, ours)
        taken = replaced.get((raw["calendar_id"], raw["event_id"]), frozenset())
        for occurrence in _occurrences(raw, zone, first, last, taken):
            rows.extend(_day_rows(raw, facts, occurrence, first, last))
    return sort_rows(rows, NORM_MEETINGS)


def _has_times(raw: Row) -> bool:
    names = ("start_on", "end_on") if raw["is_all_day"] else ("start_at", "end_at")
    return raw[names[0]] is not None and raw[names[1]] is not None


def _event_zone(raw: Row, zone: ZoneInfo) -> ZoneInfo:
    try:
        return ZoneInfo(raw["time_zone"]) if raw["time_zone"] else zone
    except (ZoneInfoNotFoundError, ValueError):
        # Calendars imported from elsewhere carry zone names of their own.
        return zone


def _replaced_days(raw_rows: list[Row], zone: ZoneInfo) -> dict[tuple[str, str], frozenset[date]]:
    """Return, by master, the days (in the master's zone) whose occurrence was moved, changed or cancelled.

    Source: Calendar API, exceptions are named `<master id>_<original start>`, in UTC or as a day.
    """
    masters = {(raw["calendar_id"], raw["event_id"]): raw for raw in raw_rows}
    days: dict[tuple[str, str], set[date]] = {}
    for raw in raw_rows:
        key = (raw["calendar_id"], raw["recurring_event_id"])
        master = masters.get(key)
        if raw["recurring_event_id"] is None or master is None:
            continue
        event_zone = _event_zone(master, zone)
        day = parse_stamp(raw["event_id"].rpartition("_")[2], zone=event_zone)
        if day is None and raw["start_at"] is not None:
            day = raw["start_at"].astimezone(event_zone).date()
        day = day if day is not None else raw["start_on"]
        if day is not None:
            days.setdefault(key, set()).add(day)
    return {key: frozenset(values) for key, values in days.items()}


def _occurrences(raw: Row, zone: ZoneInfo, first: date, last: date, taken: frozenset[date]) -> Iterator[_Occurrence]:
    lines = [str(line) for line in load_list(raw["recurrence_json"])]
    if raw["is_all_day"]:
        start = datetime.combine(raw["start_on"], time.min)
        end = max(datetime.combine(raw["end_on"], time.min), start + timedelta(days=1))
    else:
        start = raw["start_at"].astimezone(zone).replace(tzinfo=None)
        end = raw["end_at"].astimezone(zone).replace(tzinfo=None)
    if not lines:
        yield _Occurrence(start, end, "exception" if raw["recurring_event_id"] is not None else "single")
        return
    event_zone = _event_zone(raw, zone)
    recurrence = parse_recurrence(lines, zone=event_zone)
    if recurrence is None:
        yield _Occurrence(start, min(end, datetime.combine(start.date(), time.max)), "unexpanded")
        return
    length = end - start
    local = start if raw["is_all_day"] else raw["start_at"].astimezone(event_zone)
    margin = timedelta(days=min(length.days, MAX_MEETING_DAYS) + 2)
    for day in recurrence.days(local.date(), first=first - margin, last=last + timedelta(days=2)):
        if day in taken:
            continue
        if raw["is_all_day"]:
            moved = datetime.combine(day, time.min)
        else:
            # The wall clock of the event's own zone stays; ours moves when that zone changes to summer time.
            wall = datetime.combine(day, local.time(), tzinfo=event_zone)
            moved = wall.astimezone(zone).replace(tzinfo=None)
        yield _Occurrence(moved, moved + length, "expanded")


def _day_rows(raw: Row, facts: Mapping[str, Any], occurrence: _Occurrence, first: date, last: date) -> Iterator[Row]:
    is_unexpanded = occurrence.expansion == "unexpanded"
    start_on = occurrence.start.date()
    is_all_day = bool(raw["is_all_day"])
    for offset in range(MAX_MEETING_DAYS):
        day = start_on + timedelta(days=offset)
        midnight = datetime.combine(day, time.min)
        begins = max(int((occurrence.start - midnight).total_seconds() // 60), 0)
        ends = min(int((occurrence.end - midnight).total_seconds() // 60), _DAY_MINUTES)
        # An event of no length still happens on its first day.
        if ends <= begins and offset > 0:
            return
        if not is_unexpanded and not first <= day <= last:
            continue
        yield {
            "calendar_id": raw["calendar_id"],
            "event_id": raw["event_id"],
            "occurrence_on": start_on,
            "meeting_on": day,
            "expansion": occurrence.expansion,
            "is_all_day": is_all_day,
            "start_minute": None if is_all_day else begins,
            "end_minute": None if is_all_day else max(ends, begins),
            "minutes": 0 if is_all_day else max(ends - begins, 0),
            **facts,
            "is_blocking": facts["is_blocking"] and not is_unexpanded,
        }


def _facts(raw: Row, ours: frozenset[str]) -> dict[str, Any]:
    """Return the columns that every day of the event shares."""
    owner = raw["calendar_id"].lower()
    attendees = load_list(raw["attendees_json"])
    answers = {str(person.get("email") or "").lower(): person.get("response_status") for person in attendees}
    is_declined = answers.get(owner) == "declined"
    people = {email for email, answer in answers.items() if answer != "declined"}
    if not is_declined:
        people.add(owner)
    own_people = sorted(email for email in people if domain_of(email) in ours)
    event_type = raw["event_type"] or "default"
    # A day-long note (a birthday, a holiday) takes nobody's time; a day out of office takes all of it.
    takes_time = not raw["is_all_day"] or event_type == "outOfOffice"
    return {
        "title": raw["summary"],
        "event_type": event_type,
        "is_internal": all(domain_of(email) in ours for email in answers if email),
        "is_declined": is_declined,
        "is_blocking": takes_time and event_type not in _NOT_BLOCKING_TYPES and bool(own_people),
        "attendee_count": len(attendees),
        "participants_json": canonical_json(own_people),
        "organizer_email": raw["organizer_email"],
    }
