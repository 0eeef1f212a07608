"""Incidents and alerts as rows. An alert is durable before anybody tries to send it; incidents are closed, never removed here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import ALERT, INCIDENT
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.resilience.conditions import Condition, IncidentKind
from ao_pipeline.resilience.incidents import (
    DEFAULT_ALERT_POLICY,
    Alert,
    AlertPolicy,
    Incident,
    compose,
    is_due,
    reconcile,
    tried,
)

ENDED_UNTOLD_LIMIT: Final = 500
"""Ended incidents whose end is still to be told, read at once."""

_HOUR_US: Final = 3_600_000_000


class IncidentLog:
    """What is and was wrong, and what was said about it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Incident]:
        """Return the open incidents, the oldest first."""
        with self._database.read() as connection:
            return _open(connection)

    def recent(self, *, limit: int = 50) -> list[Incident]:
        """Return the newest incidents, open or over, the newest first."""
        query = sa.select(INCIDENT).order_by(INCIDENT.c.opened_at_us.desc(), INCIDENT.c.incident_id).limit(limit)
        with self._database.read() as connection:
            return [_incident(row) for row in connection.execute(query)]

    def alerts(self, *, limit: int = 50) -> list[Alert]:
        """Return the newest alerts, whatever became of them, the newest first."""
        query = sa.select(ALERT).order_by(ALERT.c.created_at_us.desc(), ALERT.c.alert_id).limit(limit)
        with self._database.read() as connection:
            return [Alert(**row._mapping) for row in connection.execute(query)]

    def record(
        self, conditions: Iterable[Condition], *, now_us: int, policy: AlertPolicy = DEFAULT_ALERT_POLICY
    ) -> list[Incident]:
        """Bring the incidents up to date and make the alert about what is to be told, in one transaction.

        Args:
            conditions: What is wrong now.
            now_us: The moment.
            policy: Rules of telling.

        Returns:
            The incidents that are open after it.
        """
        found = list(conditions)
        with self._database.read() as connection:
            if not found and not _open(connection) and not _ended_untold(connection):
                return []  # The healthy path writes nothing.
        with self._database.write() as connection:
            if not self._database.is_sqlite:
                # Two evaluations at once would open everything twice.
                connection.execute(sa.text("LOCK TABLE ao_incident IN SHARE ROW EXCLUSIVE MODE"))
            after = reconcile(_open(connection), found, now_us=now_us, policy=policy)
            told = compose(
                [*after, *_ended_untold(connection)],
                now_us=now_us,
                sent_lately_us=_made_since(connection, now_us - _HOUR_US),
                policy=policy,
            )
            final = {incident.incident_id: incident for incident in after}
            if told is not None:
                alert, named = told
                connection.execute(self._insert(ALERT).values(**asdict(alert)).on_conflict_do_nothing())
                final |= {incident.incident_id: incident for incident in named}
            for incident in final.values():
                values = asdict(incident) | {"kind": incident.kind.value}
                connection.execute(
                    self._insert(INCIDENT)
                    .values(**values)
                    .on_conflict_do_update(index_elements=["incident_id"], set_=values)
                )
        return sorted((i for i in final.values() if i.is_open), key=lambda i: (i.opened_at_us, i.incident_id))

    def due_alerts(self, *, now_us: int, limit: int = 10, policy: AlertPolicy = DEFAULT_ALERT_POLICY) -> list[Alert]:
        """Return the alerts to try now, the oldest first."""
        query = sa.select(ALERT).where(ALERT.c.status == "pending").order_by(ALERT.c.created_at_us)
        with self._database.read() as connection:
            pending = [Alert(**row._mapping) for row in connection.execute(query)]
        return [alert for alert in pending if is_due(alert, now_us=now_us, policy=policy)][:limit]

    def mark_tried(
        self,
        alert: Alert,
        *,
        now_us: int,
        error: str | None,
        is_permanent: bool = False,
        policy: AlertPolicy = DEFAULT_ALERT_POLICY,
    ) -> Alert:
        """Record what became of a try; `error` is the class of what was raised, None when it was sent."""
        after = tried(alert, now_us=now_us, error=error, is_permanent=is_permanent, policy=policy)
        with self._database.write() as connection:
            connection.execute(ALERT.update().where(ALERT.c.alert_id == alert.alert_id).values(**asdict(after)))
        return after

    def revive(self) -> int:
        """Let alerts that were given up be tried anew; return how many. Only a person asks for it."""
        with self._database.write() as connection:
            dead = ALERT.update().where(ALERT.c.status == "dead")
            return connection.execute(dead.values(status="pending", attempts=0, last_attempt_us=None)).rowcount

    def undelivered(self, *, now_us: int, tries: int = 3) -> int:
        """Return how many alerts were given up or failed `tries` times since the last one that was sent.

        What lies in the future was tried before the clock was set back: it says nothing about now.
        """
        is_past = ALERT.c.last_attempt_us <= now_us
        sent = sa.select(sa.func.coalesce(sa.func.max(ALERT.c.last_attempt_us), 0)).where(
            ALERT.c.status == "sent", is_past
        )
        failed = sa.or_(ALERT.c.status == "dead", sa.and_(ALERT.c.status == "pending", ALERT.c.attempts >= tries))
        query = sa.select(sa.func.count()).where(failed, is_past, ALERT.c.last_attempt_us > sent.scalar_subquery())
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def alert_counts(self) -> dict[str, int]:
        """Return the number of alerts by status."""
        query = sa.select(ALERT.c.status, sa.func.count()).group_by(ALERT.c.status)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _insert(self, table: sa.Table) -> Any:
        return (sqlite.insert if self._database.is_sqlite else postgresql.insert)(table)


def _open(connection: sa.Connection) -> list[Incident]:
    query = sa.select(INCIDENT).where(INCIDENT.c.resolved_at_us.is_(None))
    rows = connection.execute(query.order_by(INCIDENT.c.opened_at_us, INCIDENT.c.incident_id))
    return [_incident(row) for row in rows]


def _ended_untold(connection: sa.Connection) -> list[Incident]:
    is_untold = sa.and_(
        INCIDENT.c.resolved_at_us.is_not(None),
        INCIDENT.c.opened_alert.is_not(None),
        INCIDENT.c.resolved_alert.is_(None),
    )
    query = sa.select(INCIDENT).where(is_untold).order_by(INCIDENT.c.resolved_at_us).limit(ENDED_UNTOLD_LIMIT)
    return [_incident(row) for row in connection.execute(query)]


def _made_since(connection: sa.Connection, since_us: int) -> list[int]:
    rows = connection.execute(sa.select(ALERT.c.created_at_us).where(ALERT.c.created_at_us > since_us))
    return [int(row[0]) for row in rows]


def _incident(row: sa.Row[Any]) -> Incident:
    values = dict(row._mapping)
    return Incident(**{**values, "kind": IncidentKind(values["kind"])})
