"""The only place that reads the machine's clock or sleeps.

Everything else gets time as a value, so that the same cycle computed twice gives the same rows.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def utc_now() -> datetime:
    """Return the wall clock as an aware UTC instant."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return a clock that never goes back, for durations only."""
    return time.monotonic()


def cpu_seconds() -> float:
    """Return the computing time that this process has used, all threads together."""
    return time.process_time()


def sleep(seconds: float) -> None:
    """Block for `seconds`; negative values return at once."""
    if seconds > 0:
        time.sleep(seconds)


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC of an aware instant.

    Raises:
        ValueError: `instant` has no zone, so which instant it means is unknown.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no zone; pass an aware datetime")
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant `micros` microseconds after 1970-01-01."""
    return EPOCH + timedelta(microseconds=micros)


def to_iso(instant: datetime) -> str:
    """Return the 24-character UTC form `YYYY-MM-DDTHH:MM:SS.mmmZ`, the only text form of an instant in output."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"
