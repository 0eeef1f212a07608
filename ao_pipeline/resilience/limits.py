"""What one step may use: memory, time, silence; and how the steps of a run share the run's time.

A run may take `max_runtime_seconds` (600, `dagster.yaml`); then Dagster ends it, and with it what was still to be published.
So the stages have shares that sum up to less, and no upstream can use up those of the others:
1. All steps of a run together stay below `longest_run_seconds` (`test_a_cycle_in_which_every_source_hangs_ends_in_time`).
2. The collectors of a source share `RESERVE_SECONDS` at least, whatever other sources did before
   (`test_hanging_sources_leave_the_others_their_time`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Stage(StrEnum):
    """Steps that share one budget."""

    COLLECT = "collect"
    DERIVE = "derive"
    PUBLISH = "publish"


STAGE_OF_LAYER: Final[Mapping[str, Stage]] = MappingProxyType(
    {"raw": Stage.COLLECT, "ref": Stage.DERIVE, "norm": Stage.DERIVE, "truth": Stage.DERIVE}
)
"""By the first part of an asset's key; everything else publishes. Reference files are local: no upstream may take their time."""

STAGE_SECONDS: Final[Mapping[Stage, float]] = MappingProxyType(
    {Stage.COLLECT: 300.0, Stage.DERIVE: 120.0, Stage.PUBLISH: 60.0}
)
"""Time of all steps of a stage in one run. A healthy cycle takes two seconds; collecting a large agency for the first time
takes minutes, and goes on in the next cycle where this one had to stop."""

RESERVE_SECONDS: Final = 25.0
"""Kept for the collectors of each source until all of them had their turn: two read time-outs and a little. With eight sources
that leaves the first one 125 s, and what nobody needed goes to whoever comes later."""

SHORTEST_SECONDS: Final = 5.0
"""A step that would get less is left out at once: it would only fail later."""

TIMEOUT_SECONDS: Final[Mapping[str, float]] = MappingProxyType({"snapshot/agency": 30.0, "notify/deliveries": 25.0})
"""Longest time of one step, by asset, where it differs from its stage's budget or the collector's own. What publishes leaves the
cycle's report its turn; each of them takes a tenth of a second."""

COLLECTOR_GRACE_SECONDS: Final = 5.0
"""A collector ends by itself when its budget is used up, and says what it waited for; it is interrupted this much later."""

MEMORY_MIB: Final[Mapping[str, int]] = MappingProxyType({})
"""Memory that a step may add to what the process holds, by asset, where it differs from AO_STEP_MEMORY_MIB."""

STALL_SECONDS: Final = 60.0
"""Silence after which a step counts as stalled. The longest honest one is 30 s: the wait for a lock of the state store."""

GRACE_SECONDS: Final = 40.0
"""From the first interrupt to the end of the process, for a step that no interrupt can reach. Above the longest lock wait."""

RETRY_DELAY_SECONDS: Final = 30.0
"""Delay of a step's own retry; the run waits for it when nothing else is left to do."""

OVERHEAD_SECONDS: Final = 60.0
"""Dagster's own time in a run: 0.1 s a step, and 40 to 100 ms an event and cycle when a range is caught up."""


@dataclass(frozen=True)
class Allowance:
    """What one step may use.

    Attributes:
        seconds: Its time; 0 when its run has none left for it.
        memory_mib: What it may add to the process; 0 for no limit.
    """

    asset: str
    seconds: float
    memory_mib: int
    stall_seconds: float = STALL_SECONDS
    grace_seconds: float = GRACE_SECONDS


def stage_of(asset: str) -> Stage:
    """Return the stage that an asset's step belongs to."""
    return STAGE_OF_LAYER.get(asset.split("/", 1)[0], Stage.PUBLISH)


def source_of(asset: str) -> str:
    """Return the upstream that a raw asset comes from, empty for other assets."""
    layer, _, name = asset.partition("/")
    return name.split("_", 1)[0] if layer == "raw" else ""


def longest_run_seconds() -> float:
    """Return the longest time of a run in which everything hangs."""
    return sum(STAGE_SECONDS.values()) + RETRY_DELAY_SECONDS + OVERHEAD_SECONDS


@dataclass
class RunBudget:
    """The time that the steps of one run share.

    Args:
        assets: What the run is going to compute.
        collector_seconds: What one collector may take at most.
    """

    assets: Iterable[str]
    collector_seconds: float
    _spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _waiting: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        for asset in self.assets:
            if source := source_of(asset):
                self._waiting[source].add(asset)

    def spent(self, stage: Stage) -> float:
        """Return what the steps of a stage took so far."""
        return self._spent[stage]

    def allow(self, asset: str) -> float:
        """Return the seconds that a step may take from now on; 0 when there are none left."""
        stage, source = stage_of(asset), source_of(asset)
        left = STAGE_SECONDS[stage] - self._spent[stage]
        if source:
            is_first_turn = asset in self._waiting[source]
            self._waiting[source].discard(asset)
            left -= sum(self._reserved(other) for other in self._waiting if other != source and self._waiting[other])
            left = max(left, self._reserved(source)) if is_first_turn else left
        own = self.collector_seconds + COLLECTOR_GRACE_SECONDS if source else STAGE_SECONDS[stage]
        seconds = min(TIMEOUT_SECONDS.get(asset, own), left)
        return seconds if seconds >= SHORTEST_SECONDS else 0.0

    def spend(self, asset: str, seconds: float) -> None:
        """Count what a step took."""
        self._spent[stage_of(asset)] += seconds
        self._spent[source_of(asset)] += seconds

    def _reserved(self, source: str) -> float:
        return max(0.0, RESERVE_SECONDS - self._spent[source])


def memory_mib(asset: str, *, default_mib: int) -> int:
    """Return the memory that a step may add, in MiB; 0 for no limit."""
    return MEMORY_MIB.get(asset, default_mib) if default_mib else 0
