"""What one collection may spend: total time, and requests per minute of one credential."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ao_pipeline import clock
from ao_pipeline.adapters.sources.buckets import Bucket, RateLimit, bucket_path
from ao_pipeline.errors import BudgetExhaustedError
from ao_pipeline.resilience.progress import beat
from ao_pipeline.settings import Settings

RATE_LIMITS: Final[Mapping[str, RateLimit]] = {
    "asana": RateLimit(1_500),
    "gmail": RateLimit(6_000),
    "calendar": RateLimit(600),
    "chat": RateLimit(3_000),
    "gtasks": RateLimit(600, units_per_day=50_000),
    "people": RateLimit(90),
    "drive": RateLimit(12_000),
    "xero": RateLimit(60),
}
"""Source: vendors' quota pages, 2026. Asana: paid plans, per token. Gmail: units per user, projects since May 2026.
Calendar: per user. Chat: per project. Tasks: per day and account. Xero: per organisation; the calls of a day depend on its
plan (`rate_limit`). Google states the minutes of Tasks, People and Drive in each project's console only; these are cautious."""


def rate_limit(source: str, settings: Settings) -> RateLimit:
    """Return the limit of one credential of a source.

    Xero's smallest plan allows 1,000 calls a day, of which an hourly collection of four listings takes about 200.
    """
    limit = RATE_LIMITS[source]
    return replace(limit, units_per_day=settings.xero_daily_calls) if source == "xero" else limit


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
        beat(wait_seconds=seconds)
        self._sleep(seconds)


class RateLimiter:
    """One bucket per credential of one source. Without a limit nothing waits."""

    def __init__(
        self,
        limit: RateLimit | None,
        *,
        source: str = "",
        folder: Path | None = None,
        monotonic: Callable[[], float] = clock.monotonic_seconds,
    ) -> None:
        """Make no bucket yet.

        Args:
            limit: The vendor's limit.
            source: Names the buckets' files.
            folder: Where all processes share the buckets; None keeps them in this process.
            monotonic: Measures durations; a test passes its own.
        """
        self._limit = limit
        self._source = source
        self._folder = folder
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}

    def acquire(self, subject: str, operation: str, budget: Budget) -> None:
        """Wait until one call of `operation` on behalf of `subject` is within the vendor's limit.

        Raises:
            BudgetExhaustedError: The wait does not fit into the budget; nothing was taken from the bucket.
        """
        if self._limit is None:
            return
        with self._lock:
            bucket = self._buckets.get(subject)
            if bucket is None:
                path = None if self._folder is None else bucket_path(self._folder, self._source, subject)
                bucket = self._buckets[subject] = Bucket(self._limit, path=path, monotonic=self._monotonic)
        wait_seconds = bucket.reserve(
            GMAIL_UNITS.get(operation, 1), longest_wait_seconds=max(0.0, budget.remaining_seconds())
        )
        if wait_seconds > 0:
            budget.wait(wait_seconds, operation)
