"""How often anything may be tried, in one place, and what is tried beyond it: nothing retries for ever.

Each failure belongs to exactly one system; docs/retries.md is the map. A bound that nobody watches is a hope, so the standing
check `nothing_retries_for_ever` compares what really happened with these numbers once an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

STEP_ATTEMPTS: Final = 2
"""A step and its one retry after 30 seconds (`defs.failures.STEP_RETRY`)."""

RUN_RETRIES: Final = 2
"""Dagster's run retries, for infrastructure only (`run_retries.max_retries` in `dagster.yaml`)."""

LOST_RETRIES: Final = 3
"""Times that the recovery sensor asks again for a retry that Dagster lost."""

CHAIN_RUNS: Final = 1 + RUN_RETRIES + LOST_RETRIES
"""Runs with one root: the run itself, its retries, and those that were asked for again."""

CYCLE_RUNS: Final = 12
"""Runs of the engine's own for one cycle: six until it is opened (`defs.catch_up.MAX_ATTEMPTS`), their retries, a follow-up with its
retries, and two that heal."""

REFUSED_CYCLES: Final = 96
"""Cycles in which an upstream refused us, or our own code failed, before a person must look: a day. Each cycle asks once."""


@dataclass(frozen=True)
class Tries:
    """What was tried lately.

    Attributes:
        runs_by_cycle: Automatic runs by cycle.
        chains: Runs by root run.
        steps: Highest attempt of a step, by asset and run.
        refused_cycles: Cycles in which each asset failed for good, without a computation since.
        waiting_messages: Highest number of tries of a notification or alert that is still pending.
        message_attempts: Tries that such a message has.
        healings: Requests for each stale asset since it was last computed.
        heal_attempts: Requests that an asset has.
        failing_ticks: Error of each sensor or schedule that fails tick after tick.
    """

    runs_by_cycle: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    refused_cycles: Mapping[str, int] = field(default_factory=dict)
    waiting_messages: int = 0
    message_attempts: int = 1
    healings: Mapping[str, int] = field(default_factory=dict)
    heal_attempts: int = 1
    failing_ticks: Mapping[str, str] = field(default_factory=dict)


def endless(tries: Tries) -> list[str]:
    """Return a sentence for everything that is tried beyond its bound, or would be for ever."""
    return [
        *(
            f"cycle {cycle} has {count} runs"
            for cycle, count in sorted(tries.runs_by_cycle.items())
            if count > CYCLE_RUNS
        ),
        *(
            f"run {root[:8]} was tried {count} times"
            for root, count in sorted(tries.chains.items())
            if count > CHAIN_RUNS
        ),
        *(
            f"{asset} was attempted {attempt} times in run {run[:8]}"
            for (asset, run), attempt in sorted(tries.steps.items())
            if attempt > STEP_ATTEMPTS
        ),
        *(
            f"{asset} failed for good in {count} cycles; repair the cause or hold it"
            for asset, count in sorted(tries.refused_cycles.items())
            if count >= REFUSED_CYCLES
        ),
        *(
            [f"a message was tried {tries.waiting_messages} times and is not given up"]
            if tries.waiting_messages >= tries.message_attempts
            else []
        ),
        *(
            f"{asset} was asked for {count} times and is stale still"
            for asset, count in sorted(tries.healings.items())
            if count >= tries.heal_attempts
        ),
        *(f"{name} fails at every tick: {error}" for name, error in sorted(tries.failing_ticks.items())),
    ]
