"""What was computed from what, as the bundles themselves recorded it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any


def inputs_named(inputs: str, names: Mapping[str, str]) -> frozenset[str]:
    """Return the assets that a bundle's `inputs` name.

    Args:
        inputs: Canonical JSON of what a bundle was computed from; empty when nothing was.
        names: Asset key by each name an asset goes under (key and table name).
    """
    if not inputs:
        return frozenset()
    return frozenset(names[word] for word in _words(json.loads(inputs)) if word in names)


def downstream_of(sources: Mapping[str, Set[str]], asset: str) -> tuple[str, ...]:
    """Return every asset computed from `asset`, directly or through others, in alphabetical order.

    Args:
        sources: The assets that each asset was computed from.
        asset: Where to start; it is not in the answer.
    """
    found: set[str] = set()
    frontier = {asset}
    while frontier:
        frontier = {name for name, inputs in sources.items() if inputs & frontier} - found - {asset}
        found |= frontier
    return tuple(sorted(found))


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_words(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_words(item) for item in value))
    return set()
