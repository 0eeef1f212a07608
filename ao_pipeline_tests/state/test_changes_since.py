"""What a table became since a mark follows from the bundles in between, whatever kind they are; or it is not told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ao_pipeline.adapters.state import since
from ao_pipeline.adapters.state.catalog import BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.bundles.schema import TableSpec, instant, text
from ao_pipeline.clock import EPOCH
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

ASSET = EVERY_TYPE.asset
START = FIRST.end


def write(store: StateStore, number: int, **amounts: int) -> str:
    """Commit these rows alone as the table's state of a cycle; return the mark of it."""
    rows = [row(EVERY_TYPE, name, 1, amount_minor=amount) for name, amount in amounts.items()]
    commit(store, EVERY_TYPE, FIRST.shift(number), rows, is_full=True)
    return store.changes_since(ASSET, "").mark


def told(store: StateStore, mark: str) -> dict[str, Any] | None:
    """Return what came, changed and went, by name."""
    changes = store.changes_since(ASSET, mark).changes
    if changes is None:
        return None
    parts = {"+": changes.inserted, "~": changes.updated_after, "-": changes.deleted}
    return {sign: sorted(part.table.column("name").to_pylist()) for sign, part in parts.items() if len(part)}


def test_an_empty_store_has_no_mark(store: StateStore) -> None:
    found = store.changes_since(ASSET, "")

    assert (found.mark, found.changes) == ("", None)


def test_the_net_change_of_all_bundles_since_a_mark_is_told(store: StateStore) -> None:
    mark = write(store, 0, kept=1, edited=1, dropped=1, back=1)
    write(store, 1, kept=1, edited=2, passing=1, back=2)
    now = write(store, 2, kept=1, edited=3, came=1, back=1)

    assert told(store, mark) == {"+": ["came"], "~": ["edited"], "-": ["dropped"]}
    assert told(store, now) == {}
    assert store.changes_since(ASSET, mark).mark == now


def test_a_revert_is_a_change_like_any_other(store: StateStore) -> None:
    first = write(store, 0, edited=1, dropped=1)
    second = write(store, 1, edited=2, came=1)
    store.revert(Intent(EVERY_TYPE, FIRST, FIRST, "back", kind=BundleKind.REVERT))

    assert told(store, second) == {"+": ["dropped"], "~": ["edited"], "-": ["came"]}
    assert told(store, first) == {}


@pytest.mark.parametrize("mark", ["", "1", "1:", "one:two", "7:0000", "²:00", f"{10**30}:00"])
def test_a_mark_of_no_bundle_tells_nothing(store: StateStore, mark: str) -> None:
    write(store, 0, kept=1)

    assert told(store, mark) is None


def test_bundles_that_were_pruned_or_damaged_tell_nothing(store: StateStore) -> None:
    marks = [write(store, number, counter=number) for number in range(5)]
    store.prune(ASSET, keep_from=FIRST.shift(2))
    whole = told(store, marks[2])
    with store.database.write() as connection:
        newest = store.bundles(asset=ASSET)[1].bundle_id
        connection.execute(BUNDLE_PAYLOAD.update().where(BUNDLE_PAYLOAD.c.bundle_id == newest).values(payload=b"x"))

    assert whole == {"~": ["counter"]}
    assert told(store, marks[0]) is None
    assert told(store, marks[2]) is None


def test_bundles_with_more_rows_than_fit_in_memory_tell_nothing(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(since, "MAX_ROWS", 3)
    oldest = write(store, 0, edited=1, dropped=1)
    older = write(store, 1, edited=2, came=1)
    now = write(store, 2, edited=3, came=1)

    assert told(store, older) == {"~": ["edited"]}
    assert told(store, oldest) is None
    assert store.changes_since(ASSET, oldest).mark == now


def test_rows_are_found_by_a_column_that_is_no_key(store: StateStore) -> None:
    rows = [row(EVERY_TYPE, f"k{n}", 1, note=f"k{n % 3}") for n in range(9)]
    commit(store, EVERY_TYPE, FIRST, rows, is_full=True)

    found = store.read(ASSET, ("note", "amount_minor"), only=["k2", "none"])

    assert sorted(found.column("name").to_pylist()) == ["k2", "k5", "k8"]
    assert set(found.column("note").to_pylist()) == {"k2"}
    assert store.read(ASSET, ("note",), only=[]).num_rows == 0


TIMED = TableSpec(asset="proof/timed", key=(text("name"),), columns=(instant("seen_at"),), row="one thing with a time")


def test_the_latest_rows_come_first_and_none_is_passed_over(database_url: str) -> None:
    store = open_empty(database_url, TIMED)
    times = [None, EPOCH, *(START + timedelta(microseconds=n // 3) for n in range(20)), None]
    rows = [{"name": f"k{number:02}", "seen_at": at} for number, at in enumerate(times)]
    commit(store, TIMED, FIRST, rows, is_full=True)
    seen, before = [], None

    while True:
        found = store.read(TIMED.asset, ("seen_at",), before=before, most=4).to_pylist()
        if not found:
            break
        places = sorted(((row["seen_at"] or EPOCH, row["name"]) for row in found), reverse=True)
        seen, before = seen + places, places[-1]

    assert seen == sorted(((row["seen_at"] or EPOCH, row["name"]) for row in rows), reverse=True)
    store.close()
