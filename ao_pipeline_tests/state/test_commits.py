"""What a commit promises: exactly the change asked for, once, by one writer, or nothing at all."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE
from ao_pipeline.adapters.state.model import Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.errors import ContractError, HoldError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent
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
