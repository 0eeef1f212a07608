"""Requests to compute a stale asset again, as rows: durable before the run is asked for, so that no crash makes one more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import HEALING
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.stale_states import Asked


@dataclass(frozen=True)
class HealingRequest:
    """One request: the cycle that it was for, its number in that cycle, and why."""

    asset: str
    cycle: str
    attempt: int
    reason: str
    requested_at_us: int


class HealingLog:
    """History of healing requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, cycle: Cycle, reasons: Mapping[str, str], *, attempt: int, now_us: int) -> None:
        """Keep one request for each asset of `reasons`; the same attempt recorded twice is one request."""
        insert: Any = sqlite.insert if self._database.is_sqlite else postgresql.insert
        rows = [
            {"asset": asset, "cycle": cycle.key, "attempt": attempt, "reason": reason, "requested_at_us": now_us}
            for asset, reason in sorted(reasons.items())
        ]
        with self._database.write() as connection:
            connection.execute(insert(HEALING).on_conflict_do_nothing(), rows)

    def latest(self, *, since_us: int = 0, limit: int = 500) -> list[HealingRequest]:
        """Return requests, the newest first."""
        query = sa.select(HEALING).where(HEALING.c.requested_at_us >= since_us)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(HEALING.c.requested_at_us.desc(), HEALING.c.asset).limit(limit))
            return [HealingRequest(**row._mapping) for row in rows]

    def attempts(self, cycle: Cycle) -> int:
        """Return the highest attempt in a cycle, over all assets."""
        query = sa.select(sa.func.coalesce(sa.func.max(HEALING.c.attempt), 0)).where(HEALING.c.cycle == cycle.key)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def asked(self, computed_at_us: Mapping[str, int], *, cycle: Cycle) -> dict[str, Asked]:
        """Return the earlier requests for some assets.

        Args:
            computed_at_us: When each asset was last computed; 0 if never.
            cycle: The present one.
        """
        query = sa.select(HEALING.c.asset, HEALING.c.cycle, HEALING.c.requested_at_us).where(
            HEALING.c.asset.in_(list(computed_at_us))
        )
        found: dict[str, Asked] = {}
        with self._database.read() as connection:
            for asset, of_cycle, at_us in connection.execute(query):
                before = found.get(asset, Asked())
                found[asset] = Asked(
                    before.in_cycle + int(of_cycle == cycle.key),
                    before.since_computed + int(at_us > computed_at_us[asset]),
                    max(before.last_at_us, at_us),
                )
        return found
