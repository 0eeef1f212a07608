"""Change detection inside a commit: a full listing against the row index, a partial change against its own rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state import index_io
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import conform_keys
from ao_pipeline.bundles.changes import (
    Change,
    ChangeSet,
    HashedRows,
    change_set,
    hash_rows,
    match_positions,
    match_sorted,
)
from ao_pipeline.bundles.hashing import Digests, StateHash, key_digests, row_digests
from ao_pipeline.bundles.index import RowIndex
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError, IntegrityError


@dataclass(frozen=True)
class Compared:
    """The outcome of change detection; `index` only after a full listing."""

    changes: ChangeSet
    index: RowIndex | None = None
    wants_checkpoint: bool = False


@dataclass(frozen=True)
class Listed:
    """A change, hashed before the transaction begins: all that needs no lock is done without one.

    A full listing has row digests only; a partial change has whole rows, and the keys that shall go.
    """

    rows: Digests
    wanted: HashedRows | None = None
    gone: pa.Table | None = None
    gone_keys: Digests = field(default_factory=lambda: np.empty((0, 2), dtype=np.uint64))


def hash_change(spec: TableSpec, change: Change) -> Listed:
    """Hash a change.

    Raises:
        ContractError: Two rows share a key, or a key is both wanted and deleted.
    """
    gone = None if change.deleted is None else conform_keys(spec, change.deleted)
    if change.is_full:
        if gone is not None and gone.num_rows:
            raise ContractError(f"{spec.name}: a full listing cannot carry deletions as well; leave them out")
        return Listed(row_digests(spec, change.rows))
    wanted = hash_rows(spec, change.rows)
    if gone is None:
        return Listed(wanted.rows, wanted)
    gone_keys = key_digests(spec, gone)
    if (match_positions(gone_keys, wanted.keys) >= 0).any():
        raise ContractError(f"{spec.name}: a key is both wanted and deleted in one change")
    return Listed(wanted.rows, wanted, gone, gone_keys)


def compare(
    connection: sa.Connection, tables: TablesIo, spec: TableSpec, head: Head, change: Change, listed: Listed
) -> Compared:
    """Return what a change really changes; reads the rows that it touches, and the row index for a full listing."""
    if listed.wanted is None:
        return _compare_full(connection, tables, spec, head, change.rows, listed.rows)
    keys = change.rows.select(list(spec.key_names))
    if listed.gone is not None and listed.gone.num_rows:
        keys = pa.concat_tables([keys, listed.gone])
    stored = payloads.hashed(spec, tables.read_by_key(connection, spec, keys))
    return Compared(change_set(stored, listed.wanted, listed.gone_keys))


def _compare_full(
    connection: sa.Connection, tables: TablesIo, spec: TableSpec, head: Head, rows: pa.Table, digests: Digests
) -> Compared:
    index, wants_checkpoint = index_io.load_index(connection, tables, spec, head)
    compared = index.compare(digests)
    candidates = hash_rows(spec, rows.take(pa.array(compared.differing)), digests[compared.differing])
    known = match_sorted(candidates.keys, index.keys)
    if compared.is_listed[known[known >= 0]].any() or rows.num_rows != len(candidates) + int(compared.is_listed.sum()):
        hash_rows(spec, rows)  # Some key is listed twice: this finds and names it.
    is_gone = ~compared.is_listed
    is_gone[known[known >= 0]] = False
    vanished = np.flatnonzero(is_gone)
    touched = np.concatenate([known[known >= 0], vanished])
    stored = payloads.hashed(spec, tables.read_by_key(connection, spec, index.key_rows(touched)))
    if StateHash.of(stored.rows) != StateHash.of(index.rows[touched]):
        raise IntegrityError(
            f"{spec.name}: rows that this change touches were edited outside the store; run `ao verify {spec.asset}`"
        )
    return Compared(change_set(stored, candidates, index.keys[vanished]), index, wants_checkpoint)
