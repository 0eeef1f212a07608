"""When a refused record stops counting: with a later good version, with its deletion, never with somebody else's row."""

from __future__ import annotations

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Quarantined
from ao_pipeline_tests.stress.histories import FIRST, commit
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

ASSET = EVERY_TYPE.asset
BAD = Quarantined("a/1", "no date", '{"name":"a","number":1}')


def open_keys(store: StateStore) -> list[str]:
    return [found["record_key"] for found in store.quarantine(asset=ASSET)]


def test_a_later_good_version_resolves_the_refusal(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [], is_full=False, quarantined=(BAD, Quarantined("b/1", "no date", "{}")))

    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "a", 1)], is_full=False)

    assert open_keys(store) == ["b/1"]
    (resolved,) = store.quarantine(asset=ASSET, status="resolved")
    assert (resolved["record_key"], resolved["last_cycle"]) == ("a/1", FIRST.shift(1).key)


def test_a_good_version_that_is_stored_already_resolves_it_too(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [row(EVERY_TYPE, "a", 1)])
    commit(store, EVERY_TYPE, FIRST.shift(1), [], is_full=False, quarantined=(BAD,))

    receipt = commit(store, EVERY_TYPE, FIRST.shift(2), [row(EVERY_TYPE, "a", 1)], is_full=False)

    assert receipt.header.rows_changed == 0
    assert open_keys(store) == []


def test_a_deletion_resolves_it(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [], is_full=False, quarantined=(BAD,))

    commit(store, EVERY_TYPE, FIRST.shift(1), [], is_full=False, deleted=[row(EVERY_TYPE, "a", 1)])

    assert open_keys(store) == []


def test_rows_of_other_records_resolve_nothing(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [], is_full=False, quarantined=(BAD,))

    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "a", 2), row(EVERY_TYPE, "b", 1)], is_full=False)

    assert open_keys(store) == ["a/1"]


def test_a_key_that_stands_behind_its_scope_is_recognised(store: StateStore) -> None:
    scoped = Quarantined("task-7/a/1", "no date", "{}")
    commit(store, EVERY_TYPE, FIRST, [], is_full=False, quarantined=(scoped,))

    commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "a", 1)], is_full=False)

    assert open_keys(store) == ["task-7/a/1"]  # Only single keys have a scope that is no part of them.


def test_a_refused_record_counts_as_one(store: StateStore) -> None:
    newer = Quarantined("a/1", "no date", '{"name":"a","number":1,"note":"x"}')
    commit(store, EVERY_TYPE, FIRST, [], is_full=False, quarantined=(BAD,))

    commit(store, EVERY_TYPE, FIRST.shift(1), [], is_full=False, quarantined=(newer,))

    assert [found["payload"] for found in store.quarantine(asset=ASSET)] == [newer.payload]
