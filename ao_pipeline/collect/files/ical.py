"""Calendar files (RFC 5545) to the events that Google's API would answer, one at a time."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from ao_pipeline.collect.batch import Record
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.files.ical_lines import Calendar, Line, split_line
from ao_pipeline.collect.values import BadValueError

EVENT: Final = RecordContract(
    name="files.ics",
    key_field="id",
    properties={"lines": {"type": "array"}, "problem": {"type": "null"}},
    known_fields=frozenset({"zones"}),
)
"""What is quarantined is the event's own text."""

_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
_MOMENT: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)?(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_DURATION: Final = re.compile(
    r"([+-]?)P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?"
)
_ANSWERS: Final = {
    "ACCEPTED": "accepted",
    "DECLINED": "declined",
    "TENTATIVE": "tentative",
    "NEEDS-ACTION": "needsAction",
    "DELEGATED": "needsAction",
}
_RECURRENCE: Final = frozenset({"RRULE", "EXRULE", "RDATE", "EXDATE"})
_LINKS: Final = ("X-GOOGLE-CONFERENCE", "X-MICROSOFT-SKYPETEAMSMEETINGURL", "X-MICROSOFT-ONLINEMEETINGCONFLINK")


def event_record(lines: list[str]) -> Record:
    """Return an event as it goes into the batch: its text, and an id for messages."""
    uid = next((split_line(text).value for text in lines if text[:3].upper() == "UID"), "")
    return {"id": uid or _digest(lines), "lines": lines}


def google_event(record: Record, calendar: Calendar) -> dict[str, Any]:
    """Return an event in the form of Google's API.

    Raises:
        BadValueError: The event has no start, or a time that cannot be read.
    """
    lines = [split_line(text) for text in record["lines"]]
    first: dict[str, Line] = {}
    for line in lines:
        first.setdefault(line.name, line)
    if "DTSTART" not in first:
        raise BadValueError("DTSTART is missing; an event without a start is on no day")
    start = _time(first["DTSTART"], calendar)
    uid = first["UID"].value if "UID" in first and first["UID"].value else _digest(record["lines"])
    original = first.get("RECURRENCE-ID")
    status = first["STATUS"].value.lower() if "STATUS" in first else "confirmed"
    organizer = _mail(first["ORGANIZER"].value) if "ORGANIZER" in first else None
    is_away = first["X-MICROSOFT-CDO-BUSYSTATUS"].value == "OOF" if "X-MICROSOFT-CDO-BUSYSTATUS" in first else False
    return {
        "id": f"{uid}_{_stamp(_time(original, calendar))}" if original else uid,
        "status": "cancelled" if calendar.is_cancelling else status,
        "summary": first["SUMMARY"].text if "SUMMARY" in first else None,
        "location": (first["LOCATION"].text or None) if "LOCATION" in first else None,
        "start": _google_time(start, _kept_zone(first["DTSTART"], calendar)),
        "end": _google_time(
            _end_of(first, start, calendar), _kept_zone(first.get("DTEND", first["DTSTART"]), calendar)
        ),
        "organizer": {"email": organizer},
        "attendees": [_attendee(line, organizer) for line in lines if line.name == "ATTENDEE"],
        "recurringEventId": uid if original else None,
        "recurrence": [_recurrence(line, calendar) for line in lines if line.name in _RECURRENCE]
        if not original
        else [],
        "eventType": "outOfOffice" if is_away else "default",
        "hangoutLink": next((first[name].value for name in _LINKS if name in first and first[name].value), None),
        "created": _instant(first.get("CREATED"), calendar),
        # DTSTAMP is left out: exporters write the time of the export into it.
        "updated": _instant(first.get("LAST-MODIFIED"), calendar),
    }


def _time(line: Line, calendar: Calendar) -> date | datetime:
    value = line.value.strip()
    whole = _DATE.fullmatch(value)
    try:
        if whole is not None:
            return date(*(int(part) for part in whole.groups()))
        match = _MOMENT.fullmatch(value)
        if match is None:
            raise BadValueError(f"{line.name} is not an RFC 5545 time")
        year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
        local = datetime(year, month, day, hour, minute, min(int(match.group(6) or 0), 59), tzinfo=UTC)
        suffix = match.group(7)
        if suffix == "Z":
            return local
        if suffix:
            return datetime.fromisoformat(f"{local.replace(tzinfo=None).isoformat()}{suffix}").astimezone(UTC)
        zone, _ = calendar.zone(line.params.get("TZID"))
        moment = local.replace(tzinfo=zone)
        return (moment.replace(tzinfo=UTC) - (moment.utcoffset() or timedelta())).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadValueError(
            str(error) if isinstance(error, BadValueError) else f"{line.name} does not exist"
        ) from error


def _end_of(first: dict[str, Line], start: date | datetime, calendar: Calendar) -> date | datetime:
    try:
        return _end(first, start, calendar)
    except OverflowError as error:
        raise BadValueError("the event ends after the last year") from error


def _end(first: dict[str, Line], start: date | datetime, calendar: Calendar) -> date | datetime:
    is_whole = not isinstance(start, datetime)
    if "DTEND" in first:
        end = _time(first["DTEND"], calendar)
        if isinstance(end, datetime) == is_whole:
            raise BadValueError("DTSTART and DTEND are not of one kind: one is a day, the other a time")
        # Some exporters write an end before the start; the event then has no length.
        return max(end, start) if not is_whole else max(end, start + timedelta(days=1))
    if "DURATION" in first:
        match = _DURATION.fullmatch(first["DURATION"].value.strip())
        if match is None:
            raise BadValueError("DURATION is not an RFC 5545 duration")
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
        length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        return start + (timedelta(0) if match.group(1) == "-" else length)
    return start + timedelta(days=1) if is_whole else start


def _kept_zone(line: Line, calendar: Calendar) -> str | None:
    return "UTC" if line.value.strip().endswith("Z") else calendar.zone(line.params.get("TZID"))[1]


def _google_time(moment: date | datetime, zone: str | None) -> dict[str, str | None]:
    if isinstance(moment, datetime):
        return {"dateTime": moment.isoformat(), "timeZone": zone}
    return {"date": moment.isoformat()}


def _stamp(moment: date | datetime) -> str:
    """Return an exception's original start as Google writes it into its id."""
    return moment.strftime("%Y%m%dT%H%M%SZ") if isinstance(moment, datetime) else moment.strftime("%Y%m%d")


def _instant(line: Line | None, calendar: Calendar) -> str | None:
    if line is None:
        return None
    try:
        moment = _time(line, calendar)
    except BadValueError:
        return None
    return moment.isoformat() if isinstance(moment, datetime) else None


def _attendee(line: Line, organizer: str | None) -> dict[str, Any]:
    email = _mail(line.params.get("EMAIL") or line.value)
    return {
        "email": email,
        "displayName": line.params.get("CN") or None,
        "responseStatus": _ANSWERS.get(line.params.get("PARTSTAT", "NEEDS-ACTION").upper(), "needsAction"),
        "organizer": email is not None and email == organizer,
        "optional": line.params.get("ROLE", "").upper() in ("OPT-PARTICIPANT", "NON-PARTICIPANT"),
    }


def _mail(value: str) -> str | None:
    text = value.strip()
    text = text[7:] if text.lower().startswith("mailto:") else text
    return text.strip().lower() if "@" in text else None


def _recurrence(line: Line, calendar: Calendar) -> str:
    # Who expands the series knows the world's zones, not those of Windows.
    zones = {"TZID": calendar.zone(line.params["TZID"])[1]} if "TZID" in line.params else {}
    params = "".join(f";{name}={value}" for name, value in {**line.params, **zones}.items())
    return f"{line.name}{params}:{line.value}"


def _digest(lines: list[str]) -> str:
    # The stamp of the export is no part of the event.
    kept = "\n".join(text for text in lines if not text.upper().startswith("DTSTAMP"))
    return f"sha256:{hashlib.sha256(kept.encode('utf-8', 'replace')).hexdigest()}"
