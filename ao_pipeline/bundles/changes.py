"""What a commit changes: the request (rows, keys gone) and the answer (before and after images of changed rows)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.bundles.hashing import Digests, Flags, key_digests, row_digests, single, validity
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Quarantined:
    """A record that was refused. `payload` is its canonical JSON, bounded by whoever refused it."""

    record_key: str
    reason: str
    payload: str


@dataclass(frozen=True)
class Change:
    """What a writer wants a table to become.

    Attributes:
        rows: A full listing (every row the table shall have) or only rows that are new or may have changed.
        is_full: Whether a stored row that is absent from `rows` shall go.
        deleted: Keys that shall go (partial changes only). Keys that are not stored are no error.
        cursor: The collector's position that belongs to these rows; None keeps the stored one, an empty one clears it.
        quarantined: Refused records, stored in the same transaction.
        stats: Small JSON facts about the run (pages, drift, requests), kept in the bundle header.
    """

    rows: pa.Table
    is_full: bool
    deleted: pa.Table | None = None
    cursor: Mapping[str, Any] | None = None
    quarantined: tuple[Quarantined, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HashedRows:
    """Rows with their key and row hashes, and where the database keeps them if it said so. A key occurs once."""

    table: pa.Table
    keys: Digests
    rows: Digests
    places: Positions | None = None

    def slice(self, start: int, end: int | None = None) -> HashedRows:
        """Return the rows from `start` to before `end`, without a copy."""
        length = None if end is None else end - start
        places = None if self.places is None else self.places[start:end]
        return HashedRows(self.table.slice(start, length), self.keys[start:end], self.rows[start:end], places)

    def take(self, positions: Positions) -> HashedRows:
        """Return the rows at `positions`; without a copy when they follow one another."""
        if len(positions) and _is_run(positions):
            return self.slice(int(positions[0]), int(positions[-1]) + 1)
        places = None if self.places is None else self.places[positions]
        return HashedRows(self.table.take(pa.array(positions)), self.keys[positions], self.rows[positions], places)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class ChangeSet:
    """Exactly the rows that a commit changes.

    Attributes:
        updated_before, updated_after: Old and new images of changed rows, aligned by position.
        inserted, deleted: Rows that came and went.
    """

    inserted: HashedRows
    updated_before: HashedRows
    updated_after: HashedRows
    deleted: HashedRows

    @property
    def count(self) -> int:
        """Number of changed rows."""
        return len(self.inserted) + len(self.updated_after) + len(self.deleted)

    @cached_property
    def differing(self) -> Mapping[str, Flags]:
        """For each column, whether its cell differs in each updated row; NULL equals NULL."""
        before, after = self.updated_before.table, self.updated_after.table
        names = after.column_names
        columns = zip(names, before.columns, after.columns, strict=True)
        return {name: _differs(single(old), single(new)) for name, old, new in columns}


def hash_rows(spec: TableSpec, table: pa.Table, rows: Digests | None = None) -> HashedRows:
    """Hash every row of `table`, or only its keys when the row digests are known.

    Raises:
        ContractError: Two rows have the same key; the message shows it.
    """
    hashed = HashedRows(table, key_digests(spec, table), row_digests(spec, table) if rows is None else rows)
    refuse_repeats(spec, hashed)
    return hashed


def refuse_repeats(spec: TableSpec, hashed: HashedRows) -> None:
    """Raise ContractError when two rows have the same key; the message shows it."""
    order = sort_order(hashed.keys)
    ordered = hashed.keys[order]
    repeats = np.flatnonzero(equal_rows(ordered[1:], ordered[:-1]))
    if len(repeats):
        key = hashed.table.select(list(spec.key_names)).slice(int(order[repeats[0]]), 1).to_pylist()[0]
        raise ContractError(f"{spec.name}: key {key} occurs more than once ({len(repeats)} repeats)", key=key)


def _is_run(positions: Positions) -> bool:
    return bool(positions[-1] - positions[0] == len(positions) - 1 and (np.diff(positions) == 1).all())


def _differs(old: pa.Array, new: pa.Array) -> Flags:
    """Tell per row whether two cells differ; any float that hashes differently counts."""
    equal = pc.equal(old, new)
    if not equal.null_count:
        return ~equal.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    has_old, has_new = validity(old), validity(new)
    same: Flags = pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
    differs: Flags = (has_old != has_new) | (has_old & has_new & ~same)
    return differs


def sort_order(digests: Digests) -> Positions:
    """Return the positions that sort 128-bit digests, high half first."""
    order: Positions = np.argsort(digests[:, 0], kind="stable")
    high = digests[order, 0]
    if len(high) > 1 and bool((high[1:] == high[:-1]).any()):  # Equal 64-bit halves: sort by all 128 bits.
        order = np.lexsort((digests[:, 1], digests[:, 0]))
    return order


def match_positions(sought: Digests, among: Digests) -> Positions:
    """Return for each digest in `sought` its position in `among` (unsorted, unique), or -1.

    A 64-bit hit counts only when all 128 bits agree.
    """
    if not len(among) or not len(sought):
        return np.full(len(sought), -1, dtype=np.int64)
    # Arrow's hash table over the high halves: five times as fast as sorting one side and searching in it.
    high = pc.index_in(pa.array(_high(sought)), value_set=pa.array(_high(among)))
    slots: Positions = pc.fill_null(high, -1).to_numpy().astype(np.int64)
    hit = equal_rows(among.take(slots, axis=0), sought)
    if (~hit & (slots >= 0)).any():  # Colliding 64-bit halves: practically never.
        order = sort_order(among)
        return match_sorted(sought, among[order], order)
    slots[~hit] = -1
    return slots


def equal_rows(one: Digests, other: Digests) -> npt.NDArray[np.bool_]:
    """Tell which digests are equal. By columns: numpy's `all(axis=1)` takes six times as long."""
    same: npt.NDArray[np.bool_] = (one[:, 0] == other[:, 0]) & (one[:, 1] == other[:, 1])
    return same


def _high(digests: Digests) -> Digests:
    return np.ascontiguousarray(digests[:, 0])


def match_sorted(sought: Digests, ordered: Digests, order: Positions | None = None) -> Positions:
    """Like `match_positions` for digests already in `sort_order`; `order` maps back to original positions."""
    if not len(ordered) or not len(sought):
        return np.full(len(sought), -1, dtype=np.int64)
    slots = np.searchsorted(ordered[:, 0], sought[:, 0])
    slots = np.minimum(slots, len(ordered) - 1)
    hit = equal_rows(ordered.take(slots, axis=0), sought)
    half_hit = ~hit & (ordered[slots, 0] == sought[:, 0])
    for position in np.flatnonzero(half_hit):  # Colliding 64-bit halves: walk the run, practically never entered.
        slot = int(slots[position]) + 1
        while slot < len(ordered) and ordered[slot, 0] == sought[position, 0]:
            if ordered[slot, 1] == sought[position, 1]:
                slots[position], hit[position] = slot, True
                break
            slot += 1
    found = slots if order is None else order[slots]
    return np.where(hit, found, -1).astype(np.int64)


def change_set(stored: HashedRows, wanted: HashedRows, gone: Digests) -> ChangeSet:
    """Compare stored rows with wanted ones.

    Args:
        stored: The stored rows whose keys are wanted or gone; others must not be in it.
        wanted: Rows as they shall be.
        gone: Key digests that shall not be there afterwards, also repeated ones; none of them is wanted.

    Returns:
        Only rows that really differ.
    """
    at = match_positions(wanted.keys, stored.keys)
    is_new = at < 0
    differs = np.zeros(len(wanted), dtype=np.bool_)
    if len(stored):
        differs = ~is_new & ~equal_rows(stored.rows[at], wanted.rows)
    going = match_positions(gone, stored.keys)
    return ChangeSet(
        inserted=wanted.take(np.flatnonzero(is_new)),
        updated_before=stored.take(at[differs]),
        updated_after=wanted.take(np.flatnonzero(differs)),
        deleted=stored.take(np.unique(going[going >= 0])),
    )
