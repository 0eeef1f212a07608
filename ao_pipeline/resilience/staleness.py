"""Is a state of the cycle that it should be of? Dagster's freshness is blind to partitions; this is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ao_pipeline.cycle import Cycle

LOOK_BACK_CYCLES: Final = 96
"""How far back the last due cycle is sought; every cadence is shorter than a day."""


@dataclass(frozen=True)
class Staleness:
    """`as_of_cycle` is the cycle that the state is of, None when there never was one."""

    is_stale: bool
    as_of_cycle: str | None


def last_due(cycle: Cycle, is_due: Callable[[Cycle], bool]) -> Cycle:
    """Return the newest cycle up to `cycle` in which the asset was due; `cycle` itself if none was in a day."""
    candidate = cycle
    for _ in range(LOOK_BACK_CYCLES):
        if is_due(candidate):
            return candidate
        candidate = candidate.shift(-1)
    return cycle


def staleness(state_cycle: str | None, *, cycle: Cycle, is_due: Callable[[Cycle], bool]) -> Staleness:
    """Compare the cycle that a state is of with the last one in which it was due."""
    if not state_cycle:
        return Staleness(is_stale=True, as_of_cycle=None)
    return Staleness(state_cycle < last_due(cycle, is_due).key, state_cycle)


def combine(parts: Iterable[Staleness]) -> Staleness:
    """Return the staleness of a whole: stale if a part is, as old as its oldest stale part."""
    found = list(parts)
    stale = [part for part in found if part.is_stale]
    considered = stale or found
    ages = [part.as_of_cycle for part in considered]
    oldest = None if not ages or None in ages else min(age for age in ages if age is not None)
    return Staleness(bool(stale), oldest)


def by_source(assets: Mapping[str, Staleness], source_of: Callable[[str], str]) -> dict[str, Staleness]:
    """Combine the staleness of each source's assets."""
    groups: dict[str, list[Staleness]] = {}
    for asset, state in assets.items():
        groups.setdefault(source_of(asset), []).append(state)
    return {source: combine(parts) for source, parts in sorted(groups.items())}
