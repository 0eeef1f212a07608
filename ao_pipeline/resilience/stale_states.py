"""Which stale states are asked for again outside the regular cycles, and which are left alone. It never fights anybody.

Exactly one system answers each cause: a failed step has its own retry and then the next cycle; what a cycle left out has its
follow-up; what a breaker or a hold keeps out waits for it. What is left is stale for none of these reasons: released from a
hold between two cycles, lost with a run that nobody could run again, or late by Dagster's own clock. That is healed.

Invariants:
1. Nothing is asked for while a cycle is under way or about to be (`test_nothing_is_healed_while_a_cycle_is_live_or_due`).
2. At most `per_cycle` requests for an asset in one cycle, at growing distances over cycles, and then none
   (`test_healing_never_loops`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.cycle import CYCLE_MINUTES, Cycle

_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class HealPolicy:
    """Limits of healing.

    Attributes:
        settle: After a cycle was closed: its follow-up and its retries come first.
        margin: Before the next window closes: a healing run must be over by then.
        per_cycle: Requests for one asset in one cycle.
        most: Requests for one asset since it was last computed. Then only the regular cycles try, and the incident stays open.
        longest_wait: Between two requests for one asset.
    """

    settle: timedelta = timedelta(minutes=2)
    margin: timedelta = timedelta(minutes=3)
    per_cycle: int = 2
    most: int = 8
    longest_wait: timedelta = timedelta(hours=6)

    def wait(self, requests: int) -> timedelta:
        """Return how long to wait after so many requests that changed nothing."""
        if requests < self.per_cycle:
            return timedelta(minutes=3)
        doublings = min(requests - self.per_cycle, 10)
        return min(timedelta(minutes=CYCLE_MINUTES) * (1 << doublings), self.longest_wait)


DEFAULT_HEAL_POLICY: Final = HealPolicy()


@dataclass(frozen=True)
class Asked:
    """Earlier requests for one asset: in the present cycle, since it was last computed, and the last one's time."""

    in_cycle: int = 0
    since_computed: int = 0
    last_at_us: int = 0


@dataclass(frozen=True)
class HealPlan:
    """What to ask for, and what is stale but left alone; each with its reason."""

    heal: Mapping[str, str]
    left_alone: Mapping[str, str]


def not_now(
    now: datetime,
    *,
    closed_cycle: str,
    closed_at: datetime | None,
    is_live: bool,
    policy: HealPolicy = DEFAULT_HEAL_POLICY,
) -> str | None:
    """Return why nothing may be healed at this moment, None when it may.

    Args:
        now: The moment.
        closed_cycle: Newest cycle whose record is closed; empty before the first.
        closed_at: When it was closed.
        is_live: Whether a run of a cycle is queued or running.
        policy: Distances to keep.
    """
    newest = Cycle.last_closed(now)
    if is_live:
        return "a cycle is under way"
    if closed_cycle != newest.key or closed_at is None:
        return f"cycle {newest} comes first"
    if timedelta(0) <= now - closed_at < policy.settle:
        return f"cycle {newest} has just ended; its follow-up comes first"
    if newest.shift(1).end - now < policy.margin:
        return f"cycle {newest.shift(1)} is about to start"
    return None


def plan_healing(
    stale: Mapping[str, str],
    *,
    others: Mapping[str, str],
    asked: Mapping[str, Asked],
    now_us: int,
    policy: HealPolicy = DEFAULT_HEAL_POLICY,
) -> HealPlan:
    """Decide about each stale asset.

    Args:
        stale: Why each asset counts as stale.
        others: Who else is responsible for an asset: a breaker, a hold, its own failure, a person.
        asked: Earlier requests by asset.
        now_us: The moment.
        policy: Limits.
    """
    heal: dict[str, str] = {}
    left_alone: dict[str, str] = {}
    for asset, reason in sorted(stale.items()):
        before = asked.get(asset, Asked())
        waited = now_us - before.last_at_us
        wait_us = policy.wait(before.since_computed) / timedelta(microseconds=1)
        if asset in others:
            left_alone[asset] = others[asset]
        elif before.since_computed >= policy.most:
            left_alone[asset] = f"asked for {before.since_computed} times in vain; only its regular cycles try it"
        elif before.in_cycle >= policy.per_cycle:
            left_alone[asset] = f"asked for {before.in_cycle} times in this cycle"
        elif before.since_computed and 0 <= waited < wait_us:
            left_alone[asset] = f"asked for {waited // (60 * _MICROSECONDS)} minutes ago"
        else:
            heal[asset] = reason
    return HealPlan(heal, left_alone)
