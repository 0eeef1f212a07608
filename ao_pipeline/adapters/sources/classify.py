"""One place that decides what a failed request means: try again, renew the cursor, or call a human.

Messages name the source, the operation and the vendor's reason; never the address, the query, a token or a body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ao_pipeline.errors import AoError, AuthError, CursorExpiredError, PermanentError, TransientError

CURSOR_STATUSES: Final = frozenset({404, 410, 412})
"""What vendors answer to a cursor they forgot: Gmail 404, Calendar 410, Asana 412."""

CURSOR_REASONS: Final = frozenset({"EXPIRED_SYNC_TOKEN"})
"""What Google's People API says instead; the status that comes with it is not documented."""

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})

GOOGLE_RATE_REASONS: Final = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded", "RATE_LIMIT_EXCEEDED"}
)
"""Reasons of a Google 403 that is a limit; every other 403 is a permission. Source: Calendar and Gmail error guides."""

_MAX_REASON_CHARS: Final = 60


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, operation: str, is_cursor_call: bool, now: datetime
) -> AoError:
    """Return the error that an answer other than 2xx stands for.

    Args:
        status: HTTP status.
        headers: Answer headers, case-insensitive.
        body: Answer body, read for the vendor's reason only.
        operation: Name in the message, such as `gmail.history.list`.
        is_cursor_call: Whether the request carried a stored cursor.
        now: To turn a `Retry-After` date into seconds when the answer has no `Date`.
    """
    reasons = _reasons(body)
    details: dict[str, Any] = {"status": status, "operation": operation, "reason": reasons[0] if reasons else ""}
    what = f"{operation} answered {status}" + (f" ({reasons[0]})" if reasons else "")
    if is_cursor_call and (status in CURSOR_STATUSES or not CURSOR_REASONS.isdisjoint(reasons)):
        return CursorExpiredError(f"{what}: the stored cursor has expired; a full listing follows", **details)
    is_limit = status == 403 and not GOOGLE_RATE_REASONS.isdisjoint(reasons)
    if status >= 500 or status in RETRYABLE_STATUSES or is_limit:
        details["retry_after_seconds"] = retry_after_seconds(headers, now=now)
        return TransientError(f"{what}; the same request may work later", **details)
    if status == 401:
        return AuthError(f"{what}: a fresh token was refused too; renew the credentials", **details)
    if status == 403:
        return AuthError(f"{what}: the credentials lack access; grant the scope or the membership", **details)
    return PermanentError(f"{what}; the request or the upstream's address is wrong", **details)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the wait that `Retry-After` asks for, given as seconds or as a date; None without a usable one."""
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.replace(".", "", 1).isdigit() and value.isascii():
        return float(value)
    moment = http_date(value)
    if moment is None:
        return None
    # Against the server's own clock where it is given: the machine's may be wrong by minutes.
    return max(0.0, (moment - (http_date(headers.get("Date")) or now)).total_seconds())


def http_date(value: str | None) -> datetime | None:
    """Return the instant of an HTTP date, None when there is none or it cannot be read."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _reasons(body: bytes) -> list[str]:
    """Return the vendor's machine-readable reasons, cut; free text is left out because it may quote the request."""
    try:
        document = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return []
    error = document.get("error") if isinstance(document, dict) else None
    found: list[Any] = []
    if isinstance(error, dict):
        entries = (*_list(error.get("errors")), *_list(error.get("details")))
        found.extend(entry.get("reason") for entry in entries if isinstance(entry, dict))
        found.append(error.get("status"))
    elif isinstance(error, str):
        found.append(error)  # OAuth: a code such as invalid_client.
    if isinstance(document, dict):
        found.append(document.get("Type"))  # Xero: a class name such as ValidationException.
    words = [item for item in found if isinstance(item, str)]
    return [word[:_MAX_REASON_CHARS] for word in words if word.replace("_", "").isalnum() and word.isascii()]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
