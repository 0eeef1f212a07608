"""Values that go into and come out of the state store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import pyarrow as pa

from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.bundles.preview import PREVIEW_SCHEMA
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle

PREVIEW_ROWS = 20
"""Changed rows that go along with a receipt for display."""


class CommitStep(StrEnum):
    """Boundaries inside the one transaction, in order. Fault tests stop at each of them."""

    BEGUN = "begun"
    COMPARED = "compared"
    APPLIED = "applied"
    PAYLOAD_STORED = "payload_stored"
    BUNDLE_STORED = "bundle_stored"
    INDEX_STORED = "index_stored"
    HEAD_MOVED = "head_moved"
    COMMITTED = "committed"


@dataclass(frozen=True)
class Head:
    """Where an asset stands. `seq` 0 means that nothing was ever committed.

    `computed_cycle` is the highest cycle ever computed; `state_cycle` is the one that the rows are of: older after a revert.
    `inputs` is what the rows were computed from.
    """

    asset: str
    seq: int
    seal: str
    state_hash: str
    row_count: int
    cursor: str
    computed_cycle: str
    state_cycle: str
    inputs: str
    layout: str
    fence: int


@dataclass(frozen=True)
class Intent:
    """Who asks for a commit, and why.

    Attributes:
        spec: The table.
        cycle, first_cycle: Newest and oldest cycle it stands for.
        name: Idempotency key within (asset, cycle); retries of one run share it.
        inputs: Canonical JSON of what it is computed from.
        target_id: Bundle whose state is restored; empty otherwise.
        state_cycle: Cycle that the rows are of, when that is not `cycle`.
        engine_token: Token of the engine's lease that it acts under; 0 when it needs none.
    """

    spec: TableSpec
    cycle: Cycle
    first_cycle: Cycle
    name: str
    kind: BundleKind = BundleKind.MATERIALIZE
    run_id: str = ""
    attempt: int = 1
    code_version: str = ""
    actor: str = "engine"
    reason: str = ""
    inputs: str = ""
    target_id: str = ""
    state_cycle: str = ""
    engine_token: int = 0


@dataclass(frozen=True)
class Writer:
    """Permission to commit once. It dies when a later writer for the same asset begins (fencing token)."""

    intent: Intent
    fence: int
    head: Head
    began_monotonic: float
    began_at_us: int
    found: BundleHeader | None = None


@dataclass(frozen=True)
class Receipt:
    """What a commit did. `is_replay` says that the bundle was already there and nothing was written now."""

    header: BundleHeader
    make_preview: Callable[[], pa.Table] = PREVIEW_SCHEMA.empty_table
    is_replay: bool = False

    @cached_property
    def preview(self) -> pa.Table:
        """A few changed rows as text, put together when somebody looks."""
        return self.make_preview()


@dataclass(frozen=True)
class RevertPlan:
    """What a revert would do, exactly; nothing was written to make it."""

    target: BundleHeader
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    preview: pa.Table
