"""A circuit breaker as a pure state machine: where it stands is the fold of its events, and nothing else.

Time is the end of a cycle, in microseconds UTC: the same for every process that works on the cycle. No clock is read here.

1. A job or source opens after `failures_to_open` failed cycles in a row, or when too many of its last calls were slow
   (`test_a_job_that_fails_three_cycles_in_a_row_opens_its_breaker`, `test_slow_calls_open_without_a_failure`).
2. While open nothing passes until the next probe is due; a failed probe doubles the wait, up to a bound
   (`test_a_failed_probe_doubles_the_wait_up_to_its_bound`).
3. Half-open, one probe at a time passes: whoever holds its token. A token that is not given back is lost only after two later
   cycles have asked for it (`test_a_lost_probe_is_replaced_after_two_cycles`).
4. It closes after `good_to_close` good probes, or by hand; never because time passed
   (`test_no_jump_of_the_clock_closes_it`).
5. An outcome counts once: a job has one outcome a cycle (`test_an_outcome_that_is_fed_again_changes_nothing`).
6. When the clock went back, every deadline moves back with it: what was still to wait is still to wait
   (`test_a_clock_that_jumps_back_never_waits_longer_than_one_spacing`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from ao_pipeline.resilience.breaker_state import (
    OUTCOMES,
    POLICY,
    BreakerEvent,
    BreakerPolicy,
    BreakerState,
    EventKind,
    Phase,
)

_MICROS: Final = 1_000_000


@dataclass(frozen=True)
class Answer:
    """Whether the asker may pass, and the event to record before it does."""

    passes: bool
    event: BreakerEvent | None = None


def fold(breaker: BreakerState, event: BreakerEvent, policy: BreakerPolicy = POLICY) -> BreakerState:
    """Return where the breaker stands after the event: the same object when the event changes nothing."""
    base, at_us = breaker, event.at_us
    if event.at_us < breaker.at_us:
        if event.kind in OUTCOMES and breaker.at_us - event.at_us <= policy.late_seconds * _MICROS:
            at_us = breaker.at_us
        else:
            base = _moved_back(breaker, event.at_us)
    base = replace(base, seq=breaker.seq + 1, at_us=at_us)
    if event.kind in OUTCOMES:
        after = _after_outcome(base, event, policy)
    else:
        after = _after_other(base, breaker, event, policy)
    return breaker if after is None else after


def ask(breaker: BreakerState, *, at_us: int, holder: str, cycle: str, policy: BreakerPolicy = POLICY) -> Answer:
    """Tell whether a job may run in the cycle that ends at `at_us`; passing an open breaker takes the probe's token.

    Args:
        breaker: Where it stands.
        at_us: End of the cycle.
        holder: Who asks. The same one may ask again and gets the same answer.
        cycle: The cycle's key, for the record.
        policy: The rules.
    """
    if breaker.state is Phase.CLOSED:
        return Answer(passes=True)
    event = BreakerEvent(EventKind.PROBE_TAKEN, at_us, cycle=cycle, holder=holder)
    went_back = at_us < breaker.at_us
    waits = Answer(passes=False, event=replace(event, kind=EventKind.CLOCK_WENT_BACK, holder="") if went_back else None)
    if breaker.probe_holder:
        if breaker.probe_holder == holder:
            return Answer(passes=True)
        credit = _credit_seconds(breaker, at_us, policy)
        if credit >= breaker.probe_left_seconds:
            return Answer(passes=True, event=event)
        return Answer(passes=False, event=replace(event, kind=EventKind.PROBE_AWAITED)) if credit else waits
    due = _moved_back(breaker, at_us).next_probe_at_us if went_back else breaker.next_probe_at_us
    return Answer(passes=True, event=event) if due is not None and at_us >= due else waits


def _after_outcome(base: BreakerState, event: BreakerEvent, policy: BreakerPolicy) -> BreakerState | None:
    if base.state is Phase.OPEN:
        return None
    if base.state is Phase.HALF_OPEN:
        if not base.probe_holder or base.probe_at_us != event.at_us:
            return None
        return _after_probe(base, event, policy)
    if event.kind is EventKind.INCONCLUSIVE or 0 <= base.outcome_at_us - event.at_us <= policy.late_seconds * _MICROS:
        return None
    is_failure = event.kind is EventKind.FAILED
    failures = base.failures + 1 if is_failure else 0
    slow_calls = (base.slow_calls << 1 | event.is_slow) & ((1 << policy.slow_window) - 1)
    if failures == base.failures and slow_calls == base.slow_calls:
        return None
    counted = replace(base, failures=failures, slow_calls=slow_calls, outcome_at_us=event.at_us)
    if base.forced == "closed" and (base.forced_until_us is None or base.at_us < base.forced_until_us):
        return counted
    if failures >= policy.failures_to_open:
        return _opened(
            counted, policy.first_spacing_seconds, f"{failures} failed cycles in a row: {event.reason}", policy
        )
    if event.is_slow and slow_calls.bit_count() >= policy.slow_to_open:
        reason = f"{slow_calls.bit_count()} of the last {policy.slow_window} calls took {policy.slow_after_seconds:g} s or more"
        return _opened(counted, policy.first_spacing_seconds, reason, policy)
    return counted


def _after_probe(base: BreakerState, event: BreakerEvent, policy: BreakerPolicy) -> BreakerState:
    next_at = base.at_us + policy.first_spacing_seconds * _MICROS
    returned = replace(base, probe_holder="", probe_at_us=0, probe_left_seconds=0, next_probe_at_us=next_at)
    if event.kind is EventKind.INCONCLUSIVE:
        return returned
    if event.kind is EventKind.FAILED or event.is_slow:
        spacing = min(base.spacing_seconds * policy.spacing_factor, policy.max_spacing_seconds)
        return _opened(
            returned,
            spacing,
            f"the probe {'failed' if event.kind is EventKind.FAILED else 'was slow'}: {event.reason}",
            policy,
        )
    good = base.good_probes + 1
    if good >= policy.good_to_close:
        return _closed(returned, f"{good} good probes")
    return replace(returned, good_probes=good)


def _after_other(
    base: BreakerState, before: BreakerState, event: BreakerEvent, policy: BreakerPolicy
) -> BreakerState | None:
    match event.kind:
        case EventKind.PROBE_TAKEN:
            return _probed(base, event, policy)
        case EventKind.PROBE_AWAITED:
            credit = _credit_seconds(before, event.at_us, policy)
            return replace(base, probe_left_seconds=base.probe_left_seconds - credit) if base.probe_holder else None
        case EventKind.CLOCK_WENT_BACK:
            return base if event.at_us < before.at_us else None
        case EventKind.FORCED_OPEN:
            if (base.forced, base.forced_until_us, base.reason) == ("open", event.until_us, event.reason):
                return None
            opened = _opened(base, policy.first_spacing_seconds, event.reason, policy)
            return replace(opened, forced="open", forced_until_us=event.until_us, next_probe_at_us=event.until_us)
        case EventKind.FORCED_CLOSED:
            return replace(_closed(base, event.reason), forced="closed", forced_until_us=event.until_us)
        case _:
            return _closed(base, event.reason)


def _probed(base: BreakerState, event: BreakerEvent, policy: BreakerPolicy) -> BreakerState | None:
    if base.state is Phase.CLOSED:
        return None
    was_open = base.state is Phase.OPEN
    return replace(
        base,
        state=Phase.HALF_OPEN,
        probe_holder=event.holder,
        probe_at_us=event.at_us,
        probe_left_seconds=policy.probe_seconds,
        good_probes=0 if was_open else base.good_probes,
        half_opened_count=base.half_opened_count + was_open,
        forced="",
        forced_until_us=None,
    )


def _opened(base: BreakerState, spacing_seconds: int, reason: str, policy: BreakerPolicy) -> BreakerState:
    """A wait is shortened by jitter that follows from name and number of the event: a replay gives the same."""
    draw = int.from_bytes(hashlib.sha256(f"{base.name}/{base.seq}".encode()).digest()[:4], "big") / 2**32
    wait_us = round(spacing_seconds * _MICROS * (1 - policy.jitter_ratio * draw))
    return replace(
        base,
        state=Phase.OPEN,
        spacing_seconds=spacing_seconds,
        opened_at_us=base.at_us if base.opened_at_us is None else base.opened_at_us,
        next_probe_at_us=base.at_us + wait_us,
        slow_calls=0,
        good_probes=0,
        probe_holder="",
        probe_at_us=0,
        probe_left_seconds=0,
        forced="",
        forced_until_us=None,
        reason=reason,
        opened_count=base.opened_count + (base.state is not Phase.OPEN),
    )


def _closed(base: BreakerState, reason: str) -> BreakerState:
    return BreakerState(
        base.name,
        seq=base.seq,
        at_us=base.at_us,
        outcome_at_us=base.outcome_at_us,
        reason=reason,
        opened_count=base.opened_count,
        half_opened_count=base.half_opened_count,
        closed_count=base.closed_count + (base.state is not Phase.CLOSED),
    )


def _moved_back(breaker: BreakerState, at_us: int) -> BreakerState:
    """Move every deadline by as much as the clock went back."""
    jump_us = at_us - breaker.at_us

    def moved(instant_us: int | None) -> int | None:
        return None if instant_us is None else instant_us + jump_us

    return replace(
        breaker,
        opened_at_us=moved(breaker.opened_at_us),
        next_probe_at_us=moved(breaker.next_probe_at_us),
        forced_until_us=moved(breaker.forced_until_us),
    )


def _credit_seconds(breaker: BreakerState, at_us: int, policy: BreakerPolicy) -> int:
    """Return how much of a token's life has passed: a clock that jumped ahead counts as one cycle, one that went back as none."""
    return min(max(at_us - breaker.at_us, 0) // _MICROS, policy.first_spacing_seconds)
