"""Bundle headers and the seal that chains them: a dropped, reordered or edited bundle shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.schema import TableSpec

GENESIS_SEAL: Final = "0" * 64
"""Parent seal of an asset's first bundle."""

ID_LENGTH: Final = 16
"""Hexadecimal digits of the seal that name a bundle, as git names a commit."""


class BundleKind(StrEnum):
    """Why a bundle exists."""

    MATERIALIZE = "materialize"
    REVERT = "revert"
    RETENTION = "retention"
    RESTORE = "restore"
    ERASE = "erase"
    MIGRATE = "migrate"  # The table's columns changed; rows did not, hashes did.


@dataclass(frozen=True)
class BundleHeader:
    """Everything about a bundle except its rows. All fields but `seal` are under the seal.

    Attributes:
        asset, seq: The bundle's place: `seq` counts from 1 without gaps within an asset.
        cycle, first_cycle: Newest and oldest cycle that it stands for; they differ after a catch-up.
        intent: What asked for it; (asset, cycle, intent) occurs once, however often a step is retried.
        inputs: Canonical JSON of what it was computed from: state hash by input table, day, code version.
        layout: Fingerprint of the table's columns when it was written.
        target_id: Bundle whose state a revert restored; empty otherwise.
        cursor_before, cursor_after: Collector position, canonical JSON or empty.
        stats: Canonical JSON of small facts: pages, drift, quarantined rows.
        started_at_us: Wall clock, microseconds UTC.
    """

    asset: str
    seq: int
    cycle: str
    first_cycle: str
    kind: str
    intent: str
    run_id: str
    attempt: int
    code_version: str
    parent_seal: str
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    row_count_after: int
    state_hash_before: str
    state_hash_after: str
    payload_hash: str
    payload_bytes: int
    layout: str
    actor: str
    reason: str
    inputs: str
    cursor_before: str
    cursor_after: str
    target_id: str
    stats: str
    started_at_us: int
    duration_ms: int
    seal: str = ""

    @property
    def bundle_id(self) -> str:
        """Short name: the first digits of the seal."""
        return self.seal[:ID_LENGTH]

    @property
    def rows_changed(self) -> int:
        return self.rows_inserted + self.rows_updated + self.rows_deleted

    def computed_seal(self) -> str:
        """Return the SHA-256 over the canonical header, which holds the parent's seal and the payload's hash."""
        body = {name: value for name, value in vars(self).items() if name != "seal"}
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()


HEADER_FIELDS: Final = tuple(field.name for field in fields(BundleHeader))


def header_from(values: dict[str, Any]) -> BundleHeader:
    """Build a header from a stored row."""
    return BundleHeader(**{name: values[name] for name in HEADER_FIELDS})


def layout_of(spec: TableSpec) -> str:
    """Return canonical JSON of a table's columns: what a migration changes."""
    return canonical_json([[c.name, c.type.value, c.name in spec.key_names] for c in spec.all_columns])


def layout_fingerprint(layout: str) -> str:
    """Return the short name of a layout that headers carry."""
    return hashlib.sha256(layout.encode()).hexdigest()[:ID_LENGTH]


def only_appends(old_layout: str, new_layout: str) -> bool:
    """Tell whether the new layout is the old one, or has columns added at its end and nothing else."""
    return new_layout == old_layout or new_layout.startswith(old_layout[:-1] + ",")
