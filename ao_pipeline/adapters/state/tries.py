"""How often messages, steps and healing requests were tried: what the standing check of retries asks the store."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state.breaker_tables import FAILURE
from ao_pipeline.adapters.state.catalog import ALERT, ASSET_HEAD, BUNDLE, HEALING
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES

_DELIVERY: Final = sa.table(NOTIFY_DELIVERIES.name, sa.column("status", sa.Text), sa.column("attempts", sa.BigInteger))


def pending_attempts(database: Database) -> dict[str, int]:
    """Return the highest number of tries of a pending message: of the notifications and of the alerts."""
    with database.read() as connection:
        return {
            "notifications": _highest(connection, _DELIVERY.c.attempts, _DELIVERY.c.status == "pending"),
            "alerts": _highest(connection, ALERT.c.attempts, ALERT.c.status == "pending"),
        }


def step_attempts(database: Database, *, since_us: int) -> dict[tuple[str, str], int]:
    """Return the highest failed attempt of each step since an instant, by asset and run."""
    query = sa.select(FAILURE.c.asset, FAILURE.c.run_id, sa.func.max(FAILURE.c.attempt)).where(
        FAILURE.c.at_us >= since_us
    )
    with database.read() as connection:
        rows = connection.execute(query.group_by(FAILURE.c.asset, FAILURE.c.run_id))
        return {(asset, run): int(attempt) for asset, run, attempt in rows}


def refused_cycles(database: Database, *, since_us: int) -> dict[str, int]:
    """Return the number of cycles since an instant in which each asset failed for good, if it was not computed afterwards."""
    failed = sa.and_(
        FAILURE.c.at_us >= since_us,
        FAILURE.c.category != "transient",
        FAILURE.c.cycle > sa.func.coalesce(ASSET_HEAD.c.computed_cycle, ""),
    )
    query = (
        sa.select(FAILURE.c.asset, sa.func.count(sa.distinct(FAILURE.c.cycle)))
        .select_from(FAILURE.outerjoin(ASSET_HEAD, ASSET_HEAD.c.asset == FAILURE.c.asset))
        .where(failed)
        .group_by(FAILURE.c.asset)
    )
    with database.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def vain_healings(database: Database) -> dict[str, int]:
    """Return the number of requests for each asset since it was last computed."""
    computed = (
        sa.select(BUNDLE.c.asset, sa.func.max(BUNDLE.c.started_at_us).label("at_us"))
        .where(BUNDLE.c.kind == BundleKind.MATERIALIZE.value)
        .group_by(BUNDLE.c.asset)
        .subquery()
    )
    query = (
        sa.select(HEALING.c.asset, sa.func.count())
        .select_from(HEALING.outerjoin(computed, computed.c.asset == HEALING.c.asset))
        .where(HEALING.c.requested_at_us > sa.func.coalesce(computed.c.at_us, 0))
        .group_by(HEALING.c.asset)
    )
    with database.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def _highest(connection: sa.Connection, column: sa.ColumnElement[int], where: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(column), 0)).where(where)).scalar_one())
