"""Change detection inside a commit: a full listing against the row index, a partial change against its own rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    change_set,
    hash_rows,
    match_positions,
    match_sorted,
    refuse_repeats,
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


def hash_listing(spec: TableSpec, change: Change) -> Digests | None:
    """Return the row digests of a full listing, which need no lock; None for a partial change, hashed with its before images.

    Raises:
        ContractError: A full listing has deletions.
    """
    if not change.is_full:
        return None
    if change.deleted is not None and change.deleted.num_rows:
        raise ContractError(f"{spec.name}: a full listing cannot carry deletions as well; leave them out")
    return row_digests(spec, change.rows)


def compare(
    connection: sa.Connection, tables: TablesIo, spec: TableSpec, head: Head, change: Change, listed: Digests | None
) -> Compared:
    """Return what a change really changes; reads the rows that it touches, and the row index for a full listing.

    Raises:
        ContractError: Two rows share a key, or a key is both wanted and deleted.
        IntegrityError: A row that it touches was changed outside the store.
    """
    if listed is not None:
        return _compare_full(connection, tables, spec, head, change.rows, listed)
    gone = conform_keys(spec, change.deleted) if change.deleted is not None else spec.key_schema.empty_table()
    keys = pa.concat_tables([change.rows.select(list(spec.key_names)), gone])
    found = tables.find(connection, spec, keys)
    # In one pass: what a pass costs beside its rows is more than what these rows cost.
    hashed = payloads.hashed(spec, pa.concat_tables([change.rows, found.rows]))
    wanted, stored = hashed.slice(0, change.rows.num_rows), hashed.slice(change.rows.num_rows)
    refuse_repeats(spec, wanted)
    gone_keys = key_digests(spec, gone)
    if (match_positions(gone_keys, wanted.keys) >= 0).any():
        raise ContractError(f"{spec.name}: a key is both wanted and deleted in one change")
    return Compared(change_set(replace(stored, places=found.places), wanted, gone_keys))


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
    found = tables.find(connection, spec, index.key_rows(touched))
    stored = replace(payloads.hashed(spec, found.rows), places=found.places)
    if StateHash.of(stored.rows) != StateHash.of(index.rows[touched]):
        raise IntegrityError(
            f"{spec.name}: rows that this change touches were edited outside the store; run `ao verify {spec.asset}`"
        )
    return Compared(change_set(stored, candidates, index.keys[vanished]), index, wants_checkpoint)
