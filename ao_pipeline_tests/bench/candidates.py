"""What is measured beside the peers: our engine, a naive upsert, and the floor that records nothing."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import ColumnType
from ao_pipeline_tests.bench.made_table import SPEC, Batch
from ao_pipeline_tests.stress.histories import FIRST, intent, open_empty

KEY: Final = "thing_id"

NAIVE_TYPES: Final = {
    ColumnType.TEXT: sa.Text(),
    ColumnType.INT: sa.BigInteger(),
    ColumnType.FLOAT: sa.Double(),
    ColumnType.BOOL: sa.Boolean(),
    ColumnType.INSTANT: sa.DateTime(),
}


class Candidate(Protocol):
    """Holds the table and takes one batch after another. What it cannot do raises `NotImplementedError`."""

    def load(self, table: pa.Table) -> None:
        """Store the first state; not measured."""
        ...

    def full(self, batch: Batch) -> None:
        """Take a whole listing: find the changes, record them, apply them."""
        ...

    def partial(self, batch: Batch) -> None:
        """Take only what changed."""
        ...

    def undo(self) -> None:
        """Take the newest batch back."""
        ...

    def stored_bytes(self) -> int:
        """Bytes kept for history so far."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Ours:
    """The engine. Every call begins and commits, as a run does."""

    def __init__(self, url: str) -> None:
        self.store = open_empty(url, SPEC)
        self.number = 0

    def load(self, table: pa.Table) -> None:
        self._commit(Change(table, is_full=True))

    def full(self, batch: Batch) -> None:
        self._commit(Change(batch.listing, is_full=True))

    def partial(self, batch: Batch) -> None:
        self._commit(Change(batch.changed, is_full=False, deleted=batch.deleted))

    def undo(self) -> None:
        self.store.revert(intent(SPEC, FIRST.shift(self.number - 1), f"undo:{self.number}"))

    def stored_bytes(self) -> int:
        return sum(
            bundle.payload_bytes for bundle in self.store.bundles(asset=SPEC.asset, limit=1000) if bundle.seq > 1
        )

    def close(self) -> None:
        self.store.close()

    def _commit(self, change: Change) -> None:
        self.number += 1
        self.store.commit(self.store.begin(intent(SPEC, FIRST.shift(self.number), "bench")), change)


class Floor:
    """Applies known changes in one transaction through the same driver calls, and records nothing at all."""

    def __init__(self, url: str) -> None:
        self.store = open_empty(url, SPEC)

    def load(self, table: pa.Table) -> None:
        self._apply(table, None)

    def full(self, batch: Batch) -> None:
        self._apply(batch.changed, batch.deleted)

    def partial(self, batch: Batch) -> None:
        self._apply(batch.changed, batch.deleted)

    def undo(self) -> None:
        raise NotImplementedError("the floor has no history")

    def stored_bytes(self) -> int:
        return 0

    def close(self) -> None:
        self.store.close()

    def _apply(self, rows: pa.Table, deleted: pa.Table | None) -> None:
        with self.store.database.write() as connection:
            if deleted is not None:
                self.store.tables.delete(connection, SPEC, deleted)
            self.store.tables.upsert(connection, SPEC, rows)


class NaiveCore:
    """Ordinary code: read all rows through SQLAlchemy, compare dictionaries in Python, upsert by executemany, log images.

    Its table has the column types that one would choose, and its transactions are ours: WAL, `synchronous=FULL`.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        metadata = sa.MetaData()
        columns = [sa.Column(c.name, NAIVE_TYPES[c.type], primary_key=c.name == KEY) for c in SPEC.all_columns]
        self.table = sa.Table(SPEC.name, metadata, *columns)
        texts = [sa.Column(name, sa.Text) for name in ("before", "after")]
        self.log = sa.Table("audit", metadata, sa.Column("id", sa.Integer, primary_key=True), *texts)
        metadata.create_all(self.database.engine)

    def load(self, table: pa.Table) -> None:
        with self.database.write() as connection:
            connection.execute(self.table.insert(), self._rows(table))

    def full(self, batch: Batch) -> None:
        wanted = {row[KEY]: row for row in self._rows(batch.listing)}
        with self.database.write() as connection:
            stored = {row[KEY]: dict(row) for row in connection.execute(sa.select(self.table)).mappings()}
            changed = [row for key, row in wanted.items() if stored.get(key) != row]
            self._write(connection, stored, changed, [key for key in stored if key not in wanted])

    def partial(self, batch: Batch) -> None:
        changed, gone = self._rows(batch.changed), batch.deleted.column(KEY).to_pylist()
        keys = [*(row[KEY] for row in changed), *gone]
        with self.database.write() as connection:
            stored = {}
            for start in range(0, len(keys), 500):
                query = sa.select(self.table).where(self.table.c[KEY].in_(keys[start : start + 500]))
                stored |= {row[KEY]: dict(row) for row in connection.execute(query).mappings()}
            self._write(connection, stored, changed, gone)

    def undo(self) -> None:
        raise NotImplementedError("nothing to measure: it would be the same upsert again")

    def stored_bytes(self) -> int:
        size = sa.func.sum(sa.func.length(self.log.c.before) + sa.func.length(self.log.c.after))
        with self.database.read() as connection:
            return int(connection.execute(sa.select(size)).scalar() or 0)

    def close(self) -> None:
        self.database.close()

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._without_zones(table).to_pylist()
        return rows

    @staticmethod
    def _without_zones(table: pa.Table) -> pa.Table:
        for at, column in enumerate(SPEC.all_columns):
            if column.type is ColumnType.INSTANT:  # SQLite's DateTime has no zone.
                table = table.set_column(at, column.name, table.column(column.name).cast(pa.timestamp("us")))
        return table

    def _write(
        self, connection: sa.Connection, stored: dict[str, Any], changed: list[dict[str, Any]], gone: list[str]
    ) -> None:
        upsert = sqlite.insert(self.table)
        upsert = upsert.on_conflict_do_update(
            index_elements=[KEY], set_={c.name: upsert.excluded[c.name] for c in SPEC.columns}
        )
        if changed:
            connection.execute(upsert, changed)
        if gone:
            connection.execute(
                self.table.delete().where(self.table.c[KEY] == sa.bindparam("gone")), [{"gone": key} for key in gone]
            )
        images = [(stored.get(row[KEY]), row) for row in changed] + [(stored.get(key), None) for key in gone]
        if images:
            connection.execute(
                self.log.insert(),
                [
                    {"before": json.dumps(old, default=str), "after": json.dumps(new, default=str)}
                    for old, new in images
                ],
            )


class NaivePandas(NaiveCore):
    """The same with pandas, as it is mostly written: `read_sql`, records, a comparison in Python, and SQLAlchemy's upsert."""

    def full(self, batch: Batch) -> None:
        wanted = {row[KEY]: row for row in self._rows(batch.listing)}
        with self.database.write() as connection:
            stored = {row[KEY]: row for row in _records(pd.read_sql(sa.select(self.table), connection))}
            changed = [row for key, row in wanted.items() if stored.get(key) != row]
            self._write(connection, stored, changed, [key for key in stored if key not in wanted])

    def partial(self, batch: Batch) -> None:
        changed, gone = self._rows(batch.changed), batch.deleted.column(KEY).to_pylist()
        keys = [*(row[KEY] for row in changed), *gone]
        with self.database.write() as connection:
            query = sa.select(self.table).where(self.table.c[KEY].in_(keys))
            stored = {row[KEY]: row for row in _records(pd.read_sql(query, connection))}
            self._write(connection, stored, changed, gone)

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        return _records(self._without_zones(table).to_pandas())


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dictionaries with None for what is missing, for NaN is not equal to itself."""
    records: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return records
