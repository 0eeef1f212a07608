"""One intent, one bundle, one writer: retries, zombies, faults at every step, writers at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.errors import FencedError, PermanentError, TransientError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent, open_empty, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


def one(name: str, **cells: Any) -> Row:
    """Return a row named `name`."""
    return row(EVERY_TYPE, name, 1, **cells)


def names(store: StateStore) -> list[str]:
    """Return the names of the stored rows."""
    return sorted(store.read(ASSET).column("name").to_pylist())


def everything(store: StateStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, the engine's own included; fencing tokens aside."""
    tables = {}
    with store.database.read() as connection:
        for table in [*ENGINE.sorted_tables, sa.table(EVERY_TYPE.name, *map(sa.column, EVERY_TYPE.column_names))]:
            columns = [column for column in table.columns if column.name != "fence"]
            rows = connection.execute(sa.select(*columns))
            tables[table.name] = sorted(tuple(map(repr, found)) for found in rows)
    return tables


def test_a_retry_finds_its_own_bundle(store: StateStore) -> None:
    first = commit(store, EVERY_TYPE, FIRST, [one("a")], name="run-1")
    again = commit(store, EVERY_TYPE, FIRST, [one("a"), one("b")], name="run-1")
    other = commit(store, EVERY_TYPE, FIRST, [one("a"), one("b")], name="run-2")

    assert again.is_replay
    assert again.header == first.header
    assert (other.is_replay, other.header.seq) == (False, 2)
    assert len(store.bundles(asset=ASSET)) == 2


def test_a_writer_that_found_its_bundle_cannot_commit_and_overtakes_nobody(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a")], name="run-1")
    at_work = store.begin(intent(EVERY_TYPE, FIRST.shift(1), "run-2"))

    late = store.begin(intent(EVERY_TYPE, FIRST, "run-1"))

    with pytest.raises(FencedError, match="already has bundle"):
        store.commit(late, Change(conform(EVERY_TYPE, []), is_full=True))
    assert store.commit(at_work, Change(conform(EVERY_TYPE, [one("b")]), is_full=True)).header.seq == 2


def test_a_zombie_cannot_commit_after_its_successor(store: StateStore) -> None:
    zombie = store.begin(intent(EVERY_TYPE, FIRST, "run"))
    successor = store.begin(intent(EVERY_TYPE, FIRST, "run"))
    store.commit(successor, Change(conform(EVERY_TYPE, [one("successor")]), is_full=True))
    before = everything(store)

    with pytest.raises(FencedError, match="took over"):
        store.commit(zombie, Change(conform(EVERY_TYPE, [one("zombie")]), is_full=True))

    assert everything(store) == before
    assert names(store) == ["successor"]


def test_a_zombie_cannot_commit_before_its_successor_either(store: StateStore) -> None:
    zombie = store.begin(intent(EVERY_TYPE, FIRST, "run"))
    store.begin(intent(EVERY_TYPE, FIRST, "run"))

    with pytest.raises(FencedError):
        store.commit(zombie, Change(conform(EVERY_TYPE, [one("zombie")]), is_full=True))

    assert store.head(ASSET) is None


class PlantedError(Exception):
    """The fault that a test plants."""


@pytest.mark.parametrize("kind", ["first", "full", "partial", "revert"])
@pytest.mark.parametrize("step", [step for step in CommitStep if step is not CommitStep.COMMITTED])
def test_a_fault_at_any_step_leaves_everything_as_it_was(database_url: str, step: CommitStep, kind: str) -> None:
    raised: list[CommitStep] = []
    armed: list[CommitStep] = []

    def probe(reached: CommitStep) -> None:
        if reached in armed:
            raised.append(reached)
            raise PlantedError

    store = open_empty(database_url, EVERY_TYPE, probe=probe)
    if kind != "first":
        commit(store, EVERY_TYPE, FIRST, [one("a"), one("b"), one("c")], cursor={"page": 1})
        commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", note="x"), one("d")], cursor={"page": 2})
    before = everything(store)
    armed.append(step)
    refused = (Quarantined("r", "no key", "{}"),)

    def write() -> None:
        if kind == "revert":
            store.revert(intent(EVERY_TYPE, FIRST, "take-back"))
        else:
            rows = [one("a", note="y"), one("e")]
            commit(
                store,
                EVERY_TYPE,
                FIRST.shift(2),
                rows,
                name="faulty",
                is_full=kind != "partial",
                cursor={"page": 3},
                quarantined=refused,
            )

    with pytest.raises(PlantedError):
        write()

    assert raised == [step]
    after = everything(store)
    if kind == "first":  # Beginning makes the head's row; it stays, and says that there was no bundle yet.
        after["ao_asset_head"] = []
    assert after == before
    armed.clear()
    if kind == "revert":
        assert store.revert(intent(EVERY_TYPE, FIRST, "take-back")).header.seq == 3
    else:
        assert not commit(store, EVERY_TYPE, FIRST.shift(2), [one("e")], name="faulty").is_replay
    assert store.verify(ASSET) == []
    store.close()


def test_a_fault_after_the_commit_leaves_one_bundle_that_the_retry_finds(database_url: str) -> None:
    def probe(reached: CommitStep) -> None:
        if reached is CommitStep.COMMITTED:
            raise PlantedError

    store = open_empty(database_url, EVERY_TYPE, probe=probe)
    with pytest.raises(PlantedError):
        commit(store, EVERY_TYPE, FIRST, [one("a")])

    again = commit(reopen(store.database, EVERY_TYPE), EVERY_TYPE, FIRST, [one("a")])

    assert again.is_replay
    assert again.header.seq == 1
    store.close()


def test_two_writers_at_once_one_wins_and_one_is_told(store: StateStore) -> None:
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def write(name: str) -> None:
        writer = store.begin(intent(EVERY_TYPE, FIRST, name))
        start.wait(timeout=30)
        try:
            store.commit(writer, Change(conform(EVERY_TYPE, [one(name)]), is_full=True))
            outcomes.append("won " + name)
        except FencedError:
            outcomes.append("fenced")

    threads = [threading.Thread(target=write, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(outcomes)[0] == "fenced"
    assert len(outcomes) == 2
    assert ["won " + name for name in names(store)] == sorted(outcomes)[1:]
    assert store.verify(ASSET) == []
    assert len(store.bundles(asset=ASSET)) == 1


def test_writers_of_different_assets_do_not_wait_for_a_fence(database_url: str) -> None:
    specs = [replace(EVERY_TYPE, asset=f"proof/writer_{n}") for n in range(4)]
    store = open_empty(database_url, *specs)
    failures: list[BaseException] = []

    def write(position: int) -> None:
        try:
            for step in range(10):
                commit(store, specs[position], FIRST.shift(step), [one(f"{position}-{step}-{n}") for n in range(5)])
        except (TransientError, PermanentError) as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(len(specs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    assert [len(store.bundles(asset=spec.asset)) for spec in specs] == [10] * 4
    assert [store.verify(spec.asset) for spec in specs] == [[]] * 4
    store.close()
