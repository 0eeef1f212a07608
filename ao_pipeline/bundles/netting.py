"""Take back a run of bundles at once: which rows must return and which must go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ao_pipeline.bundles.changes import ChangeSet, HashedRows, match_positions
from ao_pipeline.bundles.hashing import Digests
from ao_pipeline.bundles.schema import TableSpec


@dataclass(frozen=True)
class Undo:
    """Rows to put back as they were, and keys of rows that did not exist."""

    restore: pa.Table
    remove: pa.Table


def net_undo(spec: TableSpec, newest_first: Iterable[ChangeSet]) -> Undo:
    """Net the inverse of consecutive bundles.

    The oldest bundle that touched a row says how it was before all of them, so older answers replace newer ones.

    Args:
        spec: The table.
        newest_first: Change sets of consecutive bundles, the newest first.
    """
    state = _Netted(spec)
    for changes in newest_first:
        state.answer(changes.inserted, exists=False)
        state.answer(changes.updated_before, exists=True)
        state.answer(changes.deleted, exists=True)
    return state.result()


class _Netted:
    """Accumulates answers; the last one for a key wins."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._tables: list[pa.Table] = []
        self._keys: list[Digests] = []
        self._exists: list[np.ndarray[tuple[int, ...], np.dtype[np.bool_]]] = []

    def answer(self, rows: HashedRows, *, exists: bool) -> None:
        if not len(rows):
            return
        self._tables.append(rows.table)
        self._keys.append(rows.keys)
        self._exists.append(np.full(len(rows), exists))

    def result(self) -> Undo:
        names = list(self._spec.key_names)
        if not self._tables:
            return Undo(self._spec.empty(), self._spec.empty().select(names))
        keys = np.concatenate(self._keys)
        exists = np.concatenate(self._exists)
        order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
        ordered = keys[order]
        is_last = np.ones(len(order), dtype=np.bool_)
        is_last[:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
        kept = np.sort(order[is_last])
        table = pa.concat_tables(self._tables)
        restore = table.take(pa.array(kept[exists[kept]]))
        remove = table.select(names).take(pa.array(kept[~exists[kept]]))
        return Undo(restore, remove)


@dataclass(frozen=True)
class Inverse:
    """Inverse of one bundle out of the middle, split by whether the rows are still as it left them."""

    undo: Undo
    conflicts: pa.Table


def invert_one(spec: TableSpec, changes: ChangeSet, current: HashedRows) -> Inverse:
    """Invert one bundle's rows where nothing has touched them since.

    Args:
        spec: The table.
        changes: The bundle's rows, possibly filtered.
        current: The stored rows with the keys of `changes`.

    Returns:
        What to put back and remove, and the keys of rows that changed since: conflicts, to be left alone.
    """
    names = list(spec.key_names)

    def untouched(left: HashedRows) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        at = match_positions(left.keys, current.keys)
        same = np.zeros(len(left), dtype=np.bool_)
        same[at >= 0] = (current.rows[at[at >= 0]] == left.rows[at >= 0]).all(axis=1)
        return same

    inserted_ok = untouched(changes.inserted)
    updated_ok = untouched(changes.updated_after)
    deleted_ok = match_positions(changes.deleted.keys, current.keys) < 0
    restore = pa.concat_tables(
        [
            changes.updated_before.take(np.flatnonzero(updated_ok)).table,
            changes.deleted.take(np.flatnonzero(deleted_ok)).table,
        ]
    )
    remove = changes.inserted.take(np.flatnonzero(inserted_ok)).table.select(names)
    conflicts = pa.concat_tables(
        [
            changes.inserted.take(np.flatnonzero(~inserted_ok)).table.select(names),
            changes.updated_after.take(np.flatnonzero(~updated_ok)).table.select(names),
            changes.deleted.take(np.flatnonzero(~deleted_ok)).table.select(names),
        ]
    )
    return Inverse(Undo(restore, remove), conflicts)
