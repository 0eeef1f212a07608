"""Failed attempts of steps, one row each: what feeds the circuit breakers, and what people look at first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.breaker_tables import FAILURE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.evidence import Failure

MAX_READ: Final = 1_000
"""Failures of one cycle that are looked at; every asset failing twice is a tenth of it."""


class FailureLog:
    """History of failed attempts; appended to by steps, in transactions of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, failure: Failure) -> None:
        """Add one failed attempt; a second record of the same attempt changes nothing."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as connection:
            connection.execute(insert(FAILURE).values(**vars(failure)).on_conflict_do_nothing())

    def latest(self, asset: str | None = None, since_us: int = 0, limit: int = 50) -> list[Failure]:
        """Return failed attempts, the newest first."""
        query = sa.select(FAILURE).where(FAILURE.c.at_us >= since_us)
        if asset is not None:
            query = query.where(FAILURE.c.asset == asset)
        return self._read(
            query.order_by(FAILURE.c.at_us.desc(), FAILURE.c.asset, FAILURE.c.attempt.desc()).limit(limit)
        )

    def of_cycle(self, cycle: Cycle, root_runs: Collection[str]) -> list[Failure]:
        """Return the failed attempts of a cycle's runs, retries included, the oldest first."""
        query = sa.select(FAILURE).where(FAILURE.c.cycle == cycle.key, FAILURE.c.root_run_id.in_(list(root_runs)))
        return self._read(query.order_by(FAILURE.c.at_us, FAILURE.c.asset, FAILURE.c.attempt).limit(MAX_READ))

    def _read(self, query: sa.Select[Any]) -> list[Failure]:
        with self._database.read() as connection:
            return [Failure(**row._mapping) for row in connection.execute(query)]
