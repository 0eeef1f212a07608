"""The row index: every stored row's key, key hash and row hash, so that a full listing is compared without reading the table.

It is a cache. The sum of its row hashes must equal the head's state hash; if not, it is rebuilt from the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import xxhash

from ao_pipeline.bundles.changes import (
    ChangeSet,
    HashedRows,
    Positions,
    equal_rows,
    match_positions,
    match_sorted,
    sort_order,
)
from ao_pipeline.bundles.hashing import Digests, StateHash
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import IntegrityError

_KEY_DIGEST: Final = "ao_key_digest"
_ROW_DIGEST: Final = "ao_row_digest"

_CHECKSUM_BYTES: Final = 16
"""Before each blob: a damaged key or key hash would not show in the sum of the row hashes."""

MAX_DELTAS: Final = 64
"""Deltas read on top of a checkpoint before the next one; each costs one small read."""

DELTA_SHARE: Final = 8
"""A checkpoint is written when deltas hold more than one row in this many; bounds reading to 1 + 1/8 of the index."""


@dataclass(frozen=True)
class Comparison:
    """A full listing against the index.

    Attributes:
        differing: Positions in the listing of rows that are new or differ.
        is_listed: Per index entry, whether the listing has exactly this row.
    """

    differing: Positions
    is_listed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RowIndex:
    """Index entries in `sort_order` of their key digests.

    Attributes:
        keys, rows: Key and row digests of each entry.
        key_table: Key columns, in any order; `key_at` says where each entry's key is. Few are ever looked at.
    """

    keys: Digests
    rows: Digests
    key_table: pa.Table
    key_at: Positions

    @classmethod
    def build(cls, spec: TableSpec, hashed: HashedRows) -> RowIndex:
        """Build the index of these rows."""
        order = sort_order(hashed.keys)
        return cls(hashed.keys[order], hashed.rows[order], hashed.table.select(list(spec.key_names)), order)

    @property
    def state_hash(self) -> StateHash:
        """The state hash that the table must have if this index is right."""
        return StateHash.of(self.rows)

    def __len__(self) -> int:
        return len(self.keys)

    def key_rows(self, entries: Positions) -> pa.Table:
        """Return the key columns of these entries."""
        return self.key_table.take(pa.array(self.key_at[entries]))

    def compare(self, listing: Digests) -> Comparison:
        """Compare by row digests alone: what is equal needs no key, and what is not is little."""
        at = match_positions(listing, self.rows)
        is_listed = np.zeros(len(self), dtype=np.bool_)
        is_listed[at[at >= 0]] = True
        return Comparison(np.flatnonzero(at < 0), is_listed)

    def apply(self, deltas: Sequence[IndexDelta]) -> RowIndex:
        """Return the index after `deltas`, oldest first."""
        if not deltas:
            return self
        delta = _newest(deltas)
        at = match_sorted(delta.keys, self.keys)
        is_known = at >= 0
        is_update = is_known & delta.is_live
        rows = np.concatenate([self.rows, delta.rows])
        rows[at[is_update]] = delta.rows[is_update]
        keys = np.concatenate([self.keys, delta.keys])
        # Which entry of base and delta stands at each place: one list of positions is edited, then taken once.
        source = np.delete(np.arange(len(self)), at[is_known & ~delta.is_live])
        new = np.flatnonzero(~is_known & delta.is_live)
        source = np.insert(source, np.searchsorted(self.keys[source, 0], delta.keys[new, 0]), new + len(self))
        high = keys[source, 0]
        if (high[1:] == high[:-1]).any():  # Equal 64-bit halves: their order hangs on the other half.
            source = source[sort_order(keys[source])]
        key_table = pa.concat_tables([self.key_table, delta.key_table])
        key_at = np.concatenate([self.key_at, np.arange(len(delta)) + self.key_table.num_rows])
        return RowIndex(keys.take(source, axis=0), rows.take(source, axis=0), key_table, key_at[source])

    def to_bytes(self) -> bytes:
        """Serialize as an Arrow IPC stream; uncompressed, because hashes do not compress."""
        return _write(self.key_rows(np.arange(len(self))), self.keys, self.rows, None)

    @classmethod
    def from_bytes(cls, blob: bytes | memoryview) -> RowIndex:
        """Read what `to_bytes` wrote.

        Raises:
            IntegrityError: The bytes are not what was written.
        """
        key_table, keys, rows, _ = _read(blob)
        return cls(keys, rows, key_table, np.arange(len(keys)))


@dataclass(frozen=True)
class IndexDelta:
    """What one bundle does to the index; `is_live` is False for keys that went."""

    key_table: pa.Table
    keys: Digests
    rows: Digests
    is_live: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, spec: TableSpec, changes: ChangeSet) -> IndexDelta:
        """Return the delta of one commit."""
        parts = (changes.inserted, changes.updated_after, changes.deleted)
        names = list(spec.key_names)
        is_live = np.ones(changes.count, dtype=np.bool_)
        is_live[changes.count - len(changes.deleted) :] = False
        return cls(
            pa.concat_tables([part.table.select(names) for part in parts]),
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.rows for part in parts]),
            is_live,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def to_bytes(self) -> bytes:
        """Serialize as an Arrow IPC stream."""
        return _write(self.key_table, self.keys, self.rows, self.is_live)

    @classmethod
    def from_bytes(cls, blob: bytes | memoryview) -> IndexDelta:
        """Read what `to_bytes` wrote.

        Raises:
            IntegrityError: The bytes are not what was written.
        """
        key_table, keys, rows, is_live = _read(blob)
        return cls(key_table, keys, rows, is_live)


def _newest(deltas: Sequence[IndexDelta]) -> IndexDelta:
    """Return the last word of `deltas`, oldest first, on each key, in `sort_order`."""
    keys = np.concatenate([delta.keys for delta in deltas])
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    is_newest = np.ones(len(order), dtype=np.bool_)
    is_newest[:-1] = ~equal_rows(ordered[1:], ordered[:-1])
    kept = order[is_newest]
    return IndexDelta(
        pa.concat_tables([delta.key_table for delta in deltas]).take(pa.array(kept)),
        keys[kept],
        np.concatenate([delta.rows for delta in deltas])[kept],
        np.concatenate([delta.is_live for delta in deltas])[kept],
    )


def _write(key_table: pa.Table, keys: Digests, rows: Digests, is_live: npt.NDArray[np.bool_] | None) -> bytes:
    columns = key_table.append_column(_KEY_DIGEST, _to_binary(keys)).append_column(_ROW_DIGEST, _to_binary(rows))
    if is_live is not None:
        columns = columns.append_column("ao_is_live", pa.array(is_live))
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns.combine_chunks())
    body = sink.getvalue().to_pybytes()
    blob: bytes = xxhash.xxh3_128_digest(body) + body
    return blob


def _read(blob: bytes | memoryview) -> tuple[pa.Table, Digests, Digests, npt.NDArray[np.bool_]]:
    body = memoryview(blob)[_CHECKSUM_BYTES:]
    if xxhash.xxh3_128_digest(body) != bytes(memoryview(blob)[:_CHECKSUM_BYTES]):
        raise IntegrityError("a stored row index is damaged; it is rebuilt from the table")
    with ipc.open_stream(pa.py_buffer(body)) as reader:
        table = reader.read_all()
    names = [name for name in table.column_names if not name.startswith("ao_")]
    is_live = np.ones(table.num_rows, dtype=np.bool_)
    if "ao_is_live" in table.column_names:
        is_live = table.column("ao_is_live").to_numpy()
    return table.select(names), _from_binary(table, _KEY_DIGEST), _from_binary(table, _ROW_DIGEST), is_live


def _to_binary(digests: Digests) -> pa.FixedSizeBinaryArray:
    data = np.ascontiguousarray(digests.astype("<u8", copy=False))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(digests), [None, pa.py_buffer(data)])


def _from_binary(table: pa.Table, name: str) -> Digests:
    column = table.column(name)
    if not len(column):
        return np.empty((0, 2), dtype=np.uint64)
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    flat = np.frombuffer(array.buffers()[1], dtype="<u8", count=2 * len(array), offset=16 * array.offset)
    return flat.astype(np.uint64, copy=False).reshape(-1, 2)
