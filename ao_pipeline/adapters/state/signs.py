"""What an evaluation of alerts asks the store, in one read transaction: a handful of indexed reads, twice a minute."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import CYCLE, HOLD, QUARANTINE
from ao_pipeline.adapters.state.cycles import OPEN
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.clock import from_micros, to_micros
from ao_pipeline.cycle import Cycle
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.observability.view import COMPLETED_STATUSES
from ao_pipeline.resilience.conditions import DEAD_WINDOW, QUARANTINE_WINDOW, CycleSeen, HoldSeen

CYCLES_SEEN: Final = 8
"""Closed cycles looked at: two hours, more than any rule counts."""

_DELIVERY: Final = sa.table(
    NOTIFY_DELIVERIES.name,
    sa.column("status", sa.Text),
    sa.column("last_attempt_at", sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")),
)


@dataclass(frozen=True)
class Signs:
    """One consistent reading."""

    heads: dict[str, Head]
    cycles: tuple[CycleSeen, ...]
    last_completed: str
    holds: tuple[HoldSeen, ...]
    refused: dict[str, int]
    dead_messages: int
    waiting_messages: int


def read_signs(database: Database, now: datetime) -> Signs:
    """Read what is wrong or may be.

    Raises:
        TransientError: The store is locked or unreachable.
    """
    with database.read() as connection:
        return Signs(
            heads=history.read_heads(connection),
            cycles=_cycles(connection),
            last_completed=_last_completed(connection),
            holds=tuple(
                HoldSeen(row.asset, row.reason, row.actor)
                for row in connection.execute(sa.select(HOLD).order_by(HOLD.c.asset))
            ),
            refused=_refused(connection, now),
            dead_messages=_count(connection, "dead", since=now - DEAD_WINDOW),
            waiting_messages=_count(connection, "pending", since=None),
        )


def _cycles(connection: sa.Connection) -> tuple[CycleSeen, ...]:
    columns = (CYCLE.c.cycle, CYCLE.c.status, CYCLE.c.report, CYCLE.c.closed_at_us)
    query = sa.select(*columns).where(CYCLE.c.status != OPEN).order_by(CYCLE.c.cycle.desc()).limit(CYCLES_SEEN)
    return tuple(
        CycleSeen(
            row.cycle,
            row.status,
            tuple(json.loads(row.report).get("missing", ())),
            None if row.closed_at_us is None else from_micros(row.closed_at_us),
        )
        for row in connection.execute(query)
    )


def _last_completed(connection: sa.Connection) -> str:
    query = sa.select(sa.func.max(CYCLE.c.cycle)).where(CYCLE.c.status.in_(COMPLETED_STATUSES))
    return str(connection.execute(query).scalar_one() or "")


def _refused(connection: sa.Connection, now: datetime) -> dict[str, int]:
    since = Cycle.containing(now - QUARANTINE_WINDOW).key
    is_new = sa.and_(QUARANTINE.c.status == "open", QUARANTINE.c.first_cycle >= since)
    query = sa.select(QUARANTINE.c.asset, sa.func.count()).where(is_new).group_by(QUARANTINE.c.asset)
    return {row[0]: row[1] for row in connection.execute(query)}


def _count(connection: sa.Connection, status: str, *, since: datetime | None) -> int:
    query = sa.select(sa.func.count()).select_from(_DELIVERY).where(_DELIVERY.c.status == status)
    if since is not None:
        is_postgresql = connection.dialect.name == "postgresql"
        query = query.where(_DELIVERY.c.last_attempt_at >= (since if is_postgresql else to_micros(since)))
    return int(connection.execute(query).scalar_one())
