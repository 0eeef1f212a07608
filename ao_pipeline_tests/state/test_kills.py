"""A writer is killed at its boundaries; nothing is lost, half applied or doubled, and no human is needed afterwards."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.state import database as database_module
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.sqlite_io import SqliteIo
from ao_pipeline.bundles.changes import Change
from ao_pipeline_tests.stress.crashes import Crasher, private_server
from ao_pipeline_tests.stress.histories import FIRST, intent, open_empty
from ao_pipeline_tests.stress.jobs import KINDS
from ao_pipeline_tests.stress.kills import ACKNOWLEDGED, Killer, child
from ao_pipeline_tests.stress.sqlite_files import can_watch_files
from ao_pipeline_tests.stress.tables import EVERY_TYPE

SEED = 20261122
STRIDE = 9
"""`make stress` kills at every boundary; here every ninth, from a different start for each kind."""

needs_files = pytest.mark.skipif(not can_watch_files(), reason="SQLite is linked into this Python")


def killer_on(url: str, folder: Path, work: Callable[..., None] = child) -> Killer:
    """Return a killer on an empty store."""
    return Killer(open_empty(url, EVERY_TYPE), url, folder, SEED, work=work)


def test_a_killed_writer_leaves_all_or_nothing(database_url: str, tmp_path: Path) -> None:
    killer = killer_on(database_url, tmp_path)

    killer.run(28, stride=STRIDE)

    assert killer.problems == []
    assert killer.counts == {"kills": 28}
    assert {place.split(":")[0] for place in killer.places} >= {"full", "partial", "revert"}
    killer.store.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("boundary", "is_cut"),
    [
        ("before fsync of the log", False),
        ("before fsync of the log", True),
        ("after fsync of the log", True),
        (ACKNOWLEDGED, True),
    ],
)
@needs_files
def test_around_the_fsync_of_a_commit(tmp_path: Path, boundary: str, is_cut: bool, kind: str) -> None:
    killer = killer_on(f"sqlite:///{tmp_path / 'state.db'}", tmp_path)

    assert killer.kill_inside(killer.prepared(kind), boundary, is_cut=is_cut)

    assert killer.problems == []
    assert list(killer.places) == [f"{kind}: {boundary}{', power cut' if is_cut else ''}"]
    killer.store.close()


def child_that_never_syncs(*arguments: Any, **more: Any) -> None:
    """Leave the disk to write when it likes."""
    begin = database_module._begin_sqlite

    def careless(connection: Any) -> None:
        begin(connection.execution_options(ao_durable=False))

    database_module._begin_sqlite = careless
    child(*arguments, **more)


@needs_files
def test_a_commit_that_does_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    killer = killer_on(f"sqlite:///{tmp_path / 'state.db'}", tmp_path, child_that_never_syncs)
    killer.settle(killer.next_job("full"))

    killer.kill_inside(killer.prepared("full"), ACKNOWLEDGED, is_cut=True)

    assert killer.counts["lost"] == 1


def child_in_two_transactions(*arguments: Any, **more: Any) -> None:
    """Commit the rows before the bundle."""
    inside = SqliteIo.write

    def write(self: SqliteIo, connection: Any, *rest: Any, **rows: Any) -> None:
        inside(self, connection, *rest, **rows)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    SqliteIo.write = write  # type: ignore[method-assign]
    child(*arguments, **more)


def test_rows_that_are_committed_before_their_bundle_are_found_out(tmp_path: Path) -> None:
    killer = killer_on(f"sqlite:///{tmp_path / 'state.db'}", tmp_path, child_in_two_transactions)
    killer.settle(killer.next_job("full"))

    killer.kill_inside(killer.prepared("full"), CommitStep.BUNDLE_STORED.value, is_cut=False)

    assert killer.counts["half_applied"] > 0


def child_that_survives(*arguments: Any, **more: Any) -> None:
    """Do not die where the parent thinks."""
    url, job, _kill_at, place = arguments
    child(url, job, None, place, **more)
    Path(place).write_text("3 begun", encoding="utf-8")


def test_a_kill_that_did_not_happen_is_not_counted(tmp_path: Path) -> None:
    killer = killer_on(f"sqlite:///{tmp_path / 'state.db'}", tmp_path, child_that_survives)
    killer.settle(killer.next_job("full"))

    assert not killer.kill_inside(killer.next_job("full"), 3, is_cut=False)

    assert killer.counts["kills"] == 0
    assert "expected to die at 3" in killer.problems[0]


MADE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("CREATE TABLE numbers (number)")
"""
COUNTED = """
import sqlite3, sys
from ao_pipeline_tests.stress.sqlite_files import watch_files
files = watch_files(lambda _name: None)
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous=FULL")
for number in range(5):
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))
print(files.syncs)
"""


@needs_files
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_fsync_that_the_kernel_sees_is_a_boundary(tmp_path: Path) -> None:
    path, trace = str(tmp_path / "a.db"), tmp_path / "trace"
    subprocess.run([sys.executable, "-c", MADE, path], check=True)
    strace = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync"]

    done = subprocess.run(
        [*strace, sys.executable, "-c", COUNTED, path], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    if done.returncode and not trace.read_text():
        pytest.skip("strace may not trace here")

    # The folder is synced too when a file is new; SQLite does that inside the fsync of the file.
    of_files = re.findall(r"sync\(\d+<[^>]*a\.db", trace.read_text())
    assert int(done.stdout) == len(of_files) >= 5


@pytest.fixture(scope="module")
def crasher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crasher]:
    """A PostgreSQL server of the test's own, and whoever kills it."""
    with private_server() as server:
        yield Crasher(server, seed=SEED)


def test_a_server_killed_around_a_commit_keeps_what_it_acknowledged(crasher: Crasher) -> None:
    for boundary in ("before COMMIT", CommitStep.COMMITTED.value):
        assert crasher.crash_at("full", boundary)

    assert crasher.problems == []
    assert crasher.counts["kills"] == 2


def test_a_writer_that_has_begun_outlives_a_crash_of_its_server() -> None:
    with private_server() as server:
        server.configure(wal_writer_delay="10s")  # Nothing reaches the disk but what is waited for.
        with closing(open_empty(server.url, EVERY_TYPE)) as store:
            before = store.begin(intent(EVERY_TYPE, FIRST, "before the crash"))

            server.kill()
            server.start()

            # Were its token lost, its commit would be refused, and the next writer would be given the same one.
            assert store.commit(before, Change(EVERY_TYPE.empty(), is_full=False)).header.cycle == FIRST.key
            assert store.begin(intent(EVERY_TYPE, FIRST, "after the crash")).fence > before.fence


def test_a_server_that_does_not_wait_for_its_log_is_found_out(crasher: Crasher) -> None:
    crasher.server.configure(synchronous_commit="off", wal_writer_delay="10s")

    assert crasher.crash_at("full", ACKNOWLEDGED)

    assert crasher.counts["lost"] == 1
    crasher.server.configure()
    crasher.problems.clear()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_server_process_killed_in_its_fsync_loses_nothing_acknowledged(crasher: Crasher) -> None:
    # Now and then the server's own WAL writer is faster, and the process that works for the client has nothing to sync.
    crashed = any(crasher.crash_in_fsync("full") for _ in range(5))

    assert crasher.problems == []
    assert crashed or not crasher.can_trace
