"""The table that every candidate of a benchmark gets: a text key, 20 columns, a 500-byte note, NULLs, and its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec, boolean, floating, instant, integer, text

KINDS: Final = (text, integer, floating, boolean, instant)
NOTE_BYTES: Final = 500
START_US: Final = 1_700_000_000_000_000

SPEC: Final = TableSpec(
    asset="bench/things",
    key=(text("thing_id"),),
    columns=(*(KINDS[n % len(KINDS)](f"c{n:02d}") for n in range(19)), text("note")),
    row="one thing",
)


@dataclass(frozen=True)
class Batch:
    """One round's change: the whole listing after it, or only what changed."""

    listing: pa.Table
    changed: pa.Table
    deleted: pa.Table


def make_table(rows: int, seed: int) -> pa.Table:
    """Return `rows` random rows."""
    return _rows(np.arange(rows), np.random.default_rng(seed))


def make_batch(table: pa.Table, *, updates: int, inserts: int, deletes: int, seed: int) -> Batch:
    """Change a table: some rows in a few columns, some new, some gone, the listing in another order."""
    rng = np.random.default_rng(seed)
    touched = rng.choice(table.num_rows, size=updates + deletes, replace=False)
    updated, deleted = table.take(pa.array(touched[:updates])), table.take(pa.array(touched[updates:]))
    fresh = _rows(rng.choice(table.num_rows, size=updates, replace=False), rng)
    for name in ("c00", "c01", "c02", "note"):
        at = updated.column_names.index(name)
        updated = updated.set_column(at, name, fresh.column(name))
    inserted = _rows(np.arange(inserts) + seed * 10_000_000 + 1_000_000_000, rng)
    is_kept = np.ones(table.num_rows, dtype=np.bool_)
    is_kept[touched] = False
    changed = pa.concat_tables([updated, inserted]).combine_chunks()
    listing = pa.concat_tables([table.filter(pa.array(is_kept)), changed]).combine_chunks()
    return Batch(listing, changed, deleted.select(["thing_id"]).combine_chunks())


def _rows(numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rng: np.random.Generator) -> pa.Table:
    columns = [_joined(pa.scalar("thing-", pa.large_string()), pa.array(numbers).cast(pa.large_string()))]
    columns += [_column(column, len(numbers), rng) for column in SPEC.columns[:-1]]
    pool = pa.array([rng.bytes(NOTE_BYTES // 2).hex() for _ in range(257)], pa.large_string())
    tail = pa.array(rng.integers(0, 10**6, len(numbers))).cast(pa.large_string())
    columns.append(_joined(pool.take(pa.array(rng.integers(0, 257, len(numbers)))), tail))
    return pa.table(columns, schema=SPEC.arrow_schema)


def _column(column: Column, rows: int, rng: np.random.Generator) -> pa.Array:
    is_null = rng.random(rows) < 0.1
    numbers = rng.integers(0, 10**6, rows)
    match column.type:
        case ColumnType.TEXT:
            values = _joined(pa.scalar("value ", pa.large_string()), pa.array(numbers).cast(pa.large_string()))
            return pc.if_else(pa.array(is_null), None, values)
        case ColumnType.INT:
            return pa.array(numbers, mask=is_null)
        case ColumnType.FLOAT:
            return pa.array(rng.random(rows), mask=is_null)
        case ColumnType.BOOL:
            return pa.array(numbers % 2 == 0, mask=is_null)
        case _:
            return pa.array(numbers + START_US, pa.int64(), mask=is_null).cast(pa.timestamp("us", tz="UTC"))


def _joined(*parts: pa.Array | pa.Scalar) -> pa.Array:
    return pc.binary_join_element_wise(*parts, pa.scalar("", pa.large_string()))
