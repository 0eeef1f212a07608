"""Tables, rows and hypothesis strategies that the tests of the engine share."""

from __future__ import annotations

import math
from datetime import UTC, date
from typing import Any, Final

from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import canonical_decimal, canonical_json
from ao_pipeline.bundles.schema import (
    ColumnType,
    TableSpec,
    boolean,
    day,
    decimal,
    floating,
    instant,
    integer,
    json,
    text,
)

Row = dict[str, Any]

EVERY_TYPE: Final = TableSpec(
    asset="proof/every_type",
    key=(text("name"), integer("number")),
    columns=(
        text("note"),
        json("tags"),
        integer("amount_minor"),
        floating("ratio"),
        boolean("is_open"),
        instant("seen_at"),
        day("due_on"),
        decimal("rate"),
    ),
    row="one thing with a value of every column type",
)

TEXTS: Final = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "\\.",
            "\\N",
            '"',
            "'",
            "NULL",
            "\n\\.\n",
            "\r\n",
            "a,b",
            "\ufeffbom",
            "é",
            "e\u0301",
            "😀",
            "مرحبا",
            "\x01\x7f",
        ]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
INTEGERS: Final = st.one_of(st.sampled_from([0, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))
FLOATS: Final = st.one_of(
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1]), st.floats()
)
INSTANTS: Final = st.datetimes(timezones=st.just(UTC))
DAYS: Final = st.dates(date(1, 1, 1), date(9999, 12, 31))
DECIMALS: Final = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20).map(
    canonical_decimal
)
JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
JSONS: Final = JSON_VALUES.map(canonical_json).filter(lambda value: "\0" not in value)

CELLS: Final[dict[ColumnType, st.SearchStrategy[Any]]] = {
    ColumnType.TEXT: TEXTS,
    ColumnType.JSON: JSONS,
    ColumnType.INT: INTEGERS,
    ColumnType.FLOAT: FLOATS,
    ColumnType.BOOL: st.booleans(),
    ColumnType.INSTANT: INSTANTS,
    ColumnType.DATE: DAYS,
    ColumnType.DECIMAL: DECIMALS,
}


def rows_of(spec: TableSpec) -> st.SearchStrategy[Row]:
    """Return a strategy for rows of `spec`; columns outside the key may be NULL."""
    keys = {column.name: CELLS[column.type] for column in spec.key}
    return st.fixed_dictionaries(keys | {column.name: st.none() | CELLS[column.type] for column in spec.columns})


def listings_of(spec: TableSpec, *, max_size: int = 12) -> st.SearchStrategy[list[Row]]:
    """Return a strategy for lists of rows whose keys differ."""
    return st.lists(rows_of(spec), max_size=max_size, unique_by=lambda row: key_of(spec, row))


def key_of(spec: TableSpec, row: Row) -> tuple[Any, ...]:
    """Return a row's key as a tuple."""
    return tuple(row[name] for name in spec.key_names)


def comparable(row: Row) -> tuple[Any, ...]:
    """Return a row as a value that equals another exactly when the two are the same state: NaN is NaN, -0.0 is 0.0."""
    return tuple("NaN" if isinstance(value, float) and math.isnan(value) else value for _, value in sorted(row.items()))


def row(spec: TableSpec, *key: Any, **cells: Any) -> Row:
    """Return a row with this key and these cells; the others are NULL."""
    return dict.fromkeys(spec.column_names) | dict(zip(spec.key_names, key, strict=True)) | cells
