"""A SQLite file that is locked, read-only, full or damaged: bounded waiting, no half write, a message that names the fix."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ao_pipeline import clock
from ao_pipeline.adapters.state import database
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.step_watch import Watchdog
from ao_pipeline.errors import IntegrityError, PermanentError, StepTimeoutError, TransientError
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one committed row."""
    path = tmp_path / "state" / "state.db"
    store = open_empty(f"sqlite:///{path}", EVERY_TYPE)
    commit(store, EVERY_TYPE, FIRST, [row(EVERY_TYPE, "before", 1)])
    store.close()
    return path


def opened(path: Path, *, query: str = "") -> StateStore:
    """Open a store on the file."""
    return reopen(Database(f"sqlite:///{query or path}"), EVERY_TYPE)


def names(store: StateStore) -> list[str]:
    """Return the names of the stored rows."""
    return sorted(store.read(ASSET).column("name").to_pylist())


def many_rows(count: int) -> list[Row]:
    """Return rows that need pages of their own."""
    return [row(EVERY_TYPE, f"n{number}", number, note="x" * 2_000) for number in range(count)]


@contextmanager
def locked(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the write lock."""
    command = [sys.executable, "-m", "ao_pipeline_tests.state.lock_holder", str(path)]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        try:
            yield holder
        finally:
            let_go(holder)


def let_go(holder: subprocess.Popen[str]) -> None:
    """Let the other process end its transaction."""
    assert holder.stdin is not None
    if holder.poll() is None:
        holder.communicate("\n", timeout=60)


def test_the_database_is_locked_waits_for_a_bounded_time_and_nothing_is_half_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 300)
    store = opened(path)

    with locked(path):
        began = clock.monotonic_seconds()
        with pytest.raises(TransientError, match="another process holds a lock"):
            commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])
        waited = clock.monotonic_seconds() - began
        assert names(store) == ["before"]  # Readers are not blocked.
    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])

    assert 0.25 < waited < 10
    assert names(store) == ["after"]
    assert store.verify(ASSET) == []


def test_a_lock_that_is_released_in_time_is_waited_for(path: Path) -> None:
    store = opened(path)

    with locked(path) as holder:
        release = threading.Timer(0.5, let_go, [holder])
        release.start()
        commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])
        release.join()

    assert names(store) == ["after"]


def test_a_step_that_waits_for_a_lock_is_interrupted_when_its_time_is_over(path: Path) -> None:
    store = opened(path)
    watchdog = Watchdog(look_seconds=0.05)
    allowance = Allowance(ASSET, 0.5, 0)
    began = clock.monotonic_seconds()

    with (
        locked(path),
        pytest.raises(StepTimeoutError),
        watchdog.watching(allowance, abort=store.database.abort, die=lambda _: None),
    ):
        commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])

    assert clock.monotonic_seconds() - began < 15, "the wait for the lock is 30 s"
    assert names(store) == ["before"]
    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])
    assert names(store) == ["after"]


def test_a_read_only_file_is_a_clean_failure_and_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    store = opened(path, query=f"file:{path}?mode=ro&uri=true")

    with pytest.raises(TransientError, match="read-only; make the file and its folder writable"):
        commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])

    assert names(store) == ["before"]
    store.close()
    assert names(opened(path)) == ["before"]
    assert not Path("file:").exists(), "a URI was taken for a path"


def test_a_full_disk_leaves_everything_as_it_was_and_goes_on_when_there_is_space(path: Path) -> None:
    store = opened(path)
    room: dict[str, int] = {"pages": 60}

    def limit(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={room['pages']}")

    event.listen(store.database.engine, "connect", limit)

    with pytest.raises(TransientError, match="its disk is full; free some space"):
        commit(store, EVERY_TYPE, FIRST.shift(1), many_rows(500))
    assert names(store) == ["before"]
    assert store.verify(ASSET) == []
    room["pages"] = 1_000_000
    store.close()
    commit(store, EVERY_TYPE, FIRST.shift(1), many_rows(500))

    assert len(names(store)) == 500
    assert store.verify(ASSET) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounting a small disk needs root",
)
def test_a_disk_that_is_really_full_leaves_everything_as_it_was(path: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        shutil.copy(path, disk / "state.db")
        store = opened(disk / "state.db")
        with pytest.raises(TransientError, match="state store: cannot write: .*full"):
            commit(store, EVERY_TYPE, FIRST.shift(1), many_rows(3_000))
        assert names(store) == ["before"]
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        commit(store, EVERY_TYPE, FIRST.shift(1), many_rows(3_000))
        assert len(names(store)) == 3_000
        assert store.verify(ASSET) == []
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_damaged_file_is_no_matter_for_a_retry(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1_000)

    with pytest.raises(IntegrityError, match="stop the engine and restore a backup"):
        names(opened(path))


def test_a_file_that_cannot_be_opened_is_waited_for_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(clock, "sleep", pauses.append)
    (tmp_path / "state.db").mkdir()
    store = opened(tmp_path / "state.db")

    for _ in range(3):
        with pytest.raises(TransientError, match="its file cannot be opened; check the folder"):
            store.heads()

    assert pauses == list(database.CONNECT_WAITS_SECONDS), "what stayed away is asked once, not waited for again"
    assert sum(pauses) < 20


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TransientError, match="its folder cannot be made: .*; check AO_DATA_DIR"):
        Database(f"sqlite:///{tmp_path / 'file' / 'state.db'}")


def test_a_missing_table_is_not_tried_again(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"DROP TABLE {EVERY_TYPE.name}")

    with pytest.raises(PermanentError, match="no such table"):
        names(opened(path))
