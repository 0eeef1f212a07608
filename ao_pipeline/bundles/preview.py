"""A few changed rows, readable, for metadata and terminals. The exact counts stand in the header."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.changes import ChangeSet
from ao_pipeline.bundles.schema import TableSpec

CELL_CHARACTERS: Final = 120
"""Longest cell shown; metadata is stored several times over by Dagster."""

PREVIEW_SCHEMA: Final = pa.schema(
    [("change", pa.string()), ("key", pa.string()), ("before", pa.string()), ("after", pa.string())]
)


def preview_changes(spec: TableSpec, changes: ChangeSet, *, limit: int) -> pa.Table:
    """Return at most `limit` changed rows as text: change (+, ~, -), key, and the cells that differ."""
    rows: list[dict[str, str | None]] = []
    updates = min(limit, len(changes.updated_after))
    olds = changes.updated_before.table.slice(0, updates).to_pylist()
    news = changes.updated_after.table.slice(0, updates).to_pylist()
    for old, new in zip(olds, news, strict=True):
        names = [column.name for column in spec.columns if _differs(old[column.name], new[column.name])]
        rows.append(_line(spec, "~", new, {n: old[n] for n in names}, {n: new[n] for n in names}))
    added = changes.inserted.table.slice(0, limit - len(rows)).to_pylist()
    rows.extend(_line(spec, "+", new, None, _others(spec, new)) for new in added)
    gone = changes.deleted.table.slice(0, limit - len(rows)).to_pylist()
    rows.extend(_line(spec, "-", old, _others(spec, old), None) for old in gone)
    return pa.Table.from_pylist(rows, schema=PREVIEW_SCHEMA)


def _differs(old: Any, new: Any) -> bool:
    return bool(old != new)


def _others(spec: TableSpec, row: dict[str, Any]) -> dict[str, Any]:
    return {column.name: row[column.name] for column in spec.columns if row[column.name] is not None}


def _line(
    spec: TableSpec, sign: str, row: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, str | None]:
    key = " ".join(_text(row[name]) for name in spec.key_names)
    return {"change": sign, "key": key, "before": _cells(before), "after": _cells(after)}


def _cells(cells: dict[str, Any] | None) -> str | None:
    if cells is None:
        return None
    return "; ".join(f"{name}={_text(value)}" for name, value in cells.items())[: CELL_CHARACTERS * 4]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(str(value)).strip('"')
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
