"""Bring rows of any origin into a table's exact Arrow shape, or say which value of which row cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec
from ao_pipeline.errors import ContractError

RowSource: TypeAlias = pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]]


MAX_DECIMAL_DIGITS: Final = 1_000
"""Longest decimal taken: `1E+999999999` is eleven characters, and a gigabyte once written out."""

_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
"""Days 0001-01-01 and 9999-12-31: what every database, library and human can write."""

_DAY_MICROS: Final = 86_400_000_000


def canonical_json(value: Any) -> str:
    """Return the one text form of a JSON value: sorted keys, no spaces, UTF-8 left as it is, no NaN.

    Raises:
        ContractError: The value cannot be JSON.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractError(f"not a JSON value: {error}") from error


def canonical_decimal(value: Decimal | str | int) -> str:
    """Return the one text form of an exact decimal: no exponent, no trailing zeros, no minus zero.

    Raises:
        ContractError: Not a finite decimal number.
    """
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError) as error:
        raise ContractError(f"{value!r} is not a decimal number") from error
    if not number.is_finite():
        raise ContractError(f"{value!r} is not a finite decimal number")
    if len(number.as_tuple().digits) + abs(number.adjusted()) > MAX_DECIMAL_DIGITS:
        raise ContractError(f"a decimal has more than {MAX_DECIMAL_DIGITS} digits")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def conform(spec: TableSpec, data: RowSource) -> pa.Table:
    """Return `data` with exactly the columns and Arrow types of `spec`, in storage order.

    Args:
        spec: The table.
        data: An Arrow table, a data frame or a sequence of mappings; missing columns are refused, not filled.

    Raises:
        ContractError: A column is missing or foreign, a value has the wrong type, a key is NULL, or a text holds NUL.
    """
    table = _to_arrow(spec, data)
    _require_columns(spec, table.column_names)
    arrays = [_cast(spec, column, table.column(column.name)) for column in spec.all_columns]
    return pa.table(arrays, schema=spec.arrow_schema)


def conform_keys(spec: TableSpec, data: pa.Table) -> pa.Table:
    """Return the key columns of `data` with the key types of `spec`."""
    return pa.table([_cast(spec, column, data.column(column.name)) for column in spec.key], schema=spec.key_schema)


def _to_arrow(spec: TableSpec, data: RowSource) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pd.DataFrame):
        # Typed column by column: a frame's object columns would otherwise be guessed, and guessed differently when empty.
        _require_columns(spec, [str(name) for name in data.columns])
        columns = {column.name: _from_pandas(spec, column, data[column.name]) for column in spec.all_columns}
        return pa.table(columns)
    rows = list(data)
    for position, row in enumerate(rows):
        if row.keys() != set(spec.column_names):
            _require_columns(spec, list(row), where=f", row {position}")
    columns = {column.name: _build(spec, column, [row[column.name] for row in rows]) for column in spec.all_columns}
    return pa.table(columns)


def _require_columns(spec: TableSpec, names: Sequence[str], *, where: str = "") -> None:
    missing = [name for name in spec.column_names if name not in names]
    foreign = [name for name in names if name not in spec.column_names]
    if missing or foreign:
        raise ContractError(
            f"{spec.name}{where}: columns do not fit: missing {missing}, foreign {foreign}; expected {list(spec.column_names)}"
        )


def _from_pandas(spec: TableSpec, column: Column, series: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.Array.from_pandas(series, type=spec.arrow_schema.field(column.name).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return _build(spec, column, [None if pd.isna(value) else value for value in series.tolist()])


def _build(spec: TableSpec, column: Column, values: list[Any]) -> pa.Array:
    target = spec.arrow_schema.field(column.name).type
    try:
        if column.type is ColumnType.INT:
            _require_whole(values)  # pyarrow cuts a fraction off without a word.
        return pa.array(values, type=target)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        culprit = next((i for i, value in enumerate(values) if not _fits(value, target)), None)
        raise ContractError(
            f"{spec.name}.{column.name}: row {culprit} does not fit {column.type.value} ({type(error).__name__})",
            table=spec.name,
            column=column.name,
            row=culprit,
        ) from error


def _require_whole(values: Sequence[Any]) -> None:
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        raise pa.ArrowInvalid("a fraction in a column of integers")


def _fits(value: Any, target: pa.DataType) -> bool:
    try:
        if pa.types.is_integer(target):
            _require_whole([value])
        pa.array([value], type=target)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return False
    return True


def _cast(spec: TableSpec, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    target = spec.arrow_schema.field(column.name).type
    if values.type != target:
        try:
            values = values.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ContractError(
                f"{spec.name}.{column.name}: {values.type} does not fit {column.type.value}: {error}"
            ) from error
    if column.name in spec.key_names and values.null_count:
        raise ContractError(f"{spec.name}.{column.name}: a key column holds NULL in {values.null_count} rows")
    if pa.types.is_large_string(target) and len(values) and pc.any(pc.match_substring(values, "\0")).as_py():
        raise ContractError(
            f"{spec.name}.{column.name}: a text holds the NUL character; clean it where it is collected"
        )
    if column.type in (ColumnType.DATE, ColumnType.INSTANT) and len(values):
        _require_calendar(spec, column, values)
    if column.type is ColumnType.DECIMAL and len(values):
        values = pa.chunked_array(
            [pa.array([None if v is None else canonical_decimal(v) for v in values.to_pylist()], pa.large_string())]
        )
    return values


def _require_calendar(spec: TableSpec, column: Column, values: pa.ChunkedArray) -> None:
    is_day = column.type is ColumnType.DATE
    numbers = values.cast(pa.int32()).cast(pa.int64()) if is_day else values.cast(pa.int64())
    bounds = pc.min_max(numbers).as_py()
    first, end = (_FIRST_DAY, _LAST_DAY + 1) if is_day else (_FIRST_DAY * _DAY_MICROS, (_LAST_DAY + 1) * _DAY_MICROS)
    if bounds["min"] is not None and not first <= bounds["min"] <= bounds["max"] < end:
        raise ContractError(f"{spec.name}.{column.name}: a value lies outside the years 1 to 9999", column=column.name)
