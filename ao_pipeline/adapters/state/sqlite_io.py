"""Managed tables on SQLite, through the driver's own executemany."""

# ruff: noqa: S608 - identifiers come from table specs and are quoted; values are bound or copied, never spliced in.
from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state.tables_io import Found, column_list, quoted, upsert_tail
from ao_pipeline.bundles.changes import Positions
from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec

_NAN: Final = "NaN"
"""SQLite turns a bound NaN into NULL; as text it survives, even in a REAL column."""

FETCH_ROWS: Final = 50_000


class SqliteIo:
    """See `TablesIo`."""

    def read(self, connection: sa.Connection, spec: TableSpec) -> pa.Table:
        result = connection.exec_driver_sql(f"SELECT {column_list(spec)} FROM {quoted(spec.name)}")
        parts = [_to_arrow(spec, part) for part in result.partitions(FETCH_ROWS)]
        return pa.concat_tables(parts) if parts else spec.empty()

    def read_by_key(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> pa.Table:
        return self.find(connection, spec, keys).rows

    def find(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> Found:
        if not keys.num_rows:
            return Found(spec.empty())
        columns = [_to_driver(column, keys.column(column.name)) for column in spec.key]
        if len(columns) == 1:
            sought, join = json.dumps(columns[0], ensure_ascii=False), f"t.{quoted(spec.key_names[0])} = j.value"
        else:
            sought = json.dumps(list(zip(*columns, strict=True)), ensure_ascii=False)
            join = " AND ".join(f"t.{quoted(name)} = (j.value ->> {i})" for i, name in enumerate(spec.key_names))
        # CROSS JOIN fixes the order: walk the keys, look each up in the table's key index.
        statement = f"SELECT {column_list(spec, 't.')}, t.rowid FROM json_each(?) AS j CROSS JOIN {quoted(spec.name)} AS t WHERE {join}"
        # The driver's own tuples: wrapping them into SQLAlchemy rows costs a tenth of a partial commit's reading.
        driver = connection.exec_driver_sql(statement, (sought,)).cursor
        rows = driver.fetchall() if driver is not None else []
        return Found(_to_arrow(spec, rows), np.array([row[-1] for row in rows], dtype=np.int64))

    def upsert(self, connection: sa.Connection, spec: TableSpec, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        marks = ", ".join("?" * len(spec.all_columns))
        statement = f"INSERT INTO {quoted(spec.name)} ({column_list(spec)}) VALUES ({marks}) {upsert_tail(spec)}"
        _execute_many(connection, statement, _tuples(spec.all_columns, rows))

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
        self.upsert(connection, spec, inserted)
        columns = [column for column in spec.columns if column.name in differing]
        if updated.num_rows and columns and places is not None:
            # Half the time of an upsert of whole rows, which binds every column, seeks the key and then the row.
            sets = ", ".join(f"{quoted(column.name)} = ?" for column in columns)
            values = [_to_driver(column, updated.column(column.name)) for column in columns]
            _execute_many(
                connection,
                f"UPDATE {quoted(spec.name)} SET {sets} WHERE rowid = ?",
                zip(*values, places.tolist(), strict=True),
            )

    def delete(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> None:
        if not keys.num_rows:
            return
        condition = " AND ".join(f"{quoted(name)} = ?" for name in spec.key_names)
        _execute_many(connection, f"DELETE FROM {quoted(spec.name)} WHERE {condition}", _tuples(spec.key, keys))


def _execute_many(connection: sa.Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    connection.exec_driver_sql(statement, list(rows))


def _tuples(columns: Sequence[Column], rows: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(_to_driver(column, rows.column(column.name)) for column in columns), strict=True)


def _to_driver(column: Column, values: pa.ChunkedArray) -> list[Any]:
    match column.type:
        case ColumnType.TEXT | ColumnType.JSON | ColumnType.DECIMAL:
            return values.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
        case ColumnType.BOOL:
            values = values.cast(pa.int8())
        case ColumnType.INSTANT:
            values = values.cast(pa.int64())
        case ColumnType.DATE:
            values = values.cast(pa.string())
        case ColumnType.FLOAT:
            return [_NAN if value is not None and math.isnan(value) else value for value in values.to_pylist()]
    if values.null_count == 0 and column.type is not ColumnType.DATE:
        return list(values.to_numpy().tolist())
    return list(values.to_pylist())


def _to_arrow(spec: TableSpec, rows: Sequence[Any]) -> pa.Table:
    if not rows:
        return spec.empty()
    columns = zip(*rows, strict=True)
    arrays = [_from_driver(column, values) for column, values in zip(spec.all_columns, columns, strict=False)]
    return pa.table(arrays, schema=spec.arrow_schema)


def _from_driver(column: Column, values: Sequence[Any]) -> pa.Array:
    match column.type:
        case ColumnType.BOOL:
            return pa.array(values, pa.int8()).cast(pa.bool_())
        case ColumnType.INSTANT:
            return pa.array(values, pa.int64()).view(pa.timestamp("us", tz="UTC"))
        case ColumnType.DATE:
            return pa.array(values, pa.string()).cast(pa.date32())
        case ColumnType.FLOAT:
            try:
                return pa.array(values, pa.float64())
            except (pa.ArrowInvalid, pa.ArrowTypeError):  # There is a NaN among them.
                return pa.array([math.nan if value == _NAN else value for value in values], pa.float64())
        case ColumnType.INT:
            return pa.array(values, pa.int64())
        case _:
            return pa.array(values, pa.large_string())
