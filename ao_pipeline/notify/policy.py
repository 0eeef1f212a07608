"""How much, how often and when people are told: limits that keep an alert worth reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

PRIORITIES: Final = ("critical", "high", "normal", "low")


def _daily_caps() -> Mapping[str, int]:
    return MappingProxyType({"critical": 3, "high": 5, "normal": 10, "low": 10})


@dataclass(frozen=True)
class NotifyPolicy:
    """Limits of the notifications.

    Attributes:
        quiet_from_hour: Local hour from which only critical messages are sent.
        quiet_until_hour: Local hour at which the others may go again.
        brief_from_hour: Local hour of the morning brief.
        daily_caps: Messages planned a day by priority; what is beyond becomes one overflow message.
        max_degraded: Messages a day that data is stale or contradicts itself, beside the caps: a day full of alerts must not
            hide that they can no longer be believed. Further ones go into the overflow message.
        repeat_after_days: A condition that lasts is told again only after so many days.
        max_sends: Messages sent in one cycle. A backlog drains over cycles, not in a burst.
        max_attempts: Sends tried before a message is dead.
        first_retry: Wait after the first failure; doubles with each further one.
        longest_retry: Longest wait between two tries.
        expire_after_days: A pending message older than this is dead: yesterday's alert would mislead.
        max_title: Characters of a title.
        max_body: Characters of a body.
        max_lines: Lines of a digest.
    """

    quiet_from_hour: int = 23
    quiet_until_hour: int = 8
    brief_from_hour: int = 8
    daily_caps: Mapping[str, int] = field(default_factory=_daily_caps)
    max_degraded: int = 4
    repeat_after_days: int = 7
    max_sends: int = 25
    max_attempts: int = 8
    first_retry: timedelta = timedelta(minutes=5)
    longest_retry: timedelta = timedelta(hours=4)
    expire_after_days: int = 2
    max_title: int = 120
    max_body: int = 1500
    max_lines: int = 8

    def is_quiet(self, hour: int) -> bool:
        """Return whether a local hour is quiet; the quiet time may span midnight."""
        if self.quiet_from_hour <= self.quiet_until_hour:
            return self.quiet_from_hour <= hour < self.quiet_until_hour
        return hour >= self.quiet_from_hour or hour < self.quiet_until_hour

    def retry_wait(self, attempts: int) -> timedelta:
        """Return how long to wait after so many failed tries."""
        doublings = min(max(attempts - 1, 0), 20)
        return min(self.first_retry * (1 << doublings), self.longest_retry)


DEFAULT_NOTIFY_POLICY: Final = NotifyPolicy()
