"""Rows of managed tables between Arrow and a database: read, read by key, upsert, delete. Two dialects, one contract."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.bundles.changes import Positions
from ao_pipeline.bundles.schema import TableSpec


@dataclass(frozen=True)
class Found:
    """Stored rows, and where the database keeps each; None where that does not help it."""

    rows: pa.Table
    places: Positions | None = None


class TablesIo(Protocol):
    """What the engine needs of a database; `SqliteIo` and `PostgresIo` pass the same contract suite."""

    def read(self, connection: sa.Connection, spec: TableSpec) -> pa.Table:
        """Return every row, in no particular order."""
        ...

    def read_by_key(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> pa.Table:
        """Return the stored rows whose key is in `keys` (unique); keys that are not stored are left out."""
        ...

    def find(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> Found:
        """Like `read_by_key`, with the rows' places for `write` in the same transaction."""
        ...

    def upsert(self, connection: sa.Connection, spec: TableSpec, rows: pa.Table) -> None:
        """Insert rows, or replace those with the same key."""
        ...

    def write(
        self,
        connection: sa.Connection,
        spec: TableSpec,
        *,
        inserted: pa.Table,
        updated: pa.Table,
        places: Positions | None,
        differing: Collection[str],
    ) -> None:
        """Insert rows that are not stored, and bring stored rows up to date.

        Args:
            connection: The write transaction that found the stored rows.
            spec: The table.
            inserted: Rows to insert.
            updated: Whole rows whose keys are stored.
            places: Where `find` said that they are.
            differing: Columns in which any of `updated` differs from what is stored; only they must be written.
        """
        ...

    def delete(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> None:
        """Delete the rows with these keys."""
        ...


def quoted(name: str) -> str:
    """Return an identifier in quotes; names come from table specs, never from data."""
    return '"' + name.replace('"', '""') + '"'


def column_list(spec: TableSpec, prefix: str = "") -> str:
    """Return the quoted, comma-separated columns in storage order."""
    return ", ".join(prefix + quoted(name) for name in spec.column_names)


def upsert_tail(spec: TableSpec) -> str:
    """Return the `ON CONFLICT` part of an upsert, the same on both databases."""
    keys = ", ".join(quoted(name) for name in spec.key_names)
    if not spec.columns:
        return f"ON CONFLICT ({keys}) DO NOTHING"
    sets = ", ".join(f"{quoted(c.name)} = excluded.{quoted(c.name)}" for c in spec.columns)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {sets}"
