"""What circuit breakers are made of: the rules' numbers, what can happen, and where one stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ao_pipeline.cycle import CYCLE_MINUTES

_CYCLE_SECONDS: Final = CYCLE_MINUTES * 60


class Phase(StrEnum):
    """Closed lets everything pass, open nothing, half-open one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class EventKind(StrEnum):
    """What can happen to a breaker. The first three are the outcomes of a cycle or probe."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    PROBE_TAKEN = "probe_taken"
    PROBE_AWAITED = "probe_awaited"
    CLOCK_WENT_BACK = "clock_went_back"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    RESET = "reset"


OUTCOMES: Final = frozenset({EventKind.SUCCEEDED, EventKind.FAILED, EventKind.INCONCLUSIVE})


@dataclass(frozen=True)
class BreakerPolicy:
    """When breakers open, probe and close.

    Attributes:
        failures_to_open: Failed cycles in a row; 1 would open on a single bad minute upstream.
        slow_after_seconds: A call that takes this long is slow: half of a source's budget in one cycle.
        slow_window: Calls that the slow rule looks at; calls before the first one count as fast.
        slow_share: Share of slow calls at which it opens, above 0 up to 1.
        first_spacing_seconds: Wait before the first probe, and between good ones: the cadence.
        spacing_factor: What a failed probe multiplies the wait by.
        max_spacing_seconds: Longest wait; how late a recovery may be noticed.
        jitter_ratio: Largest share of a wait that is taken off, so that breakers that opened together do not probe together.
        good_to_close: Good probes until it closes.
        probe_seconds: How long a probe may be away before its token counts as lost; a run may take ten minutes.
        late_seconds: How late an outcome may arrive after a newer event. An older one means that the clock went back.
    """

    failures_to_open: int = 3
    slow_after_seconds: float = 60.0
    slow_window: int = 10
    slow_share: float = 0.5
    first_spacing_seconds: int = _CYCLE_SECONDS
    spacing_factor: int = 2
    max_spacing_seconds: int = 4 * 3600
    jitter_ratio: float = 0.25
    good_to_close: int = 5
    probe_seconds: int = 2 * _CYCLE_SECONDS
    late_seconds: int = 3600

    @property
    def slow_to_open(self) -> int:
        """Slow calls within the window at which it opens."""
        return max(1, -int(-self.slow_window * self.slow_share // 1))


POLICY: Final = BreakerPolicy()
"""In force for every job and source."""


@dataclass(frozen=True)
class BreakerEvent:
    """One thing that happened. `at_us` is the end of the cycle that it belongs to; `until_us` ends a forced state, None never."""

    kind: EventKind
    at_us: int
    cycle: str = ""
    holder: str = ""
    is_slow: bool = False
    until_us: int | None = None
    reason: str = ""
    actor: str = "engine"


@dataclass(frozen=True)
class BreakerState:
    """Where a breaker stands after `seq` events.

    Attributes:
        at_us: Time of the newest event.
        outcome_at_us: Newest cycle whose outcome counted while closed.
        failures: Failed cycles in a row.
        slow_calls: The last calls as bits, the newest lowest; 1 is slow.
        good_probes: Good probes since it half-opened.
        spacing_seconds: Present wait between probes.
        opened_at_us: Since when it is not closed.
        next_probe_at_us: When a probe may pass; None while closed, or while forced open without an end.
        probe_holder, probe_at_us, probe_left_seconds: Who has the probe's token, since which cycle, and what is left until it is lost.
        forced: `open` or `closed` when a person or an automatic revert said so.
        reason: Why it is where it is.
    """

    name: str
    seq: int = 0
    state: Phase = Phase.CLOSED
    at_us: int = 0
    outcome_at_us: int = 0
    failures: int = 0
    slow_calls: int = 0
    good_probes: int = 0
    spacing_seconds: int = 0
    opened_at_us: int | None = None
    next_probe_at_us: int | None = None
    probe_holder: str = ""
    probe_at_us: int = 0
    probe_left_seconds: int = 0
    forced: str = ""
    forced_until_us: int | None = None
    reason: str = ""
    opened_count: int = 0
    half_opened_count: int = 0
    closed_count: int = 0
