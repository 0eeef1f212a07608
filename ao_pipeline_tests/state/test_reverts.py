"""What a revert promises: the recorded state, proved before it is committed, and itself revertible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state import commit as commit_module
from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import FencedError, IntegrityError, UnknownNameError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


def one(name: str, **cells: Any) -> Row:
    """Return a row named `name`."""
    return row(EVERY_TYPE, name, 1, **cells)


def three_cycles(store: StateStore) -> list[list[Row]]:
    """Commit three cycles in which rows come, change, go and return; give what was stored after each."""
    listings = [
        [one("a", note="1", ratio=float("nan")), one("b", note=""), one("c")],
        [one("a", note="2"), one("d", tags="{}")],
        [one("a", note="3"), one("b", note="back"), one("e")],
    ]
    states = []
    for step, listing in enumerate(listings):
        commit(store, EVERY_TYPE, FIRST.shift(step), listing, cursor={"step": step})
        states.append(stored(store))
    return states


def stored(store: StateStore) -> list[Any]:
    """Return the table's rows, sorted, in a form in which equal means byte-equal."""
    return sorted(repr(sorted(found.items())) for found in store.read(ASSET).to_pylist())


def take_back(store: StateStore, step: int, name: str = "revert") -> Any:
    """Revert to the cycle of a step."""
    return store.revert(intent(EVERY_TYPE, FIRST.shift(step), name, reason="test"))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_revert_gives_back_the_very_rows_and_the_cursor(store: StateStore, step: int) -> None:
    states = three_cycles(store)
    recorded = store.bundles(asset=ASSET)[::-1][step]

    receipt = take_back(store, step)

    assert stored(store) == states[step]
    assert store.cursor(ASSET) == {"step": step}
    assert receipt.header.state_hash_after == recorded.state_hash_after
    assert (receipt.header.kind, receipt.header.target_id) == (BundleKind.REVERT, recorded.bundle_id)
    assert store.verify(ASSET) == []


def test_a_revert_can_be_reverted_and_so_on(store: StateStore) -> None:
    states = three_cycles(store)

    for number, step in enumerate([0, 2, 1, 0, 2]):
        take_back(store, step, f"revert-{number}")
        assert stored(store) == states[step]
    assert len(store.bundles(asset=ASSET)) == 8
    assert store.verify(ASSET) == []


def test_a_plan_says_exactly_what_the_revert_does_and_writes_nothing(store: StateStore) -> None:
    three_cycles(store)
    before = stored(store), store.head(ASSET)

    plan = store.plan_revert(EVERY_TYPE, FIRST)

    assert (stored(store), store.head(ASSET)) == before
    header = take_back(store, 0).header
    assert (plan.rows_inserted, plan.rows_updated, plan.rows_deleted) == (
        header.rows_inserted,
        header.rows_updated,
        header.rows_deleted,
    )
    assert plan.preview.num_rows == header.rows_changed


def test_a_revert_asked_for_twice_happens_once(store: StateStore) -> None:
    three_cycles(store)

    first, second = take_back(store, 0), take_back(store, 0)

    assert (first.is_replay, second.is_replay) == (False, True)
    assert first.header == second.header


def test_a_revert_overtakes_a_computation_that_is_at_work(store: StateStore) -> None:
    from ao_pipeline.bundles.canonical import conform
    from ao_pipeline.bundles.changes import Change

    states = three_cycles(store)
    writer = store.begin(intent(EVERY_TYPE, FIRST.shift(3), "run"))

    take_back(store, 0)

    with pytest.raises(FencedError):
        store.commit(writer, Change(conform(EVERY_TYPE, []), is_full=True))
    assert stored(store) == states[0]


def test_the_next_cycle_collects_again_what_was_taken_back(store: StateStore) -> None:
    states = three_cycles(store)
    take_back(store, 0)

    commit(store, EVERY_TYPE, FIRST.shift(3), [one("a", note="3"), one("b", note="back"), one("e")], cursor={"step": 2})

    assert stored(store) == states[2]
    assert store.plan_revert(EVERY_TYPE, FIRST.shift(2)).target.seq == 3
    head = store.head(ASSET)
    assert head is not None
    assert head.computed_cycle == FIRST.shift(3).key


def test_a_held_asset_can_be_reverted(store: StateStore) -> None:
    states = three_cycles(store)
    store.hold(ASSET, reason="looks wrong", actor="mara")

    take_back(store, 1)

    assert stored(store) == states[1]


def test_a_cycle_in_which_the_asset_was_not_due_has_the_state_before_it(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a")])
    commit(store, EVERY_TYPE, FIRST.shift(8), [one("b")])

    store.revert(intent(EVERY_TYPE, FIRST.shift(5), "revert"))

    assert [found["name"] for found in store.read(ASSET).to_pylist()] == ["a"]


def test_a_cycle_computed_again_reverts_to_its_newest_computation(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("old")], name="run-1")
    commit(store, EVERY_TYPE, FIRST.shift(1), [one("later")], name="run-2")
    commit(store, EVERY_TYPE, FIRST, [one("recomputed")], name="run-3")
    commit(store, EVERY_TYPE, FIRST.shift(2), [one("last")], name="run-4")

    take_back(store, 0)

    assert [found["name"] for found in store.read(ASSET).to_pylist()] == ["recomputed"]


def test_before_the_undo_window_it_says_how_far_back_it_can_go(store: StateStore) -> None:
    three_cycles(store)

    with pytest.raises(UnknownNameError, match=FIRST.key):
        store.revert(intent(EVERY_TYPE, FIRST.shift(-1), "revert"))
    with pytest.raises(UnknownNameError, match="undo window"):
        store.plan_revert(EVERY_TYPE, FIRST.shift(-100))


def test_an_asset_without_bundles_and_an_unknown_asset_are_named(store: StateStore) -> None:
    with pytest.raises(UnknownNameError, match=ASSET):
        store.revert(intent(EVERY_TYPE, FIRST, "revert"))
    with pytest.raises(UnknownNameError, match="nothing/like_it"):
        store.spec("nothing/like_it")
    with pytest.raises(UnknownNameError, match="not a cycle"):
        Cycle.from_key("yesterday")


@pytest.mark.parametrize("name", ["", "zz", "0123", "ffffffffffffffff", "%"])
def test_an_unknown_bundle_is_named(store: StateStore, name: str) -> None:
    with pytest.raises(UnknownNameError):
        store.bundle(name)


def flip(payload: bytes) -> bytes:
    """Return a payload with one bit turned."""
    return payload[:20] + bytes([payload[20] ^ 4]) + payload[21:]


@pytest.mark.parametrize(
    "damage", [flip, lambda payload: payload[:-1], lambda _: b"", None], ids=["bit", "cut", "empty", "gone"]
)
def test_a_damaged_payload_is_refused_and_nothing_changes(
    store: StateStore, damage: Callable[[bytes], bytes] | None
) -> None:
    states = three_cycles(store)
    bundle = store.bundles(asset=ASSET)[1]
    with store.database.write() as connection:
        where = BUNDLE_PAYLOAD.c.bundle_id == bundle.bundle_id
        payload = bytes(connection.execute(sa.select(BUNDLE_PAYLOAD.c.payload).where(where)).scalar_one())
        if damage is None:
            connection.execute(BUNDLE_PAYLOAD.delete().where(where))
        else:
            connection.execute(BUNDLE_PAYLOAD.update().where(where).values(payload=damage(payload)))

    with pytest.raises(IntegrityError, match=bundle.bundle_id):
        take_back(store, 0)

    assert stored(store) == states[2]
    take_back(store, 1)  # The damaged bundle itself is not needed to go back to its own state.
    assert stored(store) == states[1]


def test_a_missing_bundle_is_named(store: StateStore) -> None:
    states = three_cycles(store)
    with store.database.write() as connection:
        connection.execute(BUNDLE.delete().where(BUNDLE.c.seq == 2))

    with pytest.raises(IntegrityError, match="bundle 2 is missing"):
        take_back(store, 0)
    assert stored(store) == states[2]


@pytest.mark.parametrize("limit", [200_000, 0], ids=["whole table", "written rows"])
def test_a_state_that_would_come_out_wrong_is_not_committed(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(commit_module, "FULL_VERIFY_ROWS", limit)
    three_cycles(store)
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'edited' WHERE name = 'a'"))
    before = stored(store), store.head(ASSET)

    with pytest.raises(IntegrityError, match="nothing was changed"):
        take_back(store, 0)

    after = store.head(ASSET)
    assert stored(store) == before[0]
    assert after is not None
    assert before[1] is not None
    assert replace(after, fence=0) == replace(before[1], fence=0)


@pytest.mark.parametrize("limit", [200_000, 0], ids=["whole table", "written rows"])
def test_a_write_that_the_database_changed_is_noticed_before_the_commit(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(commit_module, "FULL_VERIFY_ROWS", limit)
    states = three_cycles(store)
    kept = store.tables.write

    def lossy(connection: sa.Connection, spec: Any, **rows: Any) -> None:
        kept(connection, spec, **rows)
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'cut' WHERE name = 'b'"))

    monkeypatch.setattr(store.tables, "write", lossy)

    with pytest.raises(IntegrityError):
        take_back(store, 0)
    assert stored(store) == states[2]


def test_a_delete_that_the_database_skipped_is_noticed_before_the_commit(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = three_cycles(store)
    monkeypatch.setattr(store.tables, "delete", lambda *_: None)

    with pytest.raises(IntegrityError):
        take_back(store, 0)
    assert stored(store) == states[2]
