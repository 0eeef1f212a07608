"""A PostgreSQL server that is away, stands still, refuses or dies: bounded waiting, no half write, a message that names the fix."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import database
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.heads import lock_head
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.step_watch import Watchdog
from ao_pipeline.errors import AoError, ConfigError, IntegrityError, StepStalledError, TransientError
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline_tests.state.private_postgres import PrivatePostgres, private_postgres
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty, reopen, wipe
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

ASSET = EVERY_TYPE.asset


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server of this module's own, with the store's tables."""
    with private_postgres() as private:
        open_empty(private.url, EVERY_TYPE).close()
        yield private


@pytest.fixture
def store(server: PrivatePostgres) -> Iterator[StateStore]:
    """A store with one committed row."""
    opened = reopen(Database(server.url), EVERY_TYPE)
    wipe(opened)
    commit(opened, EVERY_TYPE, FIRST, [row(EVERY_TYPE, "before", 1)])
    yield opened
    opened.close()


def names(store: StateStore) -> list[str]:
    """Return the names of the stored rows."""
    return sorted(store.read(ASSET).column("name").to_pylist())


def commit_after(store: StateStore) -> None:
    """Commit one other row in the next cycle."""
    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "after", 1)])


def raised_by_the_server(store: StateStore, state: str) -> AoError:
    """Let the server itself raise an error of this SQLSTATE in a write transaction; return what comes of it."""
    code = f"DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(AoError) as caught, store.database.write() as connection:
        connection.exec_driver_sql(code)
    return caught.value


@pytest.mark.parametrize(
    ("state", "kind", "fix"),
    [
        ("40001", TransientError, "another transaction was in the way"),
        ("40P01", TransientError, "another transaction was in the way"),
        ("53100", TransientError, "its disk is full"),
        ("53200", TransientError, "out of memory"),
        ("53300", TransientError, "max_connections"),
        ("57014", TransientError, "interrupted"),
        ("58030", TransientError, "system's log"),
        ("25006", TransientError, "point AO_STATE_URL at the primary"),
        ("42501", ConfigError, "lacks a right"),
        ("XX001", IntegrityError, "restore a backup"),
        ("XX002", IntegrityError, "restore a backup"),
    ],
)
def test_each_state_has_its_class_and_its_fix(store: StateStore, state: str, kind: type[AoError], fix: str) -> None:
    error = raised_by_the_server(store, state)

    assert isinstance(error, kind)
    assert fix in str(error)


def test_a_server_that_accepts_no_writes_is_told_apart(store: StateStore) -> None:
    @sa.event.listens_for(store.database.engine, "begin")
    def read_only(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    with pytest.raises(TransientError, match="point AO_STATE_URL at the primary"):
        commit_after(store)
    assert names(store) == ["before"]


def test_a_locked_row_is_waited_for_within_bounds(
    store: StateStore, server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 300)
    other = reopen(Database(server.url), EVERY_TYPE)

    with store.database.write() as connection:
        lock_head(connection, ASSET)
        with pytest.raises(TransientError, match="another process holds a lock"):
            commit_after(other)
    commit_after(other)

    assert names(other) == ["after"]
    other.close()


def test_no_such_database_is_a_matter_of_the_settings(server: PrivatePostgres) -> None:
    nowhere = Database(sa.make_url(server.url).set(database="nowhere").render_as_string(hide_password=False))

    with pytest.raises(ConfigError, match="check AO_STATE_URL"), nowhere.read():
        pytest.fail("there is no such database")


def test_connections_that_the_server_ended_are_not_used_again(store: StateStore, server: PrivatePostgres) -> None:
    names(store)  # One connection lies in the pool.
    with sa.create_engine(server.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as admin:
        admin.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )

    commit_after(store)

    assert names(store) == ["after"]


@pytest.mark.parametrize("step", [CommitStep.BEGUN, CommitStep.APPLIED, CommitStep.HEAD_MOVED])
def test_a_server_that_is_killed_within_a_commit_leaves_the_rows_that_were_there(
    store: StateStore, server: PrivatePostgres, step: CommitStep
) -> None:
    killed: list[CommitStep] = []

    def kill(at: CommitStep) -> None:
        if at is step and not killed:
            killed.append(at)
            server.kill()

    doomed = reopen(Database(server.url), EVERY_TYPE, probe=kill)
    with pytest.raises(TransientError, match="the connection was lost|the server is not there"):
        commit_after(doomed)
    assert killed == [step]
    server.start()
    server.wait_until_ready()

    assert names(doomed) == ["before"]  # The same store goes on: its dead connections were dropped.
    commit_after(doomed)
    assert names(store) == ["after"]
    assert doomed.verify(ASSET) == []
    doomed.close()


def test_the_database_is_unreachable_waits_with_bounded_backoff_and_says_so(
    store: StateStore, server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    server.kill()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(clock, "sleep", pauses.append)
            for _ in range(3):
                with pytest.raises(TransientError, match="the server is not there or not ready; start it"):
                    commit_after(store)
    finally:
        server.start()
        server.wait_until_ready()
    commit_after(store)

    assert pauses == list(database.CONNECT_WAITS_SECONDS), "what stayed away is asked once, not waited for again"
    assert names(store) == ["after"]


def test_a_restart_that_takes_less_than_the_patience_is_not_noticed(store: StateStore, server: PrivatePostgres) -> None:
    server.kill()
    back = threading.Timer(0.8, server.start)
    back.start()

    commit_after(store)

    back.join()
    assert names(store) == ["after"]


def test_a_server_that_stands_still_does_not_hold_a_sensor(server: PrivatePostgres, store: StateStore) -> None:
    """psycopg2 waits where no signal reaches it: the transaction's own limit breaks the connection."""
    impatient = reopen(Database(server.url, longest_seconds=1.0), EVERY_TYPE)
    names(impatient)
    began = clock.monotonic_seconds()

    with server.stopped(), pytest.raises(TransientError):
        impatient.heads()

    assert clock.monotonic_seconds() - began < 40
    assert names(impatient) == ["before"]
    impatient.close()


def test_a_step_that_waits_for_a_server_that_stands_still_is_ended(server: PrivatePostgres, store: StateStore) -> None:
    watchdog = Watchdog(look_seconds=0.05, insist_seconds=0.3)
    allowance = Allowance(ASSET, 60.0, 0, stall_seconds=0.5)

    with (
        pytest.raises(StepStalledError),
        watchdog.watching(allowance, abort=store.database.abort, die=lambda _: pytest.fail("it can be interrupted")),
        store.database.write() as connection,
        server.stopped(),
    ):
        lock_head(connection, ASSET)

    assert names(store) == ["before"]
    commit_after(store)
    assert names(store) == ["after"]
