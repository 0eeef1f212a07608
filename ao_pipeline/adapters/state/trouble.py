"""What a database's error means: would the same call work later, and what would make it work?

Both drivers put most of what can go wrong into one class of exceptions; the codes behind them tell it apart. A message names the
fix and never the connection's address, which may hold a password.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import psycopg2
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ao_pipeline.errors import AoError, ConfigError, IntegrityError, PermanentError, TransientError

DRIVER_ERRORS: Final = (SQLAlchemyError, sqlite3.Error, psycopg2.Error)
"""What may come out of the database: SQLAlchemy's own wrapping, and the driver's where its cursor was used directly (COPY)."""

LATER: Final = "it is tried again later"


@dataclass(frozen=True)
class Trouble:
    """One thing that can be wrong.

    Attributes:
        kind: Error to raise for it.
        fix: What a person may do about it.
        is_absence: No connection came about; asking again in a moment may help, and nothing was written.
    """

    kind: type[AoError]
    fix: str
    is_absence: bool = False


_LOCKED: Final = Trouble(
    TransientError, "another process holds a lock for too long; `ao status` and `ao doctor` show what runs"
)
_READ_ONLY: Final = Trouble(
    TransientError, "it is read-only; make the file and its folder writable again, or mend the mount"
)
_FULL: Final = Trouble(TransientError, "its disk is full; free some space, nothing else has to be done")
_BAD_DISK: Final = Trouble(TransientError, "its disk gave an error; look into the system's log")
_NO_FILE: Final = Trouble(
    TransientError, "its file cannot be opened; check the folder, its permissions and its mount", is_absence=True
)
_BROKEN: Final = Trouble(IntegrityError, "its file is damaged; stop the engine and restore a backup")
_STOPPED: Final = Trouble(TransientError, f"it was interrupted; {LATER}")
_COLLIDED: Final = Trouble(TransientError, f"another transaction was in the way; {LATER}")
_AWAY: Final = Trouble(TransientError, f"the server is not there or not ready; start it, {LATER}", is_absence=True)
_LOST: Final = Trouble(TransientError, f"the connection was lost; {LATER}", is_absence=True)
_CROWDED: Final = Trouble(
    TransientError, "the server has no connection left; raise its max_connections", is_absence=True
)
_STANDBY: Final = Trouble(TransientError, "the server accepts no writes; point AO_STATE_URL at the primary")
_NO_MEMORY: Final = Trouble(TransientError, "the server is out of memory; give it more")
_REFUSED: Final = Trouble(ConfigError, "the server refuses this user or database; check AO_STATE_URL")
_NO_RIGHT: Final = Trouble(ConfigError, "the user of AO_STATE_URL lacks a right; grant it")
_UNKNOWN: Final = Trouble(TransientError, LATER)
_STATEMENT: Final = Trouble(PermanentError, "the statement was refused; `ao migrate` brings the tables up to date")

_OF_SQLITE: Final[Mapping[int, Trouble]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: _LOCKED,
        sqlite3.SQLITE_LOCKED: _LOCKED,
        sqlite3.SQLITE_PROTOCOL: _LOCKED,
        sqlite3.SQLITE_READONLY: _READ_ONLY,
        sqlite3.SQLITE_PERM: _READ_ONLY,
        sqlite3.SQLITE_FULL: _FULL,
        sqlite3.SQLITE_IOERR: _BAD_DISK,
        sqlite3.SQLITE_CANTOPEN: _NO_FILE,
        sqlite3.SQLITE_CORRUPT: _BROKEN,
        sqlite3.SQLITE_NOTADB: _BROKEN,
        sqlite3.SQLITE_INTERRUPT: _STOPPED,
        sqlite3.SQLITE_ERROR: _STATEMENT,
    }
)
"""By the low byte of SQLite's result code."""

_OF_POSTGRES: Final[Mapping[str, Trouble]] = MappingProxyType(
    {
        "08": _LOST,
        "57P01": _LOST,
        "57P02": _LOST,
        "57P03": _AWAY,
        "57P05": _LOST,
        "57014": _STOPPED,
        "40": _COLLIDED,
        "55P03": _LOCKED,
        "25006": _STANDBY,
        "53100": _FULL,
        "53200": _NO_MEMORY,
        "53300": _CROWDED,
        "53": _NO_MEMORY,
        "58": _BAD_DISK,
        "XX001": _BROKEN,
        "XX002": _BROKEN,
        "28": _REFUSED,
        "3D000": _REFUSED,
        "42501": _NO_RIGHT,
    }
)
"""By SQLSTATE, or by its class where a whole class means the same."""

_BY_WORDS: Final = (
    ("password authentication failed", _REFUSED),
    ("no password supplied", _REFUSED),
    ("no pg_hba.conf entry", _REFUSED),
    ("does not exist", _REFUSED),
    ("too many clients", _CROWDED),
    ("too many connections", _CROWDED),
    ("connection slots", _CROWDED),
    ("starting up", _AWAY),
    ("shutting down", _AWAY),
    ("recovery mode", _AWAY),
    ("connection refused", _AWAY),
    ("timeout expired", _AWAY),
    ("no such file or directory", _AWAY),
    ("could not translate host name", _AWAY),
    ("server closed the connection", _LOST),
    ("connection already closed", _LOST),
    ("terminating connection", _LOST),
    ("ssl ", _LOST),
    ("out of memory", _NO_MEMORY),
)
"""A refused connection has no SQLSTATE in psycopg2, only words (libpq 16; the tests make the server say them)."""


def trouble_of(error: BaseException) -> Trouble:
    """Return what is wrong."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.Error):
        return _of_sqlite(original)
    if isinstance(original, psycopg2.Error):
        return _of_postgres(original)
    if isinstance(error, PoolTimeoutError):
        return _CROWDED
    return _LOST if isinstance(error, DisconnectionError) else _STATEMENT


def translated(error: Exception, verb: str) -> AoError:
    """Return the project's own error for a driver's: its first line, and what to do.

    Args:
        error: One of `DRIVER_ERRORS`.
        verb: What was tried: read, write.
    """
    trouble = trouble_of(error)
    return trouble.kind(f"state store: cannot {verb}: {first_line(error)}; {trouble.fix}")


def first_line(error: BaseException) -> str:
    """Return the driver's own first line: it has no bound values, unlike the following DETAIL lines."""
    original = getattr(error, "orig", None) or error
    return str(original).strip().split("\n", 1)[0][:200]


def _of_sqlite(error: sqlite3.Error) -> Trouble:
    code: Any = getattr(error, "sqlite_errorcode", None)
    if code is not None and (found := _OF_SQLITE.get(code & 0xFF)) is not None:
        return found
    return _UNKNOWN if isinstance(error, sqlite3.OperationalError) else _STATEMENT


def _of_postgres(error: psycopg2.Error) -> Trouble:
    state = error.pgcode
    if state:
        found = _OF_POSTGRES.get(state) or _OF_POSTGRES.get(state[:2])
        return found or (_UNKNOWN if isinstance(error, psycopg2.OperationalError) else _STATEMENT)
    words = str(error).lower()
    for text, trouble in _BY_WORDS:
        if text in words:
            return trouble
    is_connection = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return _LOST if is_connection or isinstance(error, psycopg2.DatabaseError) else _STATEMENT


def is_absent(error: BaseException) -> bool:
    """Tell whether no connection came about, so that asking again in a moment may help."""
    return isinstance(error, DRIVER_ERRORS) and trouble_of(error).is_absence


def is_locked(error: BaseException) -> bool:
    """Tell whether somebody else holds the lock that is wanted."""
    return trouble_of(error) is _LOCKED
