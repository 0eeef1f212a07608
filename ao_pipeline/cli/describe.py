"""Bundles and changed rows as table rows and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ao_pipeline import clock
from ao_pipeline.cli.output import signed

if TYPE_CHECKING:
    from ao_pipeline.bundles.header import BundleHeader
    from ao_pipeline.bundles.past import RowChange

BUNDLE_HEADINGS: Final = ("bundle", "seq", "asset", "cycle", "kind", "+", "~", "-", "rows", "ms", "reason")
CELL_HEADINGS: Final = ("", "key", "column", "before", "after")

_JSON_FIELDS: Final = ("inputs", "cursor_before", "cursor_after", "stats")


def bundle_row(header: BundleHeader) -> tuple[Any, ...]:
    """Return a bundle as a line under `BUNDLE_HEADINGS`."""
    return (
        header.bundle_id,
        header.seq,
        header.asset,
        cycles_of(header),
        header.kind,
        *counts(header.rows_inserted, header.rows_updated, header.rows_deleted),
        header.row_count_after,
        header.duration_ms,
        header.reason,
    )


def counts(inserted: int, updated: int, deleted: int) -> tuple[str, str, str]:
    """Return three counts with their signs."""
    return signed("+", inserted), signed("~", updated), signed("-", deleted)


def cycles_of(header: BundleHeader) -> str:
    """Return the cycle, or the range that a catch-up stands for."""
    return header.cycle if header.first_cycle == header.cycle else f"{header.first_cycle}..{header.cycle}"


def bundle_json(header: BundleHeader) -> dict[str, Any]:
    """Return a header as JSON; what is JSON inside it is unpacked."""
    values = asdict(header)
    for name in _JSON_FIELDS:
        values[name] = json.loads(values[name]) if values[name] else None
    started = clock.from_micros(values.pop("started_at_us"))
    return {"bundle_id": header.bundle_id, **values, "started_at": started, "rows_changed": header.rows_changed}


def cell_rows(rows: Iterable[RowChange]) -> list[tuple[Any, ...]]:
    """Return changed rows cell by cell, under `CELL_HEADINGS`; what is not there is blank, NULL is said."""
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        key = key_text(row.key)
        for position, cell in enumerate(row.cells):
            first = (row.sign, key) if position == 0 else ("", "")
            before = "" if row.sign == "+" else cell.before
            after = "" if row.sign == "-" else cell.after
            lines.append((*first, cell.column, before, after))
        if not row.cells:
            lines.append((row.sign, key, "", "", ""))
    return lines


def key_text(key: dict[str, Any]) -> str:
    """Return a row's key as it is typed after `ao blame`."""
    from ao_pipeline.cli.output import cell_text

    return " ".join(cell_text(value) for value in key.values())


def row_json(row: RowChange) -> dict[str, Any]:
    """Return one changed row as JSON."""
    cells = {cell.column: {"before": cell.before, "after": cell.after} for cell in row.cells}
    return {"change": row.sign, "key": row.key, "cells": cells}
