"""Xero's doors: client authentication, refresh-token rotation, rate headers."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from ao_pipeline.clock import monotonic_seconds

if TYPE_CHECKING:
    from ao_pipeline.sandbox.site import Site

MINUTE_LIMIT: Final = 60
DAY_LIMIT: Final = 5000
_OLD_TOKEN_SECONDS: Final = 1800.0
"""A refresh token that was used already works this much longer, for a caller that lost the answer."""


class RefreshChain:
    """The one valid refresh token by number, and the one before it for a while."""

    def __init__(self) -> None:
        self._current: int | None = None
        self._replaced_at = 0.0

    def use(self, number: int) -> bool:
        """Return whether this token may be used; the next one replaces it."""
        if self._current is None or number == self._current:
            self._current, self._replaced_at = number + 1, monotonic_seconds()
            return True
        return number == self._current - 1 and monotonic_seconds() - self._replaced_at < _OLD_TOKEN_SECONDS


class RateWindow:
    """Requests of the last minute and of this process's life, for the headers only: nothing is refused."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._total = 0

    def count(self) -> tuple[int, int]:
        """Count a request; return what is left of the minute and of the day."""
        now = monotonic_seconds()
        self._recent.append(now)
        self._total += 1
        while self._recent[0] < now - 60:
            self._recent.popleft()
        return max(0, MINUTE_LIMIT - len(self._recent)), max(0, DAY_LIMIT - self._total)


def rate_headers(site: Site) -> dict[str, str]:
    """Return Xero's three rate headers."""
    minute, day = site.xero_rate.count()
    return {"X-MinLimit-Remaining": str(minute), "X-DayLimit-Remaining": str(day), "X-AppMinLimit-Remaining": "9999"}


def check_basic(site: Site, request: Request, form: dict[str, str]) -> bool:
    """Return whether the client's id and secret are right, in the header or in the form."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    wanted = (site.options.xero_client_id, site.options.xero_client_secret)
    if scheme.lower() == "basic":
        try:
            identity, _, secret = base64.b64decode(value).decode().partition(":")
        except (ValueError, binascii.Error):
            return False
        return (identity, secret) == wanted
    return (form.get("client_id"), form.get("client_secret")) == wanted
