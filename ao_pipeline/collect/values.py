"""From one vendor value to one typed value, or a `BadValueError` that quarantines its record. Total over any JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

from ao_pipeline.clock import EPOCH

MAX_DEPTH: Final = 96
"""Deepest nesting of a record. Deeper ones are an attack or a fault, and would end in a recursion error."""

MAX_TEXT_CHARS: Final = 1_000_000
"""Longest kept text field; longer ones are cut. Vendors cap notes and descriptions far below."""

_INT64_MAX: Final = 2**63 - 1
_NOT_STORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_XERO_DATE: Final = re.compile(r"/Date\((-?\d{1,17})(?:[+-]\d{4})?\)/")
_SMALLEST_PART: Final = Decimal("1e-12")
_WIDE: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)
_DIGITS: Final = re.compile(r"-?\d{1,19}")
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|z|[+-]\d\d:?\d\d)?")

CURRENCY_EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Digits after the point where they are not two. Source: ISO 4217:2015, list one."""


class BadValueError(ValueError):
    """One value cannot become what its column holds. The record is quarantined, the batch goes on."""


def clean_text(text: str) -> str:
    """Return `text` with NUL and lone surrogates replaced by U+FFFD; the rest, Arabic and emoji too, as it was."""
    return _NOT_STORABLE.sub("\ufffd", text)


def clean_json(value: Any, *, depth: int = 0) -> Any:
    """Return a JSON value whose every text, keys included, can be stored.

    Raises:
        BadValueError: Nested deeper than `MAX_DEPTH`.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        if depth >= MAX_DEPTH:
            raise BadValueError(f"nested deeper than {MAX_DEPTH} levels")
        return {clean_text(str(key)): clean_json(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        if depth >= MAX_DEPTH:
            raise BadValueError(f"nested deeper than {MAX_DEPTH} levels")
        return [clean_json(item, depth=depth + 1) for item in value]
    return value


def as_text(value: Any, field: str) -> str | None:
    """Return a text or None; a number becomes its digits, because vendors disagree on ids."""
    if value is None:
        return None
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**64:
        return str(value)
    raise BadValueError(f"{field} is {type(value).__name__}, not text")


def as_key(value: Any, field: str) -> str:
    """Return a non-empty text."""
    text = as_text(value, field)
    if not text:
        raise BadValueError(f"{field} is missing or empty")
    return text


def as_bool(value: Any, field: str) -> bool | None:
    """Return a boolean or None."""
    if value is None or isinstance(value, bool):
        return value
    raise BadValueError(f"{field} is {type(value).__name__}, not a boolean")


def as_int(value: Any, field: str) -> int | None:
    """Return a 64-bit integer or None; text of digits counts, because Google sends int64 as text."""
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -_INT64_MAX <= value <= _INT64_MAX:
        return value
    raise BadValueError(f"{field} is not a 64-bit integer")


def as_object(value: Any, field: str) -> dict[str, Any]:
    """Return an object; None is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise BadValueError(f"{field} is {type(value).__name__}, not an object")


def as_objects(value: Any, field: str) -> list[dict[str, Any]]:
    """Return a list of objects; None is an empty one."""
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise BadValueError(f"{field} is not a list of objects")


def as_texts(value: Any, field: str) -> list[str]:
    """Return a list of texts; None is an empty one."""
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise BadValueError(f"{field} is not a list of texts")


def as_instant(value: Any, field: str) -> datetime | None:
    """Return a UTC instant from RFC 3339 text; without a zone it is UTC, digits beyond microseconds are cut."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise BadValueError(f"{field} is not an RFC 3339 time")
    try:
        moment = datetime.fromisoformat(value.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadValueError(f"{field} is not a time that exists") from error


def as_day(value: Any, field: str) -> date | None:
    """Return a calendar day from `YYYY-MM-DD`, also when a time follows."""
    if value is None or value == "":
        return None
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else _refuse_day(field)
    except ValueError as error:
        raise BadValueError(f"{field} is not a calendar day") from error


def _refuse_day(field: str) -> date:
    raise BadValueError(f"{field} is not a calendar day")


def from_millis(value: Any, field: str) -> datetime | None:
    """Return the instant of milliseconds since 1970, given as a number or as text of digits."""
    millis = as_int(value, field)
    if millis is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=millis)
    except OverflowError as error:
        raise BadValueError(f"{field} is not a time that exists") from error


def xero_instant(value: Any, field: str) -> datetime | None:
    """Return the instant of Xero's `/Date(ms+0000)/`, or of ISO text.

    The zone suffix only says how Xero would print the milliseconds, which are UTC already.
    """
    if isinstance(value, str) and (match := _XERO_DATE.fullmatch(value)):
        return from_millis(match.group(1), field)
    return as_instant(value, field)


def xero_day(value: Any, field: str) -> date | None:
    """Return the calendar day of Xero's `/Date(ms+0000)/` (midnight UTC of that day), or of ISO text."""
    if isinstance(value, str) and _XERO_DATE.fullmatch(value):
        moment = xero_instant(value, field)
        return moment.date() if moment else None
    return as_day(value, field)


def as_decimal(value: Any, field: str) -> Decimal | None:
    """Return a decimal of at most 18 digits before the point; digits beyond the twelfth after it are rounded off.

    Vendors send two to ten of them; more are the trace of a binary float, as in 0.30000000000000004.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise BadValueError(f"{field} is {type(value).__name__}, not a number")
    try:
        # A float goes through its shortest text: 0.1 is 0.1, not its binary neighbour.
        number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation as error:
        raise BadValueError(f"{field} is not a number") from error
    if not number.is_finite():
        raise BadValueError(f"{field} is not a finite number")
    exponent = number.as_tuple().exponent
    if number and number.adjusted() >= 18:
        raise BadValueError(f"{field} is out of range for an amount")
    if isinstance(exponent, int) and exponent < -12:
        number = number.quantize(_SMALLEST_PART, context=_WIDE)
    return number if number else Decimal(0)


def to_minor(amount: Decimal | None, currency: str | None, field: str) -> int | None:
    """Return an amount in minor units of its currency, half to even when the vendor sends more digits.

    Raises:
        BadValueError: The currency is unknown, so the unit is; or the result exceeds 64 bits.
    """
    if amount is None:
        return None
    if not currency or not re.fullmatch("[A-Z]{3}", currency):
        raise BadValueError(f"{field} has no ISO 4217 currency")
    minor = int(amount.scaleb(CURRENCY_EXPONENTS.get(currency, 2)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    if abs(minor) > _INT64_MAX:
        raise BadValueError(f"{field} is out of range for an amount")
    return minor
