"""Connections and transactions on SQLite and PostgreSQL, and the one translation of driver errors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from ao_pipeline.errors import ConfigError, PermanentError, TransientError

BUSY_TIMEOUT_MS: Final = 30_000
"""How long a writer waits for SQLite's single write lock. Commits take milliseconds; 30 s is thousands of them."""

CACHE_KIB: Final = 65_536
"""SQLite's page cache of one connection, at most. A commit reads rows and then writes them; with the default 2 MiB it reads twice."""

LOCK_TIMEOUT_MS: Final = 30_000
"""The same bound for row locks on PostgreSQL."""


class Database:
    """An engine with explicit read and write transactions.

    SQLite: WAL, `synchronous=FULL`, every write transaction starts with `BEGIN IMMEDIATE`, so that what it reads first
    cannot change before it writes. PostgreSQL: writers lock the head rows they touch.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = _create(url)
        except (SQLAlchemyError, ValueError) as error:
            raise ConfigError(f"AO_STATE_URL cannot be used: {type(error).__name__}") from error
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._in_use: dict[int, Any] = {}
        event.listen(self.engine, "checkout", self._note_checkout)
        event.listen(self.engine, "checkin", self._note_checkin)

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """Open a write transaction; commit on success, roll back on any error.

        Args:
            is_durable: Whether the commit waits for the disk. Without it a power cut may lose the transaction; a killed
                process does not.

        Raises:
            TransientError: Locked, unreachable, full or read-only. Nothing was written.
            PermanentError: The database refused the statement itself. Nothing was written.
        """
        options = {"ao_writes": True, "ao_durable": is_durable}
        with (
            _translated("write"),
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if not (is_durable or self.is_sqlite):
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction that sees one consistent state and blocks no writer."""
        with _translated("read"), self.engine.connect() as raw:
            connection = raw if self.is_sqlite else raw.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def abort(self) -> None:
        """Break every connection in use, from another thread: whoever waits for the database gets an error at once."""
        for connection in list(self._in_use.values()):
            with suppress(Exception):  # It may be closed meanwhile, which is as good.
                if self.is_sqlite:
                    connection.interrupt()
                else:
                    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                        wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def _note_checkout(self, connection: Any, _record: Any, _proxy: Any) -> None:
        self._in_use[id(connection)] = connection

    def _note_checkin(self, connection: Any, _record: Any) -> None:
        self._in_use.pop(id(connection), None)


def _create(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC -c client_encoding=UTF8"
        return sa.create_engine(
            url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": 10, "options": options}
        )
    raise ConfigError(f"{parsed.get_backend_name()} is not supported; use sqlite:/// or postgresql+psycopg2://")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # The driver must not begin transactions by itself; `_begin_sqlite` does.
    cursor = connection.cursor()
    settings = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")
    for pragma in (*settings, f"cache_size=-{CACHE_KIB}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("ao_writes", False):
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('ao_durable', True) else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


@contextmanager
def _translated(verb: str) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise TransientError(f"state store: cannot {verb}: {_first_line(error)}; it is tried again later") from error
    except DBAPIError as error:
        raise PermanentError(f"state store: {verb} was refused: {_first_line(error)}") from error


def _first_line(error: DBAPIError) -> str:
    """The driver's own first line: it has no bound values, unlike the following DETAIL lines."""
    return str(error.orig).strip().split("\n", 1)[0][:200]
