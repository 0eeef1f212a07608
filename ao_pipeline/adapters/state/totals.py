"""Counters that never go back: what the rows say, plus what was kept of rows that are no longer there.

A counter that falls reads as a restart, and a rate over it as a burst. Rows fall away when retention removes them and
when a later outcome of a cycle replaces an earlier one. Whoever does that folds them first, in the same transaction.

Invariants:
1. Folding and then removing the same rows changes no counter (`test_counters_survive_the_removal_of_what_they_count`).
2. A cycle that failed and then succeeded counts in both (`test_a_replaced_outcome_stays_counted`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import BUNDLE, CYCLE, TOTAL
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.observability.view import CYCLE_BOUNDS_SECONDS, STEP_BOUNDS_SECONDS

Figures = Counter[tuple[str, str, str]]
"""Values by figure, subject and detail: `("bundles", "raw/x", "materialize")`, `("cycle", "", "failed")`."""

ROW_FIGURES: Final = ("bundles", "rows_inserted", "rows_updated", "rows_deleted")
STEP_LAYERS: Final = ("truth", "snapshot")
"""Layers whose computation time is exported as a histogram."""


def bundle_figures(connection: sa.Connection, where: sa.ColumnElement[bool] | None = None) -> Figures:
    """Return counts, changed rows and step times of the bundles that match."""
    condition = sa.true() if where is None else where
    rows = connection.execute(
        sa.select(
            BUNDLE.c.asset,
            BUNDLE.c.kind,
            sa.func.count(),
            sa.func.sum(BUNDLE.c.rows_inserted),
            sa.func.sum(BUNDLE.c.rows_updated),
            sa.func.sum(BUNDLE.c.rows_deleted),
        )
        .where(condition)
        .group_by(BUNDLE.c.asset, BUNDLE.c.kind)
    )
    figures: Figures = Counter()
    for asset, kind, *values in rows:
        for name, value in zip(ROW_FIGURES, values, strict=True):
            figures[name, asset, kind] += int(value)
    for layer in STEP_LAYERS:
        figures.update(_step_times(connection, layer, condition))
    return figures


def _step_times(connection: sa.Connection, layer: str, condition: sa.ColumnElement[bool]) -> Figures:
    # A range, not LIKE: it uses the index on both databases. "0" is the character after "/".
    in_layer = sa.and_(BUNDLE.c.asset >= f"{layer}/", BUNDLE.c.asset < f"{layer}0")
    millis = BUNDLE.c.duration_ms
    rows = connection.execute(
        sa.select(BUNDLE.c.asset, sa.func.sum(millis), *_buckets(millis, STEP_BOUNDS_SECONDS, per_second=1000))
        .where(in_layer, BUNDLE.c.kind == BundleKind.MATERIALIZE.value, condition)
        .group_by(BUNDLE.c.asset)
    )
    figures: Figures = Counter()
    for asset, total, *counts in rows:
        figures["step_ms", asset, "sum"] += int(total)
        figures.update(_bucket_figures("step_le", asset, STEP_BOUNDS_SECONDS, counts))
    return figures


def cycle_figures(connection: sa.Connection, where: sa.ColumnElement[bool] | None = None) -> Figures:
    """Return outcomes and durations of the closed cycles that match."""
    elapsed = CYCLE.c.closed_at_us - CYCLE.c.opened_at_us
    micros = sa.case((elapsed > 0, elapsed), else_=0)  # The wall clock may have been set back in between.
    rows = connection.execute(
        sa.select(
            CYCLE.c.status,
            sa.func.count(),
            sa.func.sum(micros),
            *_buckets(micros, CYCLE_BOUNDS_SECONDS, per_second=1_000_000),
        )
        .where(CYCLE.c.closed_at_us.is_not(None), sa.true() if where is None else where)
        .group_by(CYCLE.c.status)
    )
    figures: Figures = Counter()
    for status, count, total, *counts in rows:
        figures["cycle", "", status] += int(count)
        figures["cycle_us", "", status] += int(total)
        figures.update(_bucket_figures("cycle_le", status, CYCLE_BOUNDS_SECONDS, counts))
    return figures


def folded(connection: sa.Connection) -> Figures:
    """Return what was kept of rows that are no longer there."""
    rows = connection.execute(sa.select(TOTAL.c.figure, TOTAL.c.subject, TOTAL.c.detail, TOTAL.c.value))
    return Counter({(figure, subject, detail): int(value) for figure, subject, detail, value in rows})


def fold_bundles(connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
    """Keep the figures of bundles that this transaction is about to remove; call it before, with the same condition."""
    _keep(connection, bundle_figures(connection, where))


def fold_cycles(connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
    """Keep the figures of closed cycles that this transaction is about to remove or replace."""
    _keep(connection, cycle_figures(connection, where))


def _keep(connection: sa.Connection, figures: Mapping[tuple[str, str, str], int]) -> None:
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # In one order, so that two writers on PostgreSQL cannot wait for each other's rows.
    for (figure, subject, detail), value in sorted(figures.items()):
        if value:
            statement = insert(TOTAL).values(figure=figure, subject=subject, detail=detail, value=value)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["figure", "subject", "detail"], set_={"value": TOTAL.c.value + value}
                )
            )


def _buckets(
    column: sa.ColumnElement[int], bounds: tuple[float, ...], *, per_second: int
) -> list[sa.ColumnElement[int]]:
    return [sa.func.sum(sa.case((column <= round(bound * per_second), 1), else_=0)) for bound in bounds]


def _bucket_figures(figure: str, subject: str, bounds: tuple[float, ...], counts: Iterable[Any]) -> Figures:
    return Counter({(figure, subject, str(bound)): int(count) for bound, count in zip(bounds, counts, strict=True)})
