"""Earlier states as pure values: rewind rows, net changes between two states, and say cell by cell what changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import ChangeSet, HashedRows, change_set, match_positions
from ao_pipeline.bundles.hashing import Digests, StateHash, key_digests
from ao_pipeline.bundles.netting import Undo, net_undo
from ao_pipeline.bundles.schema import TableSpec


@dataclass(frozen=True)
class CellChange:
    """One cell before and after; None is NULL, or no row."""

    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class RowChange:
    """One changed row: `+` came, `~` changed, `-` went. `cells` are those that differ or, alone, hold a value."""

    sign: str
    key: dict[str, Any]
    cells: tuple[CellChange, ...]


def rewind(spec: TableSpec, rows: pa.Table, undo: Undo) -> pa.Table:
    """Return `rows` with an undo carried out."""
    touched = np.concatenate([key_digests(spec, undo.restore), key_digests(spec, undo.remove)])
    if not len(touched):
        return rows
    is_kept = match_positions(key_digests(spec, rows), touched) < 0
    return pa.concat_tables([rows.filter(pa.array(is_kept)), undo.restore])


def net_change(spec: TableSpec, newest_first: Sequence[ChangeSet]) -> ChangeSet:
    """Net consecutive bundles into the one change between the state before them and the state after them.

    A row that came and went in between, or changed and changed back, is not in it.
    """
    before = net_undo(spec, newest_first)
    # The newest answer wins when the bundles are read the other way round.
    after = net_undo(spec, [swapped(changes) for changes in reversed(newest_first)])
    return change_set(
        payloads.hashed(spec, before.restore), payloads.hashed(spec, after.restore), key_digests(spec, after.remove)
    )


def swapped(changes: ChangeSet) -> ChangeSet:
    """Return the change that takes `changes` back."""
    return ChangeSet(
        inserted=changes.deleted,
        updated_before=changes.updated_after,
        updated_after=changes.updated_before,
        deleted=changes.inserted,
    )


def state_after(before: str, changes: ChangeSet) -> str:
    """Return the state hash, in hexadecimal, that `changes` lead to from the state with hash `before`."""
    without = StateHash.from_hex(before).minus(changes.updated_before.rows).minus(changes.deleted.rows)
    return without.plus(changes.updated_after.rows).plus(changes.inserted.rows).hex


def sorted_by_key(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """Return rows in the order of their keys, for display."""
    return rows.sort_by([(name, "ascending") for name in spec.key_names])


def changed_rows(spec: TableSpec, changes: ChangeSet, *, limit: int) -> list[RowChange]:
    """Return at most `limit` changed rows: updates, then rows that came, then rows that went, each in key order."""
    rows: list[RowChange] = []
    order = _key_order(spec, changes.updated_after.table)[:limit]
    olds = changes.updated_before.table.take(order).to_pylist()
    news = changes.updated_after.table.take(order).to_pylist()
    for old, new in zip(olds, news, strict=True):
        rows.append(row_change(spec, old, new))
    came = sorted_by_key(spec, changes.inserted.table).slice(0, limit - len(rows)).to_pylist()
    rows += [row_change(spec, None, new) for new in came]
    went = sorted_by_key(spec, changes.deleted.table).slice(0, limit - len(rows)).to_pylist()
    return rows + [row_change(spec, old, None) for old in went]


def row_change(spec: TableSpec, old: dict[str, Any] | None, new: dict[str, Any] | None) -> RowChange:
    """Compare two images of one row cell by cell; None is no row, and one of them is a row."""
    row = new if new is not None else old
    assert row is not None
    before, after = old or {}, new or {}
    cells = (CellChange(c.name, before.get(c.name), after.get(c.name)) for c in spec.columns)
    sign = "~" if old is not None and new is not None else "+" if old is None else "-"
    key = {name: row[name] for name in spec.key_names}
    return RowChange(sign, key, tuple(cell for cell in cells if not is_same(cell.before, cell.after)))


def trace_row(spec: TableSpec, changes: ChangeSet, key: Digests) -> RowChange | None:
    """Return what a bundle did to the row with this key digest (shape (1, 2)), None when it did not touch it."""
    for old, new in (
        (changes.updated_before, changes.updated_after),
        (None, changes.inserted),
        (changes.deleted, None),
    ):
        images = new if new is not None else old
        assert images is not None
        at = np.flatnonzero((images.keys == key).all(axis=1))
        if len(at):
            return row_change(spec, _row(old, int(at[0])), _row(new, int(at[0])))
    return None


def is_same(old: Any, new: Any) -> bool:
    """Tell whether two cells hash the same: NaN equals NaN, 0.0 equals -0.0."""
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old):
        return math.isnan(new)
    return bool(old == new)


def _row(images: HashedRows | None, position: int) -> dict[str, Any] | None:
    return None if images is None else dict(images.table.slice(position, 1).to_pylist()[0])


def _key_order(spec: TableSpec, rows: pa.Table) -> pa.Array:
    return pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in spec.key_names])
