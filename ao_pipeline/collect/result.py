"""What one collection gives back: typed rows, what is gone, the cursor that belongs to them, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from ao_pipeline.bundles.changes import Quarantined

Cursor = dict[str, Any]
"""A JSON object that one collector writes and only the same collector reads. Committed together with its rows."""

MAX_PAYLOAD_BYTES: Final = 64 * 1024
"""Longest kept text of a quarantined record: enough to see what is wrong, too little to fill a table."""

MAX_DRIFT_NAMES: Final = 100
"""Names of drift kept per collection. A vendor that sends random field names must not fill metadata with them."""

DRIFT_OVERFLOW: Final = "other"


@dataclass(frozen=True)
class Collected:
    """The outcome of one complete collection. A collection that is not complete raises instead.

    Invariants:
        1. `is_full` means: a key that is absent from `rows` does not exist upstream any more.
        2. `deleted` is empty when `is_full`, and never holds a key of `rows` or of a quarantined record.
        3. `cursor` describes exactly what `rows` and `deleted` bring about; one without the other loses data.

    Attributes:
        rows: The table's rows, in its Arrow schema; each key at most once.
        is_full: Whether `rows` is the whole upstream listing.
        deleted: Keys that are gone upstream; partial collections only.
        cursor: Where the next collection starts.
        quarantined: Records that were left out.
        drift: Counts by name of unknown fields and enum values, all kept or ignored, none fatal.
        pages: Listing pages read.
        requests: HTTP requests sent, repeated ones and token requests included.
        retries: Requests that were repeated.
    """

    rows: pa.Table
    is_full: bool
    deleted: pa.Table
    cursor: Cursor
    quarantined: tuple[Quarantined, ...] = ()
    drift: Mapping[str, int] = field(default_factory=dict)
    pages: int = 0
    requests: int = 0
    retries: int = 0


class Drift:
    """A bounded counter of upstream surprises."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Count `name`; beyond `MAX_DRIFT_NAMES` names, count it as `other`."""
        if name not in self.counts and len(self.counts) >= MAX_DRIFT_NAMES:
            name = DRIFT_OVERFLOW
        self.counts[name] = self.counts.get(name, 0) + count

    def absorb(self, other: Drift) -> None:
        """Count what another thread's counter counted."""
        for name, count in other.counts.items():
            self.add(name, count)


__all__ = ["DRIFT_OVERFLOW", "MAX_DRIFT_NAMES", "MAX_PAYLOAD_BYTES", "Collected", "Cursor", "Drift", "Quarantined"]
