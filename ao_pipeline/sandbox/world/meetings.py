"""Lives of calendar events: singles, all-day, over midnight, recurring with exceptions; moved, answered, cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import ORG_ZONE, Agency
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS

BIRTH_YIELD: Final = 1.15
"""Events per birth on average: copies in a second calendar and exceptions of recurring ones."""
_LOCAL: Final = timedelta(hours=4)
"""The organisation's zone is UTC+4 all year; no daylight saving."""
_TITLES: Final = (
    "Client review",
    "Pitch rehearsal",
    "Interview",
    "Edit session",
    "اجتماع الفريق",
    "Budget check",
    "Shoot day 🎥",
    "1:1",
    "Workshop",
)
_EXCEPTION_WEEKS: Final = 12
"""Exceptions are made for this many weeks after a recurring event starts."""


def event_collection(calendar_id: str) -> str:
    """Return the name of the collection that holds a calendar."""
    return f"events:{calendar_id}"


def event_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one event, in each calendar that holds it."""
    draw = Draw(agency.seed, "event", number)
    calendar_id = draw.pick(agency.calendars)[0]
    event_id = draw.hexadecimal(26)
    day = (from_micros(birth) + _LOCAL).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    first_day = day + timedelta(days=draw.below(21))
    event = _event(agency, draw, event_id, calendar_id, birth, first_day)
    collection = event_collection(calendar_id)
    changes = [Change(birth, collection, event_id, 0, "put", event)]
    if number % 12 == 7:
        return changes + _recurring(draw, collection, event, birth)
    changes += _later_changes(draw, collection, event, birth)
    if draw.chance(0.25):
        other = draw.pick(agency.calendars)[0]
        if other != calendar_id:
            changes += [change._replace(collection=event_collection(other)) for change in changes]
    return changes


def _event(agency: Agency, draw: Draw, event_id: str, calendar_id: str, birth: int, day: datetime) -> Json:
    member, guest = draw.skewed(agency.members), draw.skewed(agency.clients)
    event: Json = {
        "kind": "calendar#event",
        "etag": "",
        "id": event_id,
        "status": "tentative" if draw.chance(0.05) else "confirmed",
        "htmlLink": f"https://calendar.example/event?eid={event_id}",
        "created": to_iso(from_micros(birth)),
        "updated": to_iso(from_micros(birth)),
        "summary": f"{draw.pick(_TITLES)} – {guest.name}" if draw.chance(0.4) else draw.pick(_TITLES),
        "creator": {"email": member.email},
        "organizer": {"email": calendar_id if draw.chance(0.3) else member.email},
        "iCalUID": f"{event_id}@calendar.example",
        "sequence": 0,
        "reminders": {"useDefault": True},
        "eventType": "default",
        **_times(draw, day),
    }
    kind = draw.fraction()
    if kind < 0.05:
        event |= {"eventType": "focusTime", "summary": "Focus time"}
    elif kind < 0.09:
        event |= {"eventType": "outOfOffice", "summary": "Out of office"}
    elif kind < 0.7:
        event["attendees"] = _attendees(agency, draw, member.email, guest.contact_email)
    if draw.chance(0.3):
        event["location"] = draw.pick(("Studio 2", "Client office", "Room ٣", "https://meet.example/abc"))
    if draw.chance(0.3):
        event["hangoutLink"] = f"https://meet.example/{event_id[:10]}"
    return event


def _times(draw: Draw, day: datetime) -> Json:
    shape = draw.fraction()
    if shape < 0.1:
        last = day + timedelta(days=draw.between(1, 3))
        return {"start": {"date": day.date().isoformat()}, "end": {"date": last.date().isoformat()}}
    start = day + timedelta(hours=draw.between(9, 18), minutes=draw.pick((0, 0, 30)))
    length = timedelta(minutes=draw.pick((30, 30, 60, 60, 90, 180)))
    if shape < 0.13:
        start, length = day + timedelta(hours=22), timedelta(hours=5)
    return {"start": _moment(start), "end": _moment(start + length)}


def _moment(local: datetime) -> Json:
    return {"dateTime": local.isoformat(timespec="seconds") + "+04:00", "timeZone": ORG_ZONE}


def _attendees(agency: Agency, draw: Draw, organizer: str, guest: str) -> list[Json]:
    emails = {organizer, *(draw.skewed(agency.members).email for _ in range(draw.between(1, 4)))}
    if draw.chance(0.4):
        emails.add(guest)
    attendees: list[Json] = []
    for email in sorted(emails):
        item: Json = {"email": email, "responseStatus": draw.pick(("accepted", "accepted", "needsAction", "declined"))}
        if email == organizer:
            item["organizer"] = True
        elif draw.chance(0.2):
            item["optional"] = True
        attendees.append(item)
    return attendees


def _later_changes(draw: Draw, collection: str, event: Json, birth: int) -> list[Change]:
    key, changes = event["id"], []
    wanted, delay = draw.chance(0.3), draw.below(3 * DAY_MICROS)
    if wanted and "attendees" in event:
        answered = [{**item, "responseStatus": "accepted"} for item in event["attendees"]]
        changes.append(Change(birth + HOUR_MICROS + delay, collection, key, 1, "patch", {"attendees": answered}))
    wanted, delay = draw.chance(0.2), draw.below(5 * DAY_MICROS)
    if wanted and "dateTime" in event["start"]:
        moved = {side: _moment(_local(event[side]) + timedelta(days=1, hours=1)) for side in ("start", "end")}
        changes.append(Change(birth + HOUR_MICROS + delay, collection, key, 2, "patch", {**moved, "sequence": 1}))
    wanted, delay = draw.chance(0.08), draw.below(6 * DAY_MICROS)
    if wanted:
        changes.append(Change(birth + 2 * HOUR_MICROS + delay, collection, key, 3, "drop", event_tombstone(event)))
    return changes


def _local(moment: Json) -> datetime:
    return datetime.fromisoformat(moment["dateTime"]).replace(tzinfo=None)


def _recurring(draw: Draw, collection: str, master: Json, birth: int) -> list[Change]:
    """Turn the event into a weekly master and add its exceptions, a few days before each of them."""
    is_all_day = "date" in master["start"]
    master["recurrence"] = ["RRULE:FREQ=WEEKLY"]
    if is_all_day:
        return []
    master["summary"] = f"Weekly {draw.pick(names.INTERNAL_SUBJECTS)}"
    first = _local(master["start"])
    length = _local(master["end"]) - first
    changes: list[Change] = []
    for week in range(1, _EXCEPTION_WEEKS):
        if not draw.chance(0.2):
            continue
        original = first + timedelta(weeks=week)
        utc = original - _LOCAL
        key = f"{master['id']}_{utc:%Y%m%dT%H%M%SZ}"
        at = birth + (week * 7 - 2) * DAY_MICROS + draw.below(DAY_MICROS)
        exception = {**master, "id": key, "recurringEventId": master["id"], "originalStartTime": _moment(original)}
        del exception["recurrence"]
        exception["start"], exception["end"] = (
            _moment(original + timedelta(hours=2)),
            _moment(original + timedelta(hours=2) + length),
        )
        exception["created"] = master["created"]
        changes.append(Change(at, collection, key, 0, "put", exception))
        if draw.chance(0.4):
            changes.append(Change(at + HOUR_MICROS, collection, key, 1, "drop", event_tombstone(exception)))
    return changes


def event_tombstone(event: Json) -> Json:
    """Return what a cancelled event guarantees: its id, and for exceptions what they are an exception of."""
    kept = ("kind", "id", "recurringEventId", "originalStartTime")
    return {**{key: event[key] for key in kept if key in event}, "etag": "", "status": "cancelled"}
