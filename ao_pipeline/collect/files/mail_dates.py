"""Dates of mails, in the forms that mailers of four decades write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_ISO_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d))?")
_ZONE: Final = re.compile(r"(?<=\d)\s+\"?(?:(?:GMT|UTC|UT)?([+-])(\d\d):?(\d\d)|([A-Z]{3,5}))\"?(?=\s|$)")
_LEAP_SECOND: Final = re.compile(r"(:[0-5]\d):60\b")
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2200

_ZONES: Final[Mapping[str, str]] = {
    "WET": "+0000",
    "WEST": "+0100",
    "BST": "+0100",
    "CET": "+0100",
    "MEZ": "+0100",
    "CEST": "+0200",
    "MESZ": "+0200",
    "EET": "+0200",
    "SAST": "+0200",
    "EEST": "+0300",
    "MSK": "+0300",
    "PKT": "+0500",
    "WIB": "+0700",
    "HKT": "+0800",
    "SGT": "+0800",
    "AWST": "+0800",
    "JST": "+0900",
    "KST": "+0900",
    "AEST": "+1000",
    "AEDT": "+1100",
    "NZST": "+1200",
    "NZDT": "+1300",
}
"""Names of zones that one offset only goes by, beside the American ones that Python knows; without them they mean UTC."""


def read_date(text: str) -> datetime | None:
    """Return the instant of a mail date in any form that occurs, or None. Without a zone it is UTC."""
    text = _in_numbers(text.strip()[:200])
    moment: datetime | None = None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        match = _ISO_DATE.search(text)
        if match is not None:
            try:
                moment = datetime.fromisoformat(text[match.start() :].split(" (")[0].strip())
            except ValueError:
                year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
                try:
                    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
                except ValueError:
                    return None
    try:
        moment = moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
        moment = moment.astimezone(UTC) if moment else None
    except (ValueError, OverflowError):
        return None
    # A clock that was never set says 1904 or 2036; years beyond are typing errors.
    return moment if moment and _FIRST_YEAR <= moment.year < _LAST_YEAR else None


def _in_numbers(text: str) -> str:
    """Return a date with the zone as digits; a second 60 is the one before."""
    text = _LEAP_SECOND.sub(r"\1:59", text)
    match = _ZONE.search(text)
    if match is None:
        return text
    sign, hours, minutes, name = match.groups()
    offset = _ZONES.get(name) if name else f"{sign}{hours}{minutes}"
    return f"{text[: match.start()]} {offset}{text[match.end() :]}" if offset else text
