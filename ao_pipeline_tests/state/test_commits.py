"""What a commit promises: exactly the change asked for, once, by one writer, or nothing at all."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE, ROW_INDEX
from ao_pipeline.adapters.state.model import CommitStep, Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.errors import ContractError, FencedError, HoldError, IntegrityError, PermanentError, TransientError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent, open_empty, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


def one(name: str, **cells: Any) -> Row:
    """Return a row named `name`."""
    return row(EVERY_TYPE, name, 1, **cells)


def names(store: StateStore) -> list[str]:
    """Return the names of the stored rows."""
    return sorted(store.read(ASSET).column("name").to_pylist())


def counts(receipt: Receipt) -> tuple[int, int, int]:
    """Return inserted, updated, deleted."""
    header = receipt.header
    return header.rows_inserted, header.rows_updated, header.rows_deleted


def everything(store: StateStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, the engine's own included; fencing tokens aside."""
    tables = {}
    with store.database.read() as connection:
        for table in [*ENGINE.sorted_tables, sa.table(EVERY_TYPE.name, *map(sa.column, EVERY_TYPE.column_names))]:
            columns = [column for column in table.columns if column.name != "fence"]
            rows = connection.execute(sa.select(*columns))
            tables[table.name] = sorted(tuple(map(repr, found)) for found in rows)
    return tables


def test_a_full_listing_replaces_what_is_not_in_it(store: StateStore) -> None:
    first = commit(store, EVERY_TYPE, FIRST, [one("a"), one("b"), one("c")])
    second = commit(store, EVERY_TYPE, FIRST.shift(1), [one("a"), one("b", note="x"), one("d")])

    assert (counts(first), counts(second)) == ((3, 0, 0), (1, 1, 1))
    assert names(store) == ["a", "b", "d"]
    assert store.verify(ASSET) == []


def test_a_partial_change_leaves_what_it_does_not_name(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a"), one("b"), one("c")])

    receipt = commit(
        store,
        EVERY_TYPE,
        FIRST.shift(1),
        [one("a", note="x"), one("b"), one("d")],
        is_full=False,
        deleted=[one("c"), one("not there")],
    )

    assert counts(receipt) == (1, 1, 1)
    assert names(store) == ["a", "b", "d"]
    assert store.verify(ASSET) == []


def test_a_tombstone_takes_one_row_and_an_empty_listing_takes_all(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a"), one("b")])

    commit(store, EVERY_TYPE, FIRST.shift(1), [], is_full=False, deleted=[one("a")])
    assert names(store) == ["b"]
    commit(store, EVERY_TYPE, FIRST.shift(2), [])
    assert names(store) == []
    head = store.head(ASSET)
    assert head is not None
    assert head.state_hash == "0" * 32


def test_a_commit_that_changes_nothing_is_a_bundle_without_rows(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a", ratio=float("nan")), one("b", ratio=-0.0)])

    receipt = commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", ratio=float("nan")), one("b", ratio=0.0)])

    assert receipt.header.rows_changed == 0
    assert (receipt.header.payload_bytes, receipt.header.seq) == (0, 2)


def test_the_state_hash_is_that_of_the_table(store: StateStore) -> None:
    for step in range(6):
        rows = [one(f"k{n}", amount_minor=n * step) for n in range(step, step + 4)]
        commit(store, EVERY_TYPE, FIRST.shift(step), rows, is_full=step % 2 == 0)
        assert store.verify(ASSET) == []


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


def test_the_cursor_moves_with_the_rows_stays_and_is_cleared(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a")], cursor={"page": 1})
    assert store.cursor(ASSET) == {"page": 1}
    commit(store, EVERY_TYPE, FIRST.shift(1), [one("b")], cursor=None)
    assert store.cursor(ASSET) == {"page": 1}
    commit(store, EVERY_TYPE, FIRST.shift(2), [one("b")], cursor={})
    assert store.cursor(ASSET) is None
    assert store.verify(ASSET) == []


def test_refused_records_are_kept_resolved_and_reopened(store: StateStore) -> None:
    bad, worse = Quarantined("r1", "no key", '{"a":1}'), Quarantined("r2", "no date", "{}")

    commit(store, EVERY_TYPE, FIRST, [], quarantined=(bad, worse))
    assert {found["record_key"] for found in store.quarantine(asset=ASSET)} == {"r1", "r2"}
    commit(store, EVERY_TYPE, FIRST.shift(1), [one("r1")], quarantined=(worse,))
    assert [found["record_key"] for found in store.quarantine(asset=ASSET)] == ["r2"]
    assert [found["record_key"] for found in store.quarantine(asset=ASSET, status="resolved")] == ["r1"]
    commit(store, EVERY_TYPE, FIRST.shift(2), [], quarantined=(bad, worse))
    (reopened,) = [found for found in store.quarantine(asset=ASSET) if found["record_key"] == "r1"]
    assert (reopened["first_cycle"], reopened["last_cycle"]) == (FIRST.key, FIRST.shift(2).key)


def test_a_partial_change_resolves_only_the_record_that_came_in_anew(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [], quarantined=(Quarantined("r1", "old", "1"), Quarantined("r2", "old", "2")))

    commit(store, EVERY_TYPE, FIRST.shift(1), [one("x")], is_full=False, quarantined=(Quarantined("r1", "new", "3"),))

    assert {found["payload"] for found in store.quarantine(asset=ASSET)} == {"2", "3"}


def damage(store: StateStore, how: str) -> None:
    """Damage the stored row index."""
    with store.database.write() as connection:
        for stored in connection.execute(sa.select(ROW_INDEX)).all():
            blob = bytes(stored.entries)
            at = {"start": 3, "middle": len(blob) // 2, "end": len(blob) - 1}.get(how)
            damaged = (
                b"" if how == "empty" else blob if at is None else blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
            )
            where = sa.and_(ROW_INDEX.c.asset == stored.asset, ROW_INDEX.c.seq == stored.seq)
            if how == "gone":
                connection.execute(ROW_INDEX.delete().where(where))
            else:
                connection.execute(ROW_INDEX.update().where(where).values(entries=damaged))


@pytest.mark.parametrize("how", ["start", "middle", "end", "empty", "gone", "delta"])
def test_a_damaged_row_index_is_built_again(store: StateStore, how: str) -> None:
    listing = [one(f"k{n}") for n in range(40)]
    commit(store, EVERY_TYPE, FIRST, listing)
    commit(store, EVERY_TYPE, FIRST.shift(1), [one("k1", note="x")], is_full=False)
    if how == "delta":
        with store.database.write() as connection:
            connection.execute(ROW_INDEX.delete().where(ROW_INDEX.c.seq == 2))
    else:
        damage(store, how)

    receipt = commit(store, EVERY_TYPE, FIRST.shift(2), [*listing[:30], one("new")])

    assert counts(receipt) == (1, 1, 10)
    assert store.verify(ASSET) == []


def test_the_index_follows_many_partial_commits(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one(f"k{n}") for n in range(20)])
    for step in range(1, 8):
        commit(
            store,
            EVERY_TYPE,
            FIRST.shift(step),
            [one(f"k{step}", amount_minor=step)],
            is_full=False,
            deleted=[one(f"k{step + 8}")],
        )
    current = store.read(ASSET).to_pylist()

    receipt = commit(store, EVERY_TYPE, FIRST.shift(9), current)

    assert receipt.header.rows_changed == 0
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ROW_INDEX)).scalar_one() >= 1


@pytest.mark.parametrize("is_full", [True, False])
def test_a_row_edited_outside_the_store_is_not_taken_over_in_silence(store: StateStore, *, is_full: bool) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a"), one("b")])
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'edited' WHERE name = 'a'"))

    if is_full:
        with pytest.raises(IntegrityError, match="outside the store"):
            commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", note="x"), one("b")])
    else:
        commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", note="x")], is_full=False)
    assert store.verify(ASSET) != []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(conform(EVERY_TYPE, [one("a"), one("a", note="x")]), is_full=True), "more than once"),
        (
            Change(conform(EVERY_TYPE, [one("a")]), is_full=False, deleted=conform(EVERY_TYPE, [one("a")])),
            "both wanted and deleted",
        ),
        (
            Change(conform(EVERY_TYPE, [one("a")]), is_full=True, deleted=conform(EVERY_TYPE, [one("b")])),
            "cannot carry deletions",
        ),
        (Change(pa.table({"name": ["a"]}), is_full=True), "missing"),
        (Change(conform(EVERY_TYPE, [one("a")]).drop_columns(["note"]), is_full=True), "note"),
    ],
)
def test_a_change_that_contradicts_itself_is_refused(store: StateStore, change: Change, reason: str) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("z")])
    before = everything(store)
    writer = store.begin(intent(EVERY_TYPE, FIRST.shift(1), "run"))

    with pytest.raises(ContractError, match=reason):
        store.commit(writer, change)

    assert everything(store) == before


def test_a_held_asset_is_not_computed_and_still_finds_its_bundle(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a")], name="run-1")
    store.hold(ASSET, reason="looks wrong", actor="mara")

    with pytest.raises(HoldError, match="looks wrong"):
        store.begin(intent(EVERY_TYPE, FIRST.shift(1), "run-2"))
    assert store.begin(intent(EVERY_TYPE, FIRST, "run-1")).found is not None
    assert store.release(ASSET)
    assert store.begin(intent(EVERY_TYPE, FIRST.shift(1), "run-2")).found is None


def test_a_range_of_cycles_shares_one_bundle(store: StateStore) -> None:
    caught_up = intent(EVERY_TYPE, FIRST.shift(4), "catch-up", first_cycle=FIRST)
    store.commit(store.begin(caught_up), Change(conform(EVERY_TYPE, [one("a")]), is_full=True))

    for step in range(5):
        assert [bundle.seq for bundle in store.bundles(cycle=FIRST.shift(step))] == [1]
        assert store.plan_revert(EVERY_TYPE, FIRST.shift(step)).target.seq == 1
