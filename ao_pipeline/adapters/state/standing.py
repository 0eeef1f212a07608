"""Where assets stand: the cycle that each one's state belongs to, and who holds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE, HOLD
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.bundles.header import BundleHeader, BundleKind, header_from


@dataclass(frozen=True)
class Standing:
    """An asset's head, the bundle it names and the cycle whose state it has (empty: before the undo window)."""

    head: Head
    bundle: BundleHeader
    as_of_cycle: str


@dataclass(frozen=True)
class HoldRecord:
    """One hold."""

    asset: str
    reason: str
    actor: str
    since_at: datetime


def read_standings(database: Database) -> list[Standing]:
    """Return where every asset stands, by asset key."""
    with database.read() as connection:
        heads = history.read_heads(connection)
        cycles = _as_of_cycles(connection)
        rows = connection.execute(_newest(sa.true()))
        bundles = {row.asset: header_from(dict(row._mapping)) for row in rows}
    return [Standing(head, bundles[asset], cycles.get(asset, "")) for asset, head in heads.items() if asset in bundles]


def read_holds(database: Database) -> list[HoldRecord]:
    """Return every hold, by asset key."""
    with database.read() as connection:
        rows = connection.execute(sa.select(HOLD).order_by(HOLD.c.asset))
        return [HoldRecord(row.asset, row.reason, row.actor, clock.from_micros(row.since_us)) for row in rows]


def _as_of_cycles(connection: sa.Connection) -> dict[str, str]:
    """A computation and the revert of a whole table give a table the state of a cycle; other bundles do not move it."""
    is_whole = sa.or_(
        BUNDLE.c.kind == BundleKind.MATERIALIZE.value,
        sa.and_(BUNDLE.c.kind == BundleKind.REVERT.value, BUNDLE.c.target_id != ""),
    )
    rows = connection.execute(_newest(is_whole))
    return {
        row.asset: row.cycle if row.kind == BundleKind.MATERIALIZE else json.loads(row.stats)["restored_cycle"]
        for row in rows
    }


def _newest(condition: sa.ColumnElement[bool]) -> sa.Select[tuple[object, ...]]:
    newest = sa.select(BUNDLE.c.asset, sa.func.max(BUNDLE.c.seq).label("seq")).where(condition).group_by(BUNDLE.c.asset)
    kept = newest.subquery()
    return sa.select(BUNDLE).join(kept, sa.and_(BUNDLE.c.asset == kept.c.asset, BUNDLE.c.seq == kept.c.seq))
