"""Events and calendars out of `.ics` files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from ao_pipeline.adapters.files_source.folder import PEEK_BYTES, Found, Kind
from ao_pipeline.adapters.files_source.intake import FilesRequest, Intake, collect_changed
from ao_pipeline.adapters.files_source.reading import chunks, read_range
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.files.ical import EVENT, event_record, google_event
from ao_pipeline.collect.files.ical_lines import Calendar, read_events
from ao_pipeline.collect.parse.calendar import is_tombstone, parse_event
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_CALENDAR_CALENDARS, RAW_CALENDAR_EVENTS
from ao_pipeline.collect.values import BadValueError

KINDS: Final = (Kind.CALENDAR,)

_ADDRESS: Final = re.compile(r"[^@\s/]+@[^@\s/]+\.[^@\s/]+")
_CALENDAR: Final = RecordContract(
    name="files.calendar", key_field="calendar_id", properties={}, known_fields=frozenset({"summary", "zone", "about"})
)


def collect_events(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/calendar_events` from files. `STATUS:CANCELLED` on a whole event deletes its row."""
    reading = _Reading(request)
    intake = Intake(request, RAW_CALENDAR_EVENTS, EVENT, reading.parse)
    return collect_changed(request, units, intake, reading.read)


class _Reading:
    """The calendar that is being read: its zones are known only while its file is."""

    def __init__(self, request: FilesRequest) -> None:
        self._request = request
        self._calendar = _empty(request)
        self._sequences: dict[tuple[str, str], tuple[int, str]] = {}

    def parse(self, record: Record) -> Row:
        return parse_event(google_event(record, self._calendar))

    def read(self, unit: Found, begin: int, intake: Intake) -> Iterator[int]:
        self._calendar = _empty(self._request)
        owner = calendar_id(unit, self._request)
        number = -1
        try:
            for number, lines in enumerate(read_events(chunks(unit.path), self._calendar)):
                if number < begin:
                    # Taken in before: only its version is needed, for another one may follow.
                    self._learn(lines, owner)
                    continue
                self._take(event_record(lines), lines, owner, intake)
                yield number + 1
        except BadValueError as error:
            # The rest of the file cannot be read; what came before has been.
            intake.refuse(unit, number + 1, str(error))
        for name, count in self._calendar.ignored.items():
            for _ in range(count):
                intake.count(f"ics_ignored:{name[:30]}")

    def _learn(self, lines: list[str], owner: str) -> None:
        try:
            event = google_event(event_record(lines), self._calendar)
        except BadValueError:
            return
        key, version = (owner, event["id"]), _version(lines, event)
        self._sequences[key] = max(version, self._sequences.get(key, version))

    def _take(self, record: Record, lines: list[str], owner: str, intake: Intake) -> None:
        size = sum(map(len, lines))
        try:
            event: dict[str, Any] = google_event(record, self._calendar)
        except BadValueError:
            intake.add(record, size=size, scope={"calendar_id": owner})
            return
        version = _version(lines, event)
        known = self._sequences.get((owner, event["id"]))
        if known is not None and version < known:
            # Merged files hold an event in several versions; the newest one counts.
            intake.count("older_version")
            return
        self._sequences[owner, event["id"]] = version
        if is_tombstone(event):
            intake.delete((owner, event["id"]))
            return
        if known is not None:
            intake.count("newer_version")
        intake.add(record, size=size, scope={"calendar_id": owner})


def _version(lines: list[str], event: dict[str, Any]) -> tuple[int, str]:
    text = next((line.partition(":")[2].strip() for line in lines if line[:8].upper() == "SEQUENCE"), "0")
    return int(text) if text.isdecimal() and len(text) < 10 else 0, str(event["updated"] or "")


def _empty(request: FilesRequest) -> Calendar:
    return Calendar(default_zone=request.zone, default_name=str(request.zone))


def calendar_id(unit: Found, request: FilesRequest) -> str:
    """Return a calendar's id: an address in its path, else its own name when it is an address, else `file:` and the name."""
    if not unit.owner.startswith("file:"):
        return unit.owner
    name = _described(unit, request).name.strip().lower()
    return name if _ADDRESS.fullmatch(name) else unit.owner


def _described(unit: Found, request: FilesRequest) -> Calendar:
    """Return what the head of a file says of its calendar."""
    calendar = _empty(request)
    with suppress(BadValueError):
        for _ in read_events([read_range(unit.path, 0, 16 * PEEK_BYTES)], calendar):
            pass
    return calendar


def collect_calendars(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/calendar_calendars` from files."""
    intake = Intake(request, RAW_CALENDAR_CALENDARS, _CALENDAR, _calendar_row)

    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        calendar = _described(unit, request)
        target.add(
            {
                "calendar_id": calendar_id(unit, request),
                "summary": calendar.name or unit.path.stem,
                "zone": calendar.default_name,
                "about": calendar.description or None,
            },
            size=200,
        )
        yield begin + 1

    return collect_changed(request, units, intake, read)


def _calendar_row(record: Record) -> Row:
    return {
        "calendar_id": record["calendar_id"],
        "summary": record["summary"],
        "description": record["about"],
        "time_zone": record["zone"],
        "access_role": None,
        "is_primary": None,
        "is_selected": None,
        "is_hidden": None,
    }
