"""What the engine recovered by itself, counted: one row a kind, so that the record cannot grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import RECOVERY
from ao_pipeline.adapters.state.database import Database

MAX_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True)
class Recovered:
    """One kind of recovery: how often, and the last time."""

    kind: str
    count: int
    last_at_us: int
    last_subject: str
    last_reason: str


class RecoveryLog:
    """Counts of recoveries, the same for every process that asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, kind: str, subject: str, reason: str, *, at_us: int) -> None:
        """Count one recovery."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        last = {"last_at_us": at_us, "last_subject": subject, "last_reason": reason[:MAX_REASON_CHARACTERS]}
        with self._database.write() as connection:
            connection.execute(
                insert(RECOVERY)
                .values(kind=kind, count=1, **last)
                .on_conflict_do_update(index_elements=["kind"], set_={"count": RECOVERY.c["count"] + 1, **last})
            )

    def all(self) -> list[Recovered]:
        """Return every kind that ever happened, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(RECOVERY).order_by(RECOVERY.c.kind))
            return [Recovered(**row._mapping) for row in rows]


def recovery_counts(connection: sa.Connection) -> dict[str, int]:
    """Return how often each kind happened; monotone."""
    return {row[0]: row[1] for row in connection.execute(sa.select(RECOVERY.c.kind, RECOVERY.c["count"]))}
