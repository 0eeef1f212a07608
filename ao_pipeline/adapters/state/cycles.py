"""The record of cycles: opened when a run starts, closed with a status that follows from what was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline import clock
from ao_pipeline.adapters.state.catalog import CYCLE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.totals import fold_cycles
from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.cycle import Cycle

OPEN = "open"


@dataclass(frozen=True)
class CycleRecord:
    """One cycle's record. `closed_at_us` is None while it is open."""

    cycle: str
    first_cycle: str
    run_id: str
    opened_at_us: int
    closed_at_us: int | None
    status: str
    report: dict[str, Any]


class CycleLog:
    """History of cycles; it is appended to and closed, never reverted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, cycle: Cycle, *, first_cycle: Cycle, run_id: str) -> None:
        """Record that a run works on the cycle. The first opening time stays; a closed cycle is not reopened."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as connection:
            connection.execute(
                insert(CYCLE)
                .values(
                    cycle=cycle.key,
                    first_cycle=first_cycle.key,
                    run_id=run_id,
                    opened_at_us=clock.to_micros(clock.utc_now()),
                    status=OPEN,
                    report="{}",
                )
                .on_conflict_do_nothing()
            )

    def close(self, cycle: Cycle, *, status: str, report: dict[str, Any], run_id: str) -> None:
        """Record the outcome; a later outcome of the same cycle replaces an earlier one, which stays counted."""
        with self._database.write() as connection:
            # The same run that closes twice, because its step was retried, is one outcome.
            is_other = sa.or_(CYCLE.c.run_id != run_id, CYCLE.c.status != status)
            fold_cycles(connection, sa.and_(CYCLE.c.cycle == cycle.key, is_other))
            connection.execute(
                CYCLE.update()
                .where(CYCLE.c.cycle == cycle.key)
                .values(
                    status=status,
                    report=canonical_json(report),
                    run_id=run_id,
                    closed_at_us=clock.to_micros(clock.utc_now()),
                )
            )

    def latest(self, *, limit: int = 20) -> list[CycleRecord]:
        """Return cycle records, the newest first."""
        query = sa.select(CYCLE).order_by(CYCLE.c.cycle.desc()).limit(limit)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def newest_before(self, cycle: Cycle) -> str | None:
        """Return the newest earlier cycle that has a record, None without one."""
        query = sa.select(sa.func.max(CYCLE.c.cycle)).where(CYCLE.c.cycle < cycle.key)
        with self._database.read() as connection:
            newest: str | None = connection.execute(query).scalar_one()
        return newest

    def open_before(self, cycle: Cycle, *, limit: int = 100) -> list[CycleRecord]:
        """Return the records of earlier cycles that nothing has closed, the oldest first."""
        query = sa.select(CYCLE).where(CYCLE.c.status == OPEN, CYCLE.c.cycle < cycle.key).order_by(CYCLE.c.cycle)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query.limit(limit))]

    def get(self, cycle: Cycle) -> CycleRecord | None:
        """Return one cycle's record."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(CYCLE).where(CYCLE.c.cycle == cycle.key)).first()
        return None if row is None else _record(row)

    def status_counts(self) -> dict[str, int]:
        """Return the number of cycles by status."""
        query = sa.select(CYCLE.c.status, sa.func.count()).group_by(CYCLE.c.status)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _record(row: sa.Row[Any]) -> CycleRecord:
    values = dict(row._mapping)
    return CycleRecord(**{**values, "report": dict(json.loads(values["report"]))})
