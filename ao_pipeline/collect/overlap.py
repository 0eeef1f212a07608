"""Recognise rows that an overlapping window brings again unchanged, without asking the store.

A watermark lies some minutes before its request, so every collection re-reads those minutes. The cursor remembers a
digest of each row in the overlap; a row that comes again with the same digest is not a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MAX_REMEMBERED: Final = 5_000
"""Rows remembered per cursor. Beyond it rows come again and the store finds them unchanged: slower, not wrong."""


def digest_rows(rows: pa.Table) -> list[str]:
    """Return one digest per row, over every column."""
    columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in rows.columns]
    values = [column.to_pylist() for column in columns]
    return [
        blake2b(repr(row).encode("utf-8", "replace"), digest_size=8).hexdigest() for row in zip(*values, strict=True)
    ]


def row_keys(rows: pa.Table, key: str) -> list[str]:
    """Return the values of a single-column key."""
    keys: list[str] = rows.column(key).to_pylist()
    return keys


def drop_seen(rows: pa.Table, *, key: str, seen: Mapping[str, str]) -> pa.Table:
    """Return the rows whose digest is not the remembered one."""
    if not seen or not rows.num_rows:
        return rows
    digests = digest_rows(rows)
    fresh = [seen.get(name) != digest for name, digest in zip(row_keys(rows, key), digests, strict=True)]
    return rows.filter(pa.array(fresh, pa.bool_()))


def remember(rows: pa.Table, *, key: str, changed_at: str, since: datetime) -> dict[str, str]:
    """Return digests by key of the rows that the next collection will read again.

    Args:
        rows: Everything that was read, before `drop_seen`.
        key: Name of the key column.
        changed_at: Name of the column the upstream filters by.
        since: The next watermark.
    """
    again = rows.filter(
        pc.fill_null(pc.greater_equal(rows.column(changed_at), pa.scalar(since, pa.timestamp("us", "UTC"))), True)
    )
    if again.num_rows > MAX_REMEMBERED:
        return {}
    return dict(zip(row_keys(again, key), digest_rows(again), strict=True))
