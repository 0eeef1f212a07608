"""Managed tables on PostgreSQL, through COPY both ways."""

# ruff: noqa: S608 - identifiers come from table specs and are quoted; values are bound or copied, never spliced in.
from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as csv
import sqlalchemy as sa

from ao_pipeline.adapters.state.tables_io import Found, column_list, quoted, upsert_tail
from ao_pipeline.bundles.changes import Positions
from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec

_COPIED_TYPES = {
    ColumnType.TEXT: pa.large_string(),
    ColumnType.JSON: pa.large_string(),
    ColumnType.DECIMAL: pa.large_string(),
    ColumnType.INT: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INSTANT: pa.int64(),  # Selected as microseconds: exact, and cheaper to parse than text.
    ColumnType.DATE: pa.date32(),
}

_NAME_BYTES: Final = 63
"""Longest identifier that PostgreSQL keeps; the part that tells two staging tables apart comes first."""

_BLOCK_BYTES: Final = 256 << 20
"""CSV parser block: a row must fit into two of them, and memory stays bounded."""


class PostgresIo:
    """See `TablesIo`."""

    def read(self, connection: sa.Connection, spec: TableSpec) -> pa.Table:
        return _copy_out(connection, spec, f"SELECT {_selected(spec)} FROM {quoted(spec.name)} AS t")

    def read_by_key(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> pa.Table:
        if not keys.num_rows:
            return spec.empty()
        stage = _stage(connection, spec, spec.key, keys, suffix="keys")
        return _copy_out(
            connection,
            spec,
            f"SELECT {_selected(spec)} FROM {quoted(spec.name)} AS t JOIN {stage} AS k USING ({_keys(spec)})",
        )

    def find(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> Found:
        return Found(self.read_by_key(connection, spec, keys))

    def upsert(self, connection: sa.Connection, spec: TableSpec, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        stage = _stage(connection, spec, spec.all_columns, rows, suffix="rows")
        connection.exec_driver_sql(
            f"INSERT INTO {quoted(spec.name)} ({column_list(spec)}) SELECT {column_list(spec)} FROM {stage} {upsert_tail(spec)}"
        )

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
        # One copy of whole rows is faster than two: of new rows, and of the columns that differ.
        self.upsert(connection, spec, pa.concat_tables([inserted, updated]))

    def delete(self, connection: sa.Connection, spec: TableSpec, keys: pa.Table) -> None:
        if not keys.num_rows:
            return
        stage = _stage(connection, spec, spec.key, keys, suffix="keys")
        joined = " AND ".join(f"t.{quoted(name)} = k.{quoted(name)}" for name in spec.key_names)
        connection.exec_driver_sql(f"DELETE FROM {quoted(spec.name)} AS t USING {stage} AS k WHERE {joined}")


def _keys(spec: TableSpec) -> str:
    return ", ".join(quoted(name) for name in spec.key_names)


def _selected(spec: TableSpec) -> str:
    parts = []
    for column in spec.all_columns:
        name = "t." + quoted(column.name)
        parts.append(f"(extract(epoch FROM {name}) * 1000000)::bigint" if column.type is ColumnType.INSTANT else name)
    return ", ".join(parts)


def _stage(
    connection: sa.Connection, spec: TableSpec, columns: tuple[Column, ...], rows: pa.Table, *, suffix: str
) -> str:
    """Copy rows into this session's staging table and return its quoted name; it is empty again after the transaction."""
    stage = quoted(f"ao_{suffix}_{spec.name}"[:_NAME_BYTES])
    names = ", ".join(quoted(column.name) for column in columns)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DROP AS SELECT {names} FROM {quoted(spec.name)} WITH NO DATA"
    )
    connection.exec_driver_sql(f"TRUNCATE {stage}")
    sink = io.BytesIO()
    # combine_chunks first: pyarrow 26 writes uninitialized bytes for a table that has an empty chunk.
    csv.write_csv(
        _without_zones(rows.select([column.name for column in columns]).combine_chunks()),
        sink,
        csv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    sink.seek(0)
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {stage} ({names}) FROM STDIN (FORMAT csv)", sink)
    return stage


def _without_zones(rows: pa.Table) -> pa.Table:
    """Return instants as clock times of UTC, which is the session's zone: Arrow writes them twenty times as fast."""
    naive = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    return rows.cast(pa.schema(naive))


def _copy_out(connection: sa.Connection, spec: TableSpec, query: str) -> pa.Table:
    sink = io.BytesIO()
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", sink)
    sink.seek(0)
    table = csv.read_csv(
        sink,
        # The header line is skipped: without it a text that starts with a byte order mark would lose it as the first bytes.
        read_options=csv.ReadOptions(
            column_names=list(spec.column_names), skip_rows=1, block_size=min(sink.getbuffer().nbytes + 1, _BLOCK_BYTES)
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={c.name: _COPIED_TYPES[c.type] for c in spec.all_columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return pa.table(
        [table.column(field.name).cast(field.type) for field in spec.arrow_schema], schema=spec.arrow_schema
    )


def _cursor(connection: sa.Connection) -> Any:
    return connection.connection.cursor()
