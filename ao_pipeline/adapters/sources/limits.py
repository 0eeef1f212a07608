"""What one collection may spend: total time, and requests per minute of one credential."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ao_pipeline import clock
from ao_pipeline.errors import BudgetExhaustedError


@dataclass(frozen=True)
class RateLimit:
    """A vendor's limit: units per minute and per credential. A full minute may be spent at once."""

    units_per_minute: int


RATE_LIMITS: Final[Mapping[str, RateLimit]] = {
    "asana": RateLimit(1_500),
    "gmail": RateLimit(6_000),
    "calendar": RateLimit(600),
    "chat": RateLimit(3_000),
    "gtasks": RateLimit(600),
    "people": RateLimit(90),
    "drive": RateLimit(12_000),
    "xero": RateLimit(60),
}
"""Source: vendors' quota pages, 2026. Asana: paid plans, per token. Gmail: units per user, projects since May 2026.
Calendar, Tasks, People, Drive: per user. Chat: per project. Xero: per organisation."""

GMAIL_UNITS: Final[Mapping[str, int]] = {"gmail.messages.get": 20, "gmail.messages.list": 5, "gmail.history.list": 2}
"""Units of one call; others cost one."""


class Budget:
    """Total time of one collection, waits included."""

    def __init__(
        self,
        seconds: float,
        *,
        source: str,
        sleep: Callable[[float], None] = clock.sleep,
        monotonic: Callable[[], float] = clock.monotonic_seconds,
    ) -> None:
        self.seconds = seconds
        self._source = source
        self._sleep = sleep
        self._monotonic = monotonic
        self._deadline = monotonic() + seconds

    def remaining_seconds(self) -> float:
        """Return what is left; negative when overdrawn."""
        return self._deadline - self._monotonic()

    def require(self, operation: str) -> None:
        """Go on, or stop because the time is used up.

        Raises:
            BudgetExhaustedError: No time is left.
        """
        if self.remaining_seconds() <= 0:
            raise BudgetExhaustedError(
                f"{operation}: the {self.seconds:g} s budget of {self._source} is used up;"
                " raise AO_SOURCE_BUDGET_SECONDS if this repeats",
                operation=operation,
            )

    def wait(self, seconds: float, operation: str) -> None:
        """Sleep, unless the wait does not fit into what is left.

        Raises:
            BudgetExhaustedError: The wait is longer than the rest of the budget; nothing was waited.
        """
        if seconds > self.remaining_seconds():
            raise BudgetExhaustedError(
                f"{operation}: asked to wait {seconds:.0f} s, more than the {max(0.0, self.remaining_seconds()):.0f} s"
                f" left of the budget of {self._source}; the next cycle tries again",
                operation=operation,
                wait_seconds=seconds,
            )
        self._sleep(seconds)


class TokenBucket:
    """One credential's allowance, shared by the threads of one collection."""

    def __init__(self, limit: RateLimit, *, monotonic: Callable[[], float] = clock.monotonic_seconds) -> None:
        self._capacity = float(limit.units_per_minute)
        self._per_second = limit.units_per_minute / 60
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._units = self._capacity
        self._at = monotonic()

    def reserve(self, units: int) -> float:
        """Take `units`, into debt if need be, and return the seconds to wait before they may be spent."""
        with self._lock:
            now = self._monotonic()
            self._units = min(self._capacity, self._units + (now - self._at) * self._per_second)
            self._at = now
            self._units -= units
            return max(0.0, -self._units / self._per_second)


class RateLimiter:
    """One bucket per credential of one source. Without a limit nothing waits."""

    def __init__(self, limit: RateLimit | None, *, monotonic: Callable[[], float] = clock.monotonic_seconds) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: dict[str, TokenBucket] = {}

    def acquire(self, subject: str, operation: str, budget: Budget) -> None:
        """Wait until one call of `operation` on behalf of `subject` is within the vendor's limit.

        Raises:
            BudgetExhaustedError: The wait does not fit into the budget.
        """
        if self._limit is None:
            return
        with self._lock:
            bucket = self._buckets.get(subject)
            if bucket is None:
                bucket = self._buckets[subject] = TokenBucket(self._limit, monotonic=self._monotonic)
        wait_seconds = bucket.reserve(GMAIL_UNITS.get(operation, 1))
        if wait_seconds > 0:
            budget.wait(wait_seconds, operation)
