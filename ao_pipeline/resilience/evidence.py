"""What a cycle says about jobs and sources: the outcomes that feed their circuit breakers.

1. Only transient failures and our own bugs count as failed. A refusal that no retry helps (credentials, contract, settings,
   hold, fencing) says nothing about whether the job can work (`test_permanent_failures_feed_no_breaker`).
2. What left neither a bundle nor a failure was not attempted, or died with its process: no outcome
   (`test_a_step_that_was_killed_feeds_no_breaker`).
3. A source failed when some job of it failed and none reached it (`test_a_source_fails_when_no_job_of_it_came_through`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ao_pipeline.resilience.breaker_state import POLICY, BreakerPolicy, EventKind

SOURCE_PREFIX: Final = "source:"
"""Marks the breaker of an upstream: `source:asana`."""

MAX_REASON_CHARACTERS: Final = 300


class Category(StrEnum):
    """Would the same step work later? A bug is an exception that nobody expected."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    BUG = "bug"


@dataclass(frozen=True)
class Failure:
    """One failed attempt of one step. `message` holds no secret and no row; of a bug only where it was raised."""

    asset: str
    cycle: str
    run_id: str
    attempt: int
    error: str
    category: str
    message: str
    at_us: int
    root_run_id: str = ""


@dataclass(frozen=True)
class Call:
    """One job that wrote its bundle. A job that had nothing to ask came through without having reached its upstream."""

    asset: str
    duration_ms: int
    reached_upstream: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a breaker is fed."""

    name: str
    kind: EventKind
    is_slow: bool = False
    reason: str = ""


def judge_jobs(
    calls: Iterable[Call], failures: Iterable[Failure], *, policy: BreakerPolicy = POLICY
) -> dict[str, Outcome]:
    """Return the outcome of each job that was attempted, by asset.

    Args:
        calls: Jobs that wrote a bundle: whatever failed before in the same cycle, they came through.
        failures: Failed attempts of the cycle; the last one of a job counts.
        policy: What is slow.
    """
    slow_ms = policy.slow_after_seconds * 1000
    found: dict[str, Outcome] = {}
    for failure in sorted(failures, key=lambda item: (item.at_us, item.attempt)):
        counts = failure.category != Category.PERMANENT
        kind = EventKind.FAILED if counts else EventKind.INCONCLUSIVE
        reason = f"{failure.error}: {failure.message}"[:MAX_REASON_CHARACTERS]
        found[failure.asset] = Outcome(failure.asset, kind, reason=reason)
    for call in calls:
        is_slow = call.duration_ms >= slow_ms
        reason = f"it took {call.duration_ms / 1000:.0f} s" if is_slow else ""
        found[call.asset] = Outcome(call.asset, EventKind.SUCCEEDED, is_slow, reason)
    return found


def judge_sources(jobs: Mapping[str, Outcome], calls: Iterable[Call], sources: Mapping[str, str]) -> dict[str, Outcome]:
    """Return the outcome of each source whose jobs were attempted, by breaker name.

    Args:
        jobs: Outcomes of jobs.
        calls: Says which of them really asked their upstream.
        sources: The upstream of each asset that has one.
    """
    silent = {call.asset for call in calls if not call.reached_upstream}
    by_source: dict[str, list[Outcome]] = {}
    for asset, outcome in sorted(jobs.items()):
        if asset in sources:
            by_source.setdefault(SOURCE_PREFIX + sources[asset], []).append(outcome)
    return {name: _judge_source(name, outcomes, silent) for name, outcomes in by_source.items()}


def _judge_source(name: str, outcomes: list[Outcome], silent: set[str]) -> Outcome:
    reached = [item for item in outcomes if item.kind is EventKind.SUCCEEDED and item.name not in silent]
    if reached:
        slow = [item for item in reached if item.is_slow]
        is_slow = len(slow) == len(reached)
        return Outcome(name, EventKind.SUCCEEDED, is_slow, f"{slow[0].name}: {slow[0].reason}" if is_slow else "")
    failed = [item for item in outcomes if item.kind is EventKind.FAILED]
    if failed:
        return Outcome(name, EventKind.FAILED, reason=f"{failed[0].name}: {failed[0].reason}"[:MAX_REASON_CHARACTERS])
    return Outcome(name, EventKind.INCONCLUSIVE)
