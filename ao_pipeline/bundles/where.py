"""Choose rows of a bundle: by values of their columns, and by whether they are still there to be taken back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.bundles.canonical import canonical_decimal, canonical_json
from ao_pipeline.bundles.changes import ChangeSet, HashedRows, match_positions
from ao_pipeline.bundles.schema import TEXT_TYPES, Column, ColumnType, TableSpec
from ao_pipeline.errors import ContractError, UnknownNameError

Mask = npt.NDArray[np.bool_]

_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class Condition:
    """`column=value`. A value of None stands for nothing there: NULL, or an empty text."""

    column: Column
    value: Any

    def __str__(self) -> str:
        return f"{self.column.name}={'' if self.value is None else self.value}"


def parse_condition(spec: TableSpec, text: str) -> Condition:
    """Parse `column=value`; `column=` asks for NULL or an empty text.

    Raises:
        UnknownNameError: There is no such column, or the value does not have its type.
    """
    name, sign, value = text.partition("=")
    columns = {column.name: column for column in spec.all_columns}
    if not sign or name not in columns:
        raise UnknownNameError(
            f"{text!r} is not column=value for {spec.name}; its columns are: {', '.join(spec.column_names)}"
        )
    return Condition(columns[name], parse_value(columns[name], value) if value else None)


def parse_key(spec: TableSpec, texts: Sequence[str]) -> dict[str, Any]:
    """Parse a row's key as typed in a terminal, one text a key column.

    Raises:
        UnknownNameError: Too few or too many texts, or one does not have its column's type.
    """
    if len(texts) != len(spec.key):
        raise UnknownNameError(
            f"a key of {spec.name} has {len(spec.key)} parts ({', '.join(spec.key_names)}); got {len(texts)}"
        )
    return {column.name: parse_value(column, text) for column, text in zip(spec.key, texts, strict=True)}


def parse_value(column: Column, text: str) -> Any:
    """Return the value that `text` stands for in this column.

    Raises:
        UnknownNameError: It does not have the column's type.
    """
    try:
        match column.type:
            case ColumnType.TEXT:
                return text
            case ColumnType.JSON:
                return canonical_json(json.loads(text))
            case ColumnType.DECIMAL:
                return canonical_decimal(text)
            case ColumnType.INT:
                return int(text)
            case ColumnType.FLOAT:
                return float(text)
            case ColumnType.BOOL:
                return _BOOLEANS[text.lower()]
            case ColumnType.DATE:
                return date.fromisoformat(text)
            case ColumnType.INSTANT:
                return _instant(text)
    except (ValueError, KeyError, ContractError) as error:
        raise UnknownNameError(f"{text!r} is no {column.type.value}, which column {column.name} holds") from error


def select_changes(changes: ChangeSet, conditions: Sequence[Condition]) -> ChangeSet:
    """Return the changed rows for which every condition holds; for an update, in its old or in its new image."""
    updated = _mask(changes.updated_before.table, conditions) | _mask(changes.updated_after.table, conditions)
    inserted = _mask(changes.inserted.table, conditions)
    return _filtered(changes, inserted, updated, _mask(changes.deleted.table, conditions))


def without_undone(changes: ChangeSet, current: HashedRows) -> ChangeSet:
    """Leave out rows that already are as they were before the bundle: nothing is to be done for them.

    Args:
        changes: The bundle's rows.
        current: The stored rows with the keys of `changes`.
    """
    inserted = match_positions(changes.inserted.keys, current.keys) >= 0
    updated = ~_is_as(changes.updated_before, current)
    return _filtered(changes, inserted, updated, ~_is_as(changes.deleted, current))


def _is_as(rows: HashedRows, current: HashedRows) -> Mask:
    at = match_positions(rows.keys, current.keys)
    same = np.zeros(len(rows), dtype=np.bool_)
    same[at >= 0] = (current.rows[at[at >= 0]] == rows.rows[at >= 0]).all(axis=1)
    return same


def _filtered(changes: ChangeSet, inserted: Mask, updated: Mask, deleted: Mask) -> ChangeSet:
    return ChangeSet(
        inserted=changes.inserted.take(np.flatnonzero(inserted)),
        updated_before=changes.updated_before.take(np.flatnonzero(updated)),
        updated_after=changes.updated_after.take(np.flatnonzero(updated)),
        deleted=changes.deleted.take(np.flatnonzero(deleted)),
    )


def _mask(table: pa.Table, conditions: Sequence[Condition]) -> Mask:
    mask = np.ones(table.num_rows, dtype=np.bool_)
    for condition in conditions:
        mask &= _holds(table.column(condition.column.name), condition)
    return mask


def _holds(values: pa.ChunkedArray, condition: Condition) -> Mask:
    if condition.value is None:
        holds = pc.is_null(values)
        if condition.column.type in TEXT_TYPES:
            holds = pc.or_(holds, pc.fill_null(pc.equal(values, pa.scalar("", values.type)), False))
    elif isinstance(condition.value, float) and math.isnan(condition.value):
        holds = pc.fill_null(pc.is_nan(values), False)
    else:
        holds = pc.fill_null(pc.equal(values, pa.scalar(condition.value, values.type)), False)
    return np.asarray(holds.to_numpy(), dtype=np.bool_)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return instant.astimezone(UTC)
