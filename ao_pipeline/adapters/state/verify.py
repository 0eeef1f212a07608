"""Recompute what was recorded: state hash from the table, payload hashes and seals along the chain. Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state import history, index_io
from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import HashedRows, match_positions
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import (
    GENESIS_SEAL,
    ID_LENGTH,
    BundleHeader,
    BundleKind,
    header_from,
    layout_fingerprint,
)
from ao_pipeline.bundles.index import RowIndex
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ContractError, UnknownNameError

PRUNED_THROUGH: Final = "pruned_through_seq"
"""What a retention bundle's stats name the newest bundle that is gone; without it a chain must start at bundle 1."""

BUNDLES_AT_ONCE: Final = 100
"""Bundles in memory while a chain is walked, with their payloads."""

ROWS_NAMED: Final = 5
"""Keys shown of rows that differ; the counts beside them are exact."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the asset, the bundle (empty for the table itself) and what."""

    asset: str
    bundle_id: str
    problem: str


def verify_asset(connection: sa.Connection, tables: TablesIo, spec: TableSpec) -> list[Finding]:
    """Check one asset inside one read transaction, so that live writers neither wait nor disturb."""
    findings, head = verify_chain(connection, spec)
    if head is None:
        if tables.read(connection, spec).num_rows:
            findings.append(Finding(spec.asset, "", f"table {spec.name} has rows, but no bundle ever wrote it"))
        return findings
    rows = payloads.hashed(spec, tables.read(connection, spec))
    actual = StateHash.of(rows.rows).hex
    if actual != head.state_hash:
        problem = f"table {spec.name} hashes to {actual}, the head says {head.state_hash}: rows were changed outside the store"
        findings.append(
            Finding(spec.asset, "", problem + _named(spec, rows, index_io.stored_index(connection, spec, head)))
        )
    if len(rows) != head.row_count:
        findings.append(
            Finding(spec.asset, "", f"table {spec.name} has {len(rows)} rows, the head says {head.row_count}")
        )
    return findings


def _named(spec: TableSpec, rows: HashedRows, index: RowIndex | None) -> str:
    """Say which rows differ, if the row index is sound: it remembers what the table should hold."""
    if index is None:
        return ""
    compared = index.compare(rows.rows)
    differing = compared.differing
    unlisted = np.flatnonzero(~compared.is_listed)
    missing = unlisted[match_positions(index.keys[unlisted], rows.keys) < 0]
    names = list(spec.key_names)
    edited = rows.table.select(names).take(pa.array(differing[:ROWS_NAMED])).to_pylist()
    gone = index.key_rows(missing[:ROWS_NAMED]).to_pylist()
    return f"; {len(differing)} edited or added, like {edited}; {len(missing)} missing, like {gone}"


def verify_chain(connection: sa.Connection, spec: TableSpec) -> tuple[list[Finding], Head | None]:
    """Walk the asset's seals from the oldest kept bundle to the head."""
    head = history.read_head(connection, spec.asset)
    rows = connection.execute(
        sa.select(BUNDLE, BUNDLE_PAYLOAD.c.payload)
        .select_from(BUNDLE.outerjoin(BUNDLE_PAYLOAD, BUNDLE.c.bundle_id == BUNDLE_PAYLOAD.c.bundle_id))
        .where(BUNDLE.c.asset == spec.asset)
        .order_by(BUNDLE.c.seq)
        .execution_options(yield_per=BUNDLES_AT_ONCE)  # PostgreSQL's driver would else hold the whole history.
    )
    findings: list[Finding] = []
    previous: BundleHeader | None = None
    oldest: BundleHeader | None = None
    computed, pruned = "", 0
    for row in rows:
        values = dict(row._mapping)
        header = header_from(values)
        if not _is_sealed(values, header):
            findings.append(
                Finding(
                    spec.asset,
                    str(header.seal)[:ID_LENGTH],
                    f"bundle {header.seq}: its header was changed, the seal does not fit",
                )
            )
            continue
        findings.extend(_check_bundle(values, header, previous))
        previous = header
        computed = max(computed, header.cycle) if header.kind == BundleKind.MATERIALIZE else computed
        pruned = max(pruned, _pruned_through(header))
        oldest = oldest or header
    if oldest is not None and oldest.seq != pruned + 1:
        problem = f"bundle {oldest.seq} is the oldest, but retention took away only those up to {pruned}"
        findings.append(Finding(spec.asset, oldest.bundle_id, problem))
    findings.extend(_check_end(spec.asset, head, previous, computed=computed))
    return findings, head


def _is_sealed(values: dict[str, object], header: BundleHeader) -> bool:
    try:
        return header.computed_seal() == header.seal and values["bundle_id"] == header.bundle_id
    except ContractError:  # A field holds what no header can hold.
        return False


def _check_bundle(values: dict[str, object], header: BundleHeader, previous: BundleHeader | None) -> list[Finding]:
    problems = []
    stored = values["payload"]
    payload = bytes(stored) if isinstance(stored, (bytes, memoryview)) else b""
    if payloads.payload_hash(payload) != header.payload_hash:
        problems.append("its payload is missing or was changed")
    if previous is None:
        if header.seq == 1 and header.parent_seal != GENESIS_SEAL:
            problems.append("it is the first bundle but names a parent")
    elif header.seq != previous.seq + 1:
        problems.append(
            f"it follows bundle {previous.seq}, so {header.seq - previous.seq - 1} bundles are missing before it"
        )
    elif header.parent_seal != previous.seal or header.state_hash_before != previous.state_hash_after:
        problems.append("it does not continue the bundle before it")
    return [
        Finding(header.asset, header.bundle_id, f"bundle {header.seq} ({header.cycle}): {problem}")
        for problem in problems
    ]


def _pruned_through(header: BundleHeader) -> int:
    """Return up to which bundle retention removed the chain, as its own sealed bundle says."""
    if header.kind != BundleKind.RETENTION:
        return 0
    return int(json.loads(header.stats).get(PRUNED_THROUGH, 0))


def _check_end(asset: str, head: Head | None, last: BundleHeader | None, *, computed: str) -> list[Finding]:
    if head is None:
        return [] if last is None else [Finding(asset, last.bundle_id, "there are bundles but no head")]
    if last is None:
        return [Finding(asset, "", f"the head names bundle {head.seq}, but no bundle is stored")]
    ends = (head.seq, head.seal, head.state_hash, head.row_count, head.cursor, layout_fingerprint(head.layout))
    recorded = (last.seq, last.seal, last.state_hash_after, last.row_count_after, last.cursor_after, last.layout)
    findings = []
    if ends != recorded:
        findings.append(
            Finding(
                asset,
                last.bundle_id,
                f"the head names bundle {head.seq}, the last stored one is {last.seq}, or they disagree",
            )
        )
    # Pruning never takes the bundle of the highest cycle, so the two always agree.
    if head.computed_cycle != computed or not _is_cycle(head.computed_cycle):
        findings.append(
            Finding(
                asset,
                last.bundle_id,
                f"the head was computed up to {head.computed_cycle!r}, its bundles up to {computed!r}",
            )
        )
    return findings


def _is_cycle(key: str) -> bool:
    try:
        return not key or bool(Cycle.from_key(key))
    except UnknownNameError:
        return False
