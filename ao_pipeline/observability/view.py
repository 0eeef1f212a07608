"""What the exporter knows at one moment: plain values, read from stored state, independent of the process that asks.

How they are read belongs to `adapters.state.operations`; how they are rendered, to `exporter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

CYCLE_STATUSES: Final = ("success", "degraded", "failed", "interrupted")
"""Outcomes of a closed cycle; each is exported from the start, so that a first failure shows as an increase from 0."""

COMPLETED_STATUSES: Final = ("success", "degraded")
"""Outcomes after which a snapshot of that cycle is published; a degraded one says what it is missing."""

CYCLE_BOUNDS_SECONDS: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
"""Buckets of a whole cycle: seconds when all is well; the last bound is the cadence itself."""

STEP_BOUNDS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets of one computation: tens of milliseconds for an agency of 50 people, a minute is broken."""


@dataclass(frozen=True)
class AssetHead:
    """Where one asset stands.

    Attributes:
        as_of_cycle: Cycle that the rows are of; a revert takes it back.
        computed_cycle: Highest cycle ever computed.
        bundle_count: Bundles ever committed; never shrinks.
        kind: Why the newest bundle exists.
        committed_at_us: When the newest bundle was begun, microseconds UTC.
    """

    asset: str
    as_of_cycle: str
    computed_cycle: str
    bundle_count: int
    row_count: int
    kind: str
    committed_at_us: int


@dataclass(frozen=True)
class BundleTotals:
    """All bundles of one asset and kind that were ever committed, those that retention removed included."""

    asset: str
    kind: str
    bundles: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int


@dataclass(frozen=True)
class Histogram:
    """Durations in cumulative buckets.

    Attributes:
        bounds_seconds: Upper bounds, rising, without infinity.
        counts: Observations at or below each bound.
        count: All observations.
    """

    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum_seconds: float

    @classmethod
    def empty(cls, bounds_seconds: tuple[float, ...]) -> Histogram:
        """Return the histogram of no observations."""
        return cls(bounds_seconds, (0,) * len(bounds_seconds), 0, 0.0)


@dataclass(frozen=True)
class OpenCycle:
    """A cycle that a run works on, or that a dead run left behind."""

    cycle: str
    run_id: str
    opened_at_us: int


@dataclass(frozen=True)
class OpenIncident:
    """Something wrong that is not over; `kind` is from a closed set."""

    kind: str
    subject: str
    detail: str
    opened_at_us: int


@dataclass(frozen=True)
class EngineLease:
    """Which engine acts on the store: `expires_at_us` 0 when it gave the lease back."""

    holder: str
    token: int
    renewed_at_us: int
    expires_at_us: int


@dataclass(frozen=True)
class OperationsView:
    """One consistent reading of the state store.

    Attributes:
        cycle_counts: Outcomes by status, monotone.
        last_cycle, last_status: Newest closed cycle and its outcome; empty before the first.
        last_successful: Newest cycle with outcome `success`; empty if none.
        last_completed: Newest cycle with a published snapshot; empty if none.
        quarantined: Open refused records by asset.
        refused: All refused records by asset, whatever became of them; monotone.
        deliveries: Notification deliveries by (channel, status).
        truth_seconds: Computation time by truth module.
        breakers: State by job or source: closed, open, half_open; those that nothing ever happened to are absent.
        breaker_transitions: How often each breaker changed, by (job or source, new state); monotone.
        incidents: Open incidents, the oldest first.
        alerts: Alerts to the operator by status.
        recoveries: What the engine recovered by itself, how often by kind; monotone.
        db_size_bytes: By store.
        engine: Who acts on the store; None when nobody ever did.
    """

    heads: tuple[AssetHead, ...] = ()
    cycle_counts: Mapping[str, int] = field(default_factory=dict)
    last_cycle: str = ""
    last_status: str = ""
    last_successful: str = ""
    last_completed: str = ""
    open_cycles: tuple[OpenCycle, ...] = ()
    cycle_seconds: Histogram = field(default_factory=lambda: Histogram.empty(CYCLE_BOUNDS_SECONDS))
    holds: Mapping[str, str] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    totals: tuple[BundleTotals, ...] = ()
    truth_seconds: Mapping[str, Histogram] = field(default_factory=dict)
    snapshot_seconds: Histogram = field(default_factory=lambda: Histogram.empty(STEP_BOUNDS_SECONDS))
    breakers: Mapping[str, str] = field(default_factory=dict)
    breaker_transitions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    incidents: tuple[OpenIncident, ...] = ()
    alerts: Mapping[str, int] = field(default_factory=dict)
    recoveries: Mapping[str, int] = field(default_factory=dict)
    db_size_bytes: Mapping[str, int] = field(default_factory=dict)
    engine: EngineLease | None = None


@dataclass(frozen=True)
class DagsterFigures:
    """Dagster's own state; None figures in a report mean that they could not be read, not that all is well.

    Attributes:
        heartbeats: Last sign of life of each required daemon; None when there never was one.
        runs_by_status: Runs that are not over, by lower-case status.
        oldest_started_at: Start of the longest-running run; None without one.
        read_at: When this was read.
        storage_bytes: Size of Dagster's own files; None when they lie in a database server.
        instigators_failing: By running sensor or schedule, whether its last ticks all failed.
    """

    heartbeats: Mapping[str, datetime | None]
    runs_by_status: Mapping[str, int]
    oldest_started_at: datetime | None
    read_at: datetime
    storage_bytes: int | None = None
    instigators_failing: Mapping[str, bool] = field(default_factory=dict)
