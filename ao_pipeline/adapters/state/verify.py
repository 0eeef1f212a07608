"""Recompute what was recorded: state hash from the table, payload hashes and seals along the chain. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import GENESIS_SEAL, ID_LENGTH, BundleHeader, header_from
from ao_pipeline.bundles.schema import TableSpec


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
        findings.append(
            Finding(spec.asset, "", f"table {spec.name} hashes to {actual}, the head says {head.state_hash}: rows were changed outside the store")
        )
    if len(rows) != head.row_count:
        findings.append(Finding(spec.asset, "", f"table {spec.name} has {len(rows)} rows, the head says {head.row_count}"))
    return findings


def verify_chain(connection: sa.Connection, spec: TableSpec) -> tuple[list[Finding], Head | None]:
    """Walk the asset's seals from the oldest kept bundle to the head."""
    head = history.read_head(connection, spec.asset)
    rows = connection.execute(
        sa.select(BUNDLE, BUNDLE_PAYLOAD.c.payload)
        .select_from(BUNDLE.outerjoin(BUNDLE_PAYLOAD, BUNDLE.c.bundle_id == BUNDLE_PAYLOAD.c.bundle_id))
        .where(BUNDLE.c.asset == spec.asset)
        .order_by(BUNDLE.c.seq)
    )
    findings: list[Finding] = []
    previous: BundleHeader | None = None
    for row in rows:
        values = dict(row._mapping)
        header = header_from(values)
        findings.extend(_check_bundle(values, header, previous))
        previous = header
    findings.extend(_check_end(spec.asset, head, previous))
    return findings, head


def _check_bundle(values: dict[str, object], header: BundleHeader, previous: BundleHeader | None) -> list[Finding]:
    problems = []
    if header.computed_seal() != header.seal or values["bundle_id"] != header.seal[:ID_LENGTH]:
        problems.append("its header was changed: the seal does not fit")
    stored = values["payload"]
    payload = bytes(stored) if isinstance(stored, (bytes, memoryview)) else b""
    if payloads.payload_hash(payload) != header.payload_hash:
        problems.append("its payload is missing or was changed")
    if previous is None:
        if header.seq == 1 and header.parent_seal != GENESIS_SEAL:
            problems.append("it is the first bundle but names a parent")
    elif header.seq != previous.seq + 1:
        problems.append(f"it follows bundle {previous.seq}, so {header.seq - previous.seq - 1} bundles are missing before it")
    elif header.parent_seal != previous.seal or header.state_hash_before != previous.state_hash_after:
        problems.append("it does not continue the bundle before it")
    return [Finding(header.asset, header.bundle_id, f"bundle {header.seq} ({header.cycle}): {problem}") for problem in problems]


def _check_end(asset: str, head: Head | None, last: BundleHeader | None) -> list[Finding]:
    if head is None:
        return [] if last is None else [Finding(asset, last.bundle_id, "there are bundles but no head")]
    if last is None:
        return [Finding(asset, "", f"the head names bundle {head.seq}, but no bundle is stored")]
    ends = (head.seq, head.seal, head.state_hash, head.row_count, head.cursor)
    if ends != (last.seq, last.seal, last.state_hash_after, last.row_count_after, last.cursor_after):
        return [Finding(asset, last.bundle_id, f"the head names bundle {head.seq}, the last stored one is {last.seq}, or they disagree")]
    return []
