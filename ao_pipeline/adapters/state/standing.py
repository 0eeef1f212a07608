"""Where assets stand: the cycle that each one's state belongs to, and who holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, HOLD
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.bundles.header import BundleHeader, header_from


@dataclass(frozen=True)
class Standing:
    """An asset's head and the bundle that it names; None when retention has taken that bundle."""

    head: Head
    bundle: BundleHeader | None


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
        at_head = sa.and_(BUNDLE.c.asset == ASSET_HEAD.c.asset, BUNDLE.c.seq == ASSET_HEAD.c.seq)
        rows = connection.execute(sa.select(BUNDLE).join(ASSET_HEAD, at_head))
        bundles = {row.asset: header_from(dict(row._mapping)) for row in rows}
    return [Standing(head, bundles.get(asset)) for asset, head in heads.items()]


def read_holds(database: Database) -> list[HoldRecord]:
    """Return every hold, by asset key."""
    with database.read() as connection:
        rows = connection.execute(sa.select(HOLD).order_by(HOLD.c.asset))
        return [HoldRecord(row.asset, row.reason, row.actor, clock.from_micros(row.since_us)) for row in rows]
