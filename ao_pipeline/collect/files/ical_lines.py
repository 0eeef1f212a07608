"""Calendar files (RFC 5545) line by line: folding, components, and what a file says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from ao_pipeline.collect.files.charsets import decode
from ao_pipeline.collect.files.ical_zones import named_zone, read_zone, zone_name
from ao_pipeline.collect.files.lines import byte_lines

MAX_LINES: Final = 20_000
"""Lines kept of one component; beyond it an `END` is missing."""

MAX_LINE_CHARS: Final = 200_000
"""Bytes kept of one unfolded line."""

_TOP_KINDS: Final = frozenset({"VCALENDAR", "VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE"})
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """One content line: upper-case name, parameters by upper-case name, raw value."""

    name: str
    params: dict[str, str]
    value: str

    @property
    def text(self) -> str:
        """The value with its escapes read."""
        return _ESCAPE.sub(lambda match: "\n" if match.group(1) in "nN" else match.group(1), self.value)


@dataclass
class Calendar:
    """What a calendar file says of itself; filled while it is read, zones stand before events.

    Attributes:
        default_zone: Zone of times that name none.
        default_name: Its name.
        name: `X-WR-CALNAME`.
        is_cancelling: Whether the file withdraws all its events (`METHOD:CANCEL`).
        zones: Zones by TZID.
    """

    default_zone: tzinfo
    default_name: str
    name: str = ""
    description: str = ""
    is_cancelling: bool = False
    zones: dict[str, tuple[tzinfo, str]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    def zone(self, tzid: str | None) -> tuple[tzinfo, str]:
        """Return the zone of a TZID and the name to keep; unknown ones are the calendar's own."""
        if not tzid:
            return self.default_zone, self.default_name
        found = self.zones.get(tzid)
        if found is not None:
            return found
        name = zone_name(tzid)
        return (named_zone(name), name) if name else (self.default_zone, tzid)


def content_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield unfolded lines: a line that starts with white space continues the one before, even inside a character."""
    current = b""
    for piece in byte_lines(chunks):
        if piece[:1] in (b" ", b"\t") and current:
            current = (current + piece[1:])[:MAX_LINE_CHARS]
        elif piece:
            if current:
                yield decode(current)
            current = piece
    if current:
        yield decode(current)


def read_events(chunks: Iterable[bytes], calendar: Calendar) -> Iterator[list[str]]:
    """Yield the lines of each VEVENT; zones and names of the file are put into `calendar` on the way."""
    reader = _Components(calendar)
    for text in content_lines(chunks):
        name, _, value = text.partition(":")
        event = reader.take(name.strip().upper(), value, text)
        if event is not None:
            yield event
    if reader.is_open:
        # The file ends inside an event: what is there says whether it can be read.
        yield reader.event


class _Components:
    """Where in the file a line stands."""

    def __init__(self, calendar: Calendar) -> None:
        self.event: list[str] = []
        self._calendar = calendar
        self._stack: list[str] = []
        self._zone: dict[str, str] = {}
        self._blocks: list[dict[str, str]] = []

    def take(self, name: str, value: str, text: str) -> list[str] | None:
        """Take one line in; return the event that it ends."""
        if name == "BEGIN":
            return self._begin(value.strip().upper())
        if name == "END":
            return self._end(value.strip().upper())
        if self._stack and self._stack[-1] == "VEVENT":
            if len(self.event) < MAX_LINES:
                self.event.append(text)
        elif "VTIMEZONE" in self._stack:
            part = self._zone if self._stack[-1] == "VTIMEZONE" or not self._blocks else self._blocks[-1]
            part.setdefault(name.partition(";")[0], value)
        elif len(self._stack) == 1:
            _learn(self._calendar, name, value.strip())
        return None

    @property
    def is_open(self) -> bool:
        """Whether an event has begun and not ended."""
        return "VEVENT" in self._stack

    def _begin(self, kind: str) -> list[str] | None:
        unended = None
        if self.is_open and kind in _TOP_KINDS:
            # The end of the event before is missing: events hold no events.
            unended = self._end("VEVENT")
        self._stack.append(kind)
        if kind == "VEVENT":
            self.event = []
        elif kind == "VTIMEZONE":
            self._zone, self._blocks = {}, []
        elif kind in ("STANDARD", "DAYLIGHT"):
            self._blocks.append({})
        elif len(self._stack) == 2:
            self._calendar.ignored[kind] = self._calendar.ignored.get(kind, 0) + 1
        return unended

    def _end(self, kind: str) -> list[str] | None:
        was_open = self.is_open
        while self._stack and self._stack.pop() != kind:
            pass
        if kind == "VTIMEZONE":
            _learn_zone(self._calendar, self._zone, self._blocks)
        if not was_open or self.is_open:
            return None
        event, self.event = self.event, []
        return event


def _learn(calendar: Calendar, name: str, value: str) -> None:
    if name == "X-WR-TIMEZONE" and (known := zone_name(value)) is not None:
        calendar.default_zone, calendar.default_name = named_zone(known), known
    elif name == "X-WR-CALNAME":
        calendar.name = Line(name, {}, value).text
    elif name == "X-WR-CALDESC":
        calendar.description = Line(name, {}, value).text
    elif name == "METHOD":
        calendar.is_cancelling = value.upper() == "CANCEL"


def _learn_zone(calendar: Calendar, zone: dict[str, str], blocks: list[dict[str, str]]) -> None:
    tzid = zone.get("TZID", "").strip()
    known = zone_name(tzid) or zone_name(zone.get("X-LIC-LOCATION", "")) if tzid else None
    own = None if known is not None or not tzid else read_zone(tzid, blocks)
    if known is not None:
        calendar.zones[tzid] = named_zone(known), known
    elif own is not None:
        calendar.zones[tzid] = own, tzid


def split_line(text: str) -> Line:
    """Return a content line's parts; quotes protect colons and semicolons."""
    pieces: list[str] = []
    start, is_quoted = 0, False
    for place, character in enumerate(text):
        if character == '"':
            is_quoted = not is_quoted
        elif character in ";:" and not is_quoted:
            pieces.append(text[start:place])
            start = place + 1
            if character == ":":
                break
    else:
        return Line(text.strip().upper(), {}, "")
    params = {}
    for piece in pieces[1:]:
        key, _, value = piece.partition("=")
        params[key.strip().upper()] = value.strip().strip('"')
    return Line(pieces[0].strip().upper(), params, text[start:].strip())
