"""Load and store an asset's row index inside a commit."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state.blobs import read_blobs
from ao_pipeline.adapters.state.catalog import ROW_INDEX
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles.changes import ChangeSet, hash_rows
from ao_pipeline.bundles.index import DELTA_SHARE, MAX_DELTAS, IndexDelta, RowIndex
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import IntegrityError

MAX_UNREAD_DELTAS = 256
"""Deltas that partial commits may pile up; past that the index is dropped and rebuilt by the next full listing."""

_OF_ASSET: Final = ROW_INDEX.c.asset == sa.bindparam("of_asset")
_STANDS_ON_CHECKPOINT: Final = (
    sa.select(ROW_INDEX.c.is_checkpoint).where(_OF_ASSET).order_by(ROW_INDEX.c.seq).limit(1).scalar_subquery()
)
_ENTRIES: Final = sa.select(ROW_INDEX.c.entries).where(_OF_ASSET, _STANDS_ON_CHECKPOINT).order_by(ROW_INDEX.c.seq)
"""A checkpoint, then deltas in order; nothing when the checkpoint is missing."""
_COUNT: Final = sa.select(sa.func.count()).select_from(ROW_INDEX).where(_OF_ASSET)


def load_index(connection: sa.Connection, tables: TablesIo, spec: TableSpec, head: Head) -> tuple[RowIndex, bool]:
    """Return the index at `head`, and whether it deserves a new checkpoint.

    Raises:
        IntegrityError: Even an index built from the table itself does not add up to the head's state hash.
    """
    kept = _read_stored(connection, spec, head)
    if kept is not None:
        return kept
    index = RowIndex.build(spec, hash_rows(spec, tables.read(connection, spec)))
    if index.state_hash.hex != head.state_hash:
        raise IntegrityError(
            f"{spec.name}: the table does not have the state that {spec.asset} recorded; it was changed outside the store. "
            f"Run `ao verify {spec.asset}`",
            table=spec.name,
        )
    return index, True


def stored_index(connection: sa.Connection, spec: TableSpec, head: Head) -> RowIndex | None:
    """Return the stored index if it is sound and fits the head; never one built from the table."""
    kept = _read_stored(connection, spec, head)
    return None if kept is None else kept[0]


def _read_stored(connection: sa.Connection, spec: TableSpec, head: Head) -> tuple[RowIndex, bool] | None:
    """Put the stored index together, and tell whether it deserves a new checkpoint."""
    stored = read_blobs(connection, _ENTRIES.params(of_asset=spec.asset))
    if not stored:
        return None
    try:
        base = RowIndex.from_bytes(stored[0])
        deltas = [IndexDelta.from_bytes(entries) for entries in stored[1:]]
    except IntegrityError:
        return None
    index = base.apply(deltas)
    if index.state_hash.hex != head.state_hash or len(index) != head.row_count:
        return None
    is_heavy = sum(map(len, deltas)) * DELTA_SHARE > len(base) or len(deltas) > MAX_DELTAS
    return index, bool(deltas) and is_heavy


def store_checkpoint(connection: sa.Connection, spec: TableSpec, *, seq: int, index: RowIndex) -> None:
    """Replace everything stored for the asset by `index`, which stands for the state after bundle `seq`."""
    drop_index(connection, spec)
    _store(connection, spec, seq, len(index), index.to_bytes(), is_checkpoint=True)


def store_delta(connection: sa.Connection, spec: TableSpec, *, seq: int, changes: ChangeSet) -> None:
    """Append one bundle's delta; without a checkpoint to stand on there is nothing to keep."""
    count = connection.execute(_COUNT, {"of_asset": spec.asset}).scalar_one()
    if count == 0:
        return
    if count > MAX_UNREAD_DELTAS:
        drop_index(connection, spec)
        return
    delta = IndexDelta.of(spec, changes)
    _store(connection, spec, seq, len(delta), delta.to_bytes(), is_checkpoint=False)


def drop_index(connection: sa.Connection, spec: TableSpec) -> None:
    """Forget the asset's index; it is rebuilt when needed."""
    connection.execute(ROW_INDEX.delete().where(ROW_INDEX.c.asset == spec.asset))


def _store(
    connection: sa.Connection, spec: TableSpec, seq: int, row_count: int, entries: bytes, *, is_checkpoint: bool
) -> None:
    values = {"asset": spec.asset, "seq": seq, "is_checkpoint": is_checkpoint, "row_count": row_count}
    connection.execute(ROW_INDEX.insert(), {**values, "entries": entries})
