"""What a managed table looks like: typed columns, a natural key and the one asset that writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import pyarrow as pa

from ao_pipeline.errors import ContractError

MAX_COLUMNS: Final = 64
"""A row's presence bitmap is one 64-bit word; see `docs/hash-format.md`. A wider table splits in two."""


_NAME: Final = re.compile(r"(?!ao_)[a-z][a-z0-9_]*")
"""Column names; `ao_` is the engine's own prefix inside payloads and index entries."""


class ColumnType(StrEnum):
    """Logical column types. Each has one Arrow type, one storage form and one byte encoding."""

    TEXT = "text"  # UTF-8, any normal form, no NUL
    JSON = "json"  # canonical JSON text, see bundles.canonical
    INT = "int"  # signed 64-bit
    FLOAT = "float"  # IEEE 754 binary64
    BOOL = "bool"
    INSTANT = "instant"  # microseconds since 1970-01-01 UTC
    DATE = "date"  # calendar day without a zone
    DECIMAL = "decimal"  # canonical decimal text, see bundles.canonical


ARROW_TYPES: Final[dict[ColumnType, pa.DataType]] = {
    ColumnType.TEXT: pa.large_string(),
    ColumnType.JSON: pa.large_string(),
    ColumnType.INT: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INSTANT: pa.timestamp("us", tz="UTC"),
    ColumnType.DATE: pa.date32(),
    ColumnType.DECIMAL: pa.large_string(),
}

TEXT_TYPES: Final = frozenset({ColumnType.TEXT, ColumnType.JSON, ColumnType.DECIMAL})


@dataclass(frozen=True)
class Column:
    """One column. `description` says unit and what NULL means; it is shown in the UI's column schema."""

    name: str
    type: ColumnType
    description: str = ""


@dataclass(frozen=True)
class TableSpec:
    """A managed table. `asset` is its only writer: asset `truth/client_health` writes table `truth_client_health`.

    `key` columns come first and are never NULL. New columns go to the end and start as NULL: then no recorded hash moves.

    Attributes:
        asset: Asset key with slashes.
        key: Natural key columns, in storage order.
        columns: The other columns, in order of their introduction.
        row: What one row is, one line.
        is_revertible: Whether an earlier state may be restored; a record of what left the house may not.
    """

    asset: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    row: str
    is_revertible: bool = True

    def __post_init__(self) -> None:
        names = [column.name for column in self.all_columns]
        if len(set(names)) != len(names):
            raise ContractError(f"table {self.name} declares a column twice: {sorted(names)}")
        refused = [name for name in names if not _NAME.fullmatch(name)]
        if refused:
            raise ContractError(f"table {self.name} has columns {refused}; write lower_case, and not ao_...")
        if any(column.type is ColumnType.FLOAT for column in self.key):
            raise ContractError(f"table {self.name} has a float in its key: NaN and rounding make it no identity")
        if not self.key:
            raise ContractError(f"table {self.name} has no key; every table needs a natural key")
        if len(names) > MAX_COLUMNS:
            raise ContractError(f"table {self.name} has {len(names)} columns; {MAX_COLUMNS} is the limit, split it")

    @property
    def name(self) -> str:
        """Table name: the asset key with underscores."""
        return self.asset.replace("/", "_")

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """Key columns, then the others: the storage and hash order."""
        return (*self.key, *self.columns)

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.key)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.all_columns)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Arrow schema of a row batch. `bundles.canonical.conform` refuses NULL in a key column."""
        return pa.schema([pa.field(column.name, ARROW_TYPES[column.type]) for column in self.all_columns])

    @cached_property
    def key_schema(self) -> pa.Schema:
        return pa.schema([self.arrow_schema.field(name) for name in self.key_names])

    def empty(self) -> pa.Table:
        """Return a table of this shape with no rows."""
        return self.arrow_schema.empty_table()


def text(name: str, description: str = "") -> Column:
    """Declare a UTF-8 column."""
    return Column(name, ColumnType.TEXT, description)


def json(name: str, description: str = "") -> Column:
    """Declare a canonical-JSON column."""
    return Column(name, ColumnType.JSON, description)


def integer(name: str, description: str = "") -> Column:
    """Declare a signed 64-bit column."""
    return Column(name, ColumnType.INT, description)


def floating(name: str, description: str = "") -> Column:
    """Declare a binary64 column."""
    return Column(name, ColumnType.FLOAT, description)


def boolean(name: str, description: str = "") -> Column:
    """Declare a true/false column."""
    return Column(name, ColumnType.BOOL, description)


def instant(name: str, description: str = "") -> Column:
    """Declare a UTC instant column, microsecond resolution."""
    return Column(name, ColumnType.INSTANT, description)


def day(name: str, description: str = "") -> Column:
    """Declare a calendar-day column."""
    return Column(name, ColumnType.DATE, description)


def decimal(name: str, description: str = "") -> Column:
    """Declare an exact decimal column, kept as canonical text."""
    return Column(name, ColumnType.DECIMAL, description)
