"""The questions that operators ask the store, for a process that must always answer: read-only and bounded in time.

It opens connections of its own: the writers' ones wait up to half a minute for a lock, create the database when it is
missing, and belong to the transaction machinery. Nothing here writes, creates or migrates.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ao_pipeline.adapters.state.breaker_tables import BREAKER
from ao_pipeline.adapters.state.catalog import ALERT, ASSET_HEAD, BUNDLE, CYCLE, HOLD, INCIDENT, QUARANTINE
from ao_pipeline.adapters.state.leases import engine_lease
from ao_pipeline.adapters.state.recoveries import recovery_counts
from ao_pipeline.adapters.state.totals import ROW_FIGURES, Figures, bundle_figures, cycle_figures, folded
from ao_pipeline.clock import to_iso
from ao_pipeline.errors import ConfigError, TransientError
from ao_pipeline.observability.view import (
    COMPLETED_STATUSES,
    CYCLE_BOUNDS_SECONDS,
    CYCLE_STATUSES,
    STEP_BOUNDS_SECONDS,
    AssetHead,
    BundleTotals,
    Histogram,
    OpenCycle,
    OpenIncident,
    OperationsView,
)

READ_TIMEOUT_MS: Final = 2_000
"""Bound of one statement and of one wait for a lock. A reading takes tens of milliseconds; a scrape may take 10 s."""

SNAPSHOT_ASSET: Final = "snapshot/agency"
_SNAPSHOT: Final = sa.table("snapshot_agency")

DELIVERY_TABLE: Final = "notify_deliveries"
_DELIVERY: Final = sa.table(DELIVERY_TABLE, sa.column("channel", sa.Text), sa.column("status", sa.Text))

MAX_SNAPSHOT_ROWS: Final = 1_000
"""Sections that `/snapshot` shows; there are about ten."""

_MAX_OPEN_CYCLES: Final = 100
_MAX_INCIDENTS: Final = 200


class OperationsReader:
    """Answers from stored state. Safe to use from several threads; each answer is one read transaction."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = _read_only_engine(sa.make_url(url))
        except (SQLAlchemyError, ValueError) as error:
            raise ConfigError(f"AO_STATE_URL cannot be used: {type(error).__name__}") from error

    def view(self) -> OperationsView:
        """Return one consistent reading.

        Raises:
            TransientError: The store is missing, not migrated, locked or unreachable.
        """
        with self._read() as connection:
            figures = bundle_figures(connection)
            figures.update(cycle_figures(connection))
            figures.update(folded(connection))
            return OperationsView(
                heads=_heads(connection),
                holds={row.asset: row.reason for row in connection.execute(sa.select(HOLD.c.asset, HOLD.c.reason))},
                quarantined=_refused(connection, QUARANTINE.c.status == "open"),
                refused=_refused(connection, sa.true()),
                deliveries=_deliveries(connection),
                db_size_bytes={"state": self._size(connection)},
                engine=engine_lease(connection),
                open_cycles=_open_cycles(connection),
                incidents=_incidents(connection),
                alerts=_alerts(connection),
                recoveries=recovery_counts(connection),
                **_breakers(connection),
                **_cycles(connection),
                **_from_figures(figures),
            )

    def ping(self) -> None:
        """Check that the store answers and is migrated.

        Raises:
            TransientError: It is not.
        """
        with self._read() as connection:
            connection.execute(sa.select(ASSET_HEAD.c.asset).limit(1)).all()

    def snapshot(self) -> dict[str, Any] | None:
        """Return the published snapshot and the cycle that it stands for, None before the first.

        Raises:
            TransientError: The store is missing, not migrated, locked or unreachable.
        """
        with self._read() as connection:
            head = next((head for head in _heads(connection) if head.asset == SNAPSHOT_ASSET), None)
            if head is None or not sa.inspect(connection).has_table(_SNAPSHOT.name):
                return None
            rows = (
                connection.execute(sa.select(sa.text("*")).select_from(_SNAPSHOT).limit(MAX_SNAPSHOT_ROWS))
                .mappings()
                .all()
            )
        sections = sorted(
            ({name: _json_value(name, value) for name, value in row.items()} for row in rows), key=_reading_order
        )
        return {"as_of_cycle": head.as_of_cycle, "sections": sections}

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _size(self, connection: sa.Connection) -> int:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(sa.select(sa.func.pg_database_size(sa.func.current_database()))).scalar_one())
        stem = self._engine.url.database or ""
        files = (Path(stem + suffix) for suffix in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except (SQLAlchemyError, OSError) as error:
            original = getattr(error, "orig", None) or error
            reason = str(original).strip().split("\n", 1)[0][:200]
            raise TransientError(f"{type(original).__name__}: {reason}") from error


def _read_only_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "").resolve()

        def connect() -> sqlite3.Connection:
            # mode=rw: never create a database, but be able to use the log of one that was not closed.
            connection = sqlite3.connect(
                f"{path.as_uri()}?mode=rw",
                uri=True,
                timeout=READ_TIMEOUT_MS / 1000,
                check_same_thread=False,
                isolation_level=None,
            )
            connection.execute("PRAGMA query_only=ON")
            return connection

        engine = sa.create_engine(url, creator=connect, poolclass=sa.NullPool, hide_parameters=True)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        return engine
    if url.get_backend_name() == "postgresql":
        bounds = f"-c statement_timeout={READ_TIMEOUT_MS} -c lock_timeout={READ_TIMEOUT_MS}"
        arguments = {
            "connect_timeout": 2,
            "tcp_user_timeout": READ_TIMEOUT_MS * 2,
            "options": f"{bounds} -c default_transaction_read_only=on -c timezone=UTC",
        }
        return sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=2,
            isolation_level="REPEATABLE READ",
            connect_args=arguments,
        )
    raise ConfigError(f"{url.get_backend_name()} is not supported; use sqlite:/// or postgresql+psycopg2://")


def _heads(connection: sa.Connection) -> tuple[AssetHead, ...]:
    same = sa.and_(BUNDLE.c.asset == ASSET_HEAD.c.asset, BUNDLE.c.seq == ASSET_HEAD.c.seq)
    rows = connection.execute(
        sa.select(
            ASSET_HEAD.c.asset,
            ASSET_HEAD.c.state_cycle.label("as_of_cycle"),
            ASSET_HEAD.c.computed_cycle,
            ASSET_HEAD.c.seq.label("bundle_count"),
            ASSET_HEAD.c.row_count,
            BUNDLE.c.kind,
            BUNDLE.c.started_at_us.label("committed_at_us"),
        )
        .join(BUNDLE, same)
        .order_by(ASSET_HEAD.c.asset)
    )
    return tuple(AssetHead(**row._mapping) for row in rows)


def _cycles(connection: sa.Connection) -> dict[str, Any]:
    def newest(*statuses: str) -> Any:
        query = sa.select(CYCLE.c.cycle, CYCLE.c.status).where(CYCLE.c.status.in_(statuses))
        return connection.execute(query.order_by(CYCLE.c.cycle.desc()).limit(1)).first()

    last, successful, completed = newest(*CYCLE_STATUSES), newest("success"), newest(*COMPLETED_STATUSES)
    return {
        "last_cycle": last.cycle if last else "",
        "last_status": last.status if last else "",
        "last_successful": successful.cycle if successful else "",
        "last_completed": completed.cycle if completed else "",
    }


def _open_cycles(connection: sa.Connection) -> tuple[OpenCycle, ...]:
    query = sa.select(CYCLE.c.cycle, CYCLE.c.run_id, CYCLE.c.opened_at_us).where(CYCLE.c.status == "open")
    rows = connection.execute(query.order_by(CYCLE.c.opened_at_us).limit(_MAX_OPEN_CYCLES))
    return tuple(OpenCycle(**row._mapping) for row in rows)


def _incidents(connection: sa.Connection) -> tuple[OpenIncident, ...]:
    columns = (INCIDENT.c.kind, INCIDENT.c.subject, INCIDENT.c.detail, INCIDENT.c.opened_at_us)
    query = sa.select(*columns).where(INCIDENT.c.resolved_at_us.is_(None)).order_by(INCIDENT.c.opened_at_us)
    return tuple(OpenIncident(**row._mapping) for row in connection.execute(query.limit(_MAX_INCIDENTS)))


def _alerts(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(ALERT.c.status, sa.func.count()).group_by(ALERT.c.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def _breakers(connection: sa.Connection) -> dict[str, Any]:
    counts = {
        "open": BREAKER.c.opened_count,
        "half_open": BREAKER.c.half_opened_count,
        "closed": BREAKER.c.closed_count,
    }
    rows = connection.execute(
        sa.select(BREAKER.c.name, BREAKER.c.state, *counts.values()).where(BREAKER.c.seq > 0)
    ).all()
    return {
        "breakers": {row.name: row.state for row in rows},
        "breaker_transitions": {(row.name, to): row[2 + n] for row in rows for n, to in enumerate(counts)},
    }


def _refused(connection: sa.Connection, where: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(QUARANTINE.c.asset, sa.func.count()).where(where).group_by(QUARANTINE.c.asset)
    return {row[0]: row[1] for row in connection.execute(query)}


def _deliveries(connection: sa.Connection) -> dict[tuple[str, str], int]:
    if not sa.inspect(connection).has_table(DELIVERY_TABLE):
        return {}
    columns = (_DELIVERY.c.channel, _DELIVERY.c.status)
    rows = connection.execute(sa.select(*columns, sa.func.count()).group_by(*columns))
    return {(str(channel), str(status)): count for channel, status, count in rows}


def _from_figures(figures: Figures) -> dict[str, Any]:
    """Arrange the summed figures by what the view calls them."""
    pairs = sorted({(asset, kind) for figure, asset, kind in figures if figure == "bundles"})
    steps = sorted({asset for figure, asset, _ in figures if figure == "step_ms"})
    durations = {asset: _step_histogram(figures, asset) for asset in steps}
    counts = tuple(
        sum(figures["cycle_le", status, str(bound)] for status in CYCLE_STATUSES) for bound in CYCLE_BOUNDS_SECONDS
    )
    seconds = sum(figures["cycle_us", "", status] for status in CYCLE_STATUSES) / 1_000_000
    closed = {status: figures["cycle", "", status] for status in CYCLE_STATUSES}
    return {
        "totals": tuple(
            BundleTotals(asset, kind, *(figures[name, asset, kind] for name in ROW_FIGURES)) for asset, kind in pairs
        ),
        "cycle_counts": closed,
        "cycle_seconds": Histogram(CYCLE_BOUNDS_SECONDS, counts, sum(closed.values()), seconds),
        "truth_seconds": {
            asset.split("/", 1)[1]: found for asset, found in durations.items() if asset.startswith("truth/")
        },
        "snapshot_seconds": durations.get(SNAPSHOT_ASSET, Histogram.empty(STEP_BOUNDS_SECONDS)),
    }


def _step_histogram(figures: Figures, asset: str) -> Histogram:
    counts = tuple(figures["step_le", asset, str(bound)] for bound in STEP_BOUNDS_SECONDS)
    return Histogram(
        STEP_BOUNDS_SECONDS, counts, figures["bundles", asset, "materialize"], figures["step_ms", asset, "sum"] / 1000
    )


def _reading_order(section: dict[str, Any]) -> tuple[int, str]:
    position = section.get("position")
    return (position if isinstance(position, int) else 0, str(section))


def _json_value(name: str, value: object) -> Any:
    if name.endswith("_json") and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, datetime):
        return to_iso(value)
    return value.isoformat() if isinstance(value, date) else value
