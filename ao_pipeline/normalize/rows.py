"""Frames as plain rows, names as comparable text, JSON lists as lists. What a value *means* belongs to the rules."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import pandas as pd
import pyarrow as pa

from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError

Row: TypeAlias = dict[str, Any]
Frame: TypeAlias = pa.Table | pd.DataFrame | Sequence[Row]
"""What a rule takes: an Arrow table (fastest), a DataFrame, or rows. NULL is None in every row."""

_NOT_WORD: Final = re.compile(r"[\W_]+")


def read_rows(frame: Frame, spec: TableSpec) -> list[Row]:
    """Return the rows of one table, in its key's order, whatever order they came in.

    Raises:
        ContractError: A column of `spec` is missing.
    """
    if isinstance(frame, pd.DataFrame):
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    rows: list[Row] = frame.to_pylist() if isinstance(frame, pa.Table) else list(frame)
    names = frame.column_names if isinstance(frame, pa.Table) else (rows[0].keys() if rows else spec.column_names)
    missing = [name for name in spec.column_names if name not in names]
    if missing:
        raise ContractError(f"{spec.name} lacks the column {missing[0]!r}", table=spec.name, missing=missing)
    key = spec.key_names
    return sorted(rows, key=lambda row: tuple(row[name] for name in key))


def sort_rows(rows: Iterable[Row], spec: TableSpec) -> list[Row]:
    """Return rows in key order and check that each has exactly the columns of `spec` and its own key.

    Raises:
        ContractError: A rule built a row of another shape, or one key twice.
    """
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in spec.key_names))
    previous: tuple[Any, ...] | None = None
    for row in ordered:
        if len(row) != len(spec.column_names) or any(name not in row for name in spec.column_names):
            odd = sorted(set(row) ^ set(spec.column_names))
            raise ContractError(f"a row for {spec.name} differs in the columns {odd}", table=spec.name, columns=odd)
        key = tuple(row[name] for name in spec.key_names)
        if key == previous:
            raise ContractError(f"{spec.name} would hold the key {key!r} twice", table=spec.name, key=key)
        previous = key
    return ordered


def fold_name(text: str | None) -> str:
    """Return a name as lower-case words with single spaces: no accents, no punctuation, same for every spelling."""
    if not text:
        return ""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", plain.casefold()).strip()


def has_words(folded: str, words: str) -> bool:
    """Return whether `words` (folded) stand in `folded` as whole words."""
    return bool(words) and f" {words} " in f" {folded} "


def starts_with_words(folded: str, words: str) -> bool:
    """Return whether `folded` begins with `words` (folded) as whole words."""
    return bool(words) and f"{folded} ".startswith(f"{words} ")


def load_list(text: str | None) -> list[Any]:
    """Return the list in a JSON column; NULL is the empty list.

    Raises:
        ContractError: The column does not hold a JSON list.
    """
    if text is None:
        return []
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ContractError(f"a JSON column holds text that is not JSON ({len(text)} characters)") from error
    if not isinstance(value, list):
        raise ContractError(f"a JSON column holds a {type(value).__name__} where a list was agreed")
    return value
