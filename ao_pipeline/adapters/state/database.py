"""Connections and transactions on SQLite and PostgreSQL. What their errors mean belongs to `trouble`."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ao_pipeline import clock
from ao_pipeline.adapters.state.trouble import DRIVER_ERRORS, is_absent, is_locked, translated
from ao_pipeline.errors import ConfigError, TransientError
from ao_pipeline.resilience.progress import beat

BUSY_TIMEOUT_MS: Final = 30_000
"""How long a writer waits for SQLite's single write lock. Commits take milliseconds; 30 s is thousands of them."""

BUSY_SLICE_MS: Final = 1_000
"""How long one try for that lock takes: no signal reaches a thread in it."""

CACHE_KIB: Final = 65_536
"""SQLite's page cache of one connection, at most. A commit reads rows and then writes them; with the default 2 MiB it reads twice."""

LOCK_TIMEOUT_MS: Final = 30_000
"""The same bound for row locks on PostgreSQL."""

CONNECT_WAITS_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
"""Pauses between tries to connect, 16 s in all: a server restarts in less. Longer trouble is a matter for the next try of the step."""


class Database:
    """An engine with explicit read and write transactions.

    SQLite: WAL, `synchronous=FULL`, every write transaction starts with `BEGIN IMMEDIATE`, so that what it reads first
    cannot change before it writes. PostgreSQL: writers lock the head rows they touch.
    """

    def __init__(self, url: str, *, longest_seconds: float | None = None) -> None:
        """Connect to nothing yet.

        Args:
            url: Where it is.
            longest_seconds: Break a transaction that takes longer. For whoever has no watchdog and must not wait for a server
                that hangs: psycopg2 waits where no signal reaches it, and a server that was stopped never answers.
        """
        try:
            self.engine = _create(url)
        except (SQLAlchemyError, ValueError) as error:
            raise ConfigError(f"AO_STATE_URL cannot be used: {type(error).__name__}") from error
        except OSError as error:
            raise TransientError(
                f"state store: its folder cannot be made: {error.strerror}; check AO_DATA_DIR and its mount"
            ) from error
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._longest_seconds = longest_seconds
        self._is_away = False
        self._open: dict[int, Any] = {}
        event.listen(
            self.engine, "connect", lambda connection, _record: self._open.update({id(connection): connection})
        )
        event.listen(self.engine, "close", lambda connection, _record: self._open.pop(id(connection), None))

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """Open a write transaction; commit on success, roll back on any error.

        Args:
            is_durable: Whether the commit waits for the disk. Without it a power cut, which ends every writer too, may lose
                the transaction; a killed process does not. PostgreSQL always waits: it can crash while its clients live.

        Raises:
            TransientError: Locked, unreachable, full or read-only. Nothing was written.
            PermanentError: The database refused the statement itself. Nothing was written.
        """
        options = {"ao_writes": True, "ao_durable": is_durable}
        with (
            self._bounded("write"),
            self._connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction that sees one consistent state and blocks no writer."""
        with self._bounded("read"), self._connect() as raw:
            connection = raw if self.is_sqlite else raw.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def _connect(self) -> sa.Connection:
        """Return a connection; wait a little for a server that is restarting, a file that is being put back.

        Only here may anything be tried twice: nothing was read or written yet. A database that stayed away is asked once, and
        waited for again after it was seen.
        """
        waits = () if self._is_away else CONNECT_WAITS_SECONDS
        until = clock.monotonic_seconds() + sum(waits)
        for pause in (*waits, None):
            try:
                connection = self.engine.connect()
            except DRIVER_ERRORS as error:
                if pause is None or not is_absent(error) or clock.monotonic_seconds() > until:
                    self._is_away = True
                    raise
                beat(wait_seconds=pause)
                clock.sleep(pause)
            else:
                self._is_away = False
                return connection
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _bounded(self, verb: str) -> Iterator[None]:
        """Translate the driver's errors, and break a transaction that nobody else would."""
        timer = None if self._longest_seconds is None else threading.Timer(self._longest_seconds, self.abort)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield
        except DRIVER_ERRORS as error:
            raise translated(error, verb) from error
        finally:
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        """Break every connection, from another thread: whoever waits for the database gets an error at once."""
        for connection in list(self._open.values()):
            with suppress(Exception):  # It may be closed meanwhile, which is as good.
                if self.is_sqlite:
                    connection.interrupt()
                else:
                    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                        wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _create(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # A `file:` URI names an existing file, and is no path.
        if parsed.database and parsed.database != ":memory:" and not parsed.database.startswith("file:"):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC -c client_encoding=UTF8"
        return sa.create_engine(
            url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": 5, "options": options}
        )
    raise ConfigError(f"{parsed.get_backend_name()} is not supported; use sqlite:/// or postgresql+psycopg2://")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # The driver must not begin transactions by itself; `_begin_sqlite` does.
    cursor = connection.cursor()
    settings = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")
    for pragma in (*settings, f"cache_size=-{CACHE_KIB}", f"busy_timeout={min(BUSY_SLICE_MS, BUSY_TIMEOUT_MS)}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _take_write_lock(connection: sa.Connection) -> None:
    """Begin to write, as soon as nobody else does; between two tries a step's watchdog can end the wait."""
    until = clock.monotonic_seconds() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            if not is_locked(error) or clock.monotonic_seconds() >= until:
                raise
            beat()
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("ao_writes", False):
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('ao_durable', True) else 'NORMAL'}")
        _take_write_lock(connection)
    else:
        connection.exec_driver_sql("BEGIN")
