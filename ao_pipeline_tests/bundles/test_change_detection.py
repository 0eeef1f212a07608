"""Change detection, index and netting against brute force, also when 64-bit halves of the hashes collide."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.changes import ChangeSet, HashedRows, change_set, hash_rows, match_positions
from ao_pipeline.bundles.hashing import Digests, StateHash
from ao_pipeline.bundles.index import IndexDelta, RowIndex
from ao_pipeline.bundles.netting import invert_one, net_undo
from ao_pipeline.bundles.schema import TableSpec, integer
from ao_pipeline.errors import ContractError, IntegrityError

NUMBERS = TableSpec("proof/numbers", (integer("number"),), (integer("value"),), "one number and its value")
State = dict[int, int]
STATES = st.dictionaries(st.integers(0, 15), st.integers(0, 3), max_size=12)

CELLS = st.none() | st.sampled_from([0.0, -0.0, 1.5])


def weak(number: int) -> tuple[int, int]:
    """Return a digest whose high half collides for every third number."""
    return number % 3, number


def weakly_hashed(state: State, order: list[int] | None = None) -> HashedRows:
    """Return rows with weak but distinct key digests; a row digest holds key and value."""
    numbers = list(state) if order is None else order
    table = pa.table({"number": numbers, "value": [state[n] for n in numbers]}, schema=NUMBERS.arrow_schema)
    return HashedRows(
        table, digests([weak(n) for n in numbers]), digests([(n % 3, n * 100 + state[n]) for n in numbers])
    )


def digests(pairs: list[tuple[int, int]]) -> Digests:
    """Return digests from (high, low) pairs."""
    return np.array(pairs, dtype=np.uint64).reshape(-1, 2)


def as_state(table: pa.Table) -> State:
    """Return a table as a dictionary."""
    return dict(zip(table.column("number").to_pylist(), table.column("value").to_pylist(), strict=True))


def between(old: State, new: State) -> ChangeSet:
    """Return the change set from one state to another."""
    return change_set(weakly_hashed(old), weakly_hashed(new), digests([weak(n) for n in old if n not in new]))


@given(STATES, STATES)
def test_a_change_set_holds_exactly_what_differs(old: State, new: State) -> None:
    changes = between(old, new)

    assert as_state(changes.inserted.table) == {n: v for n, v in new.items() if n not in old}
    assert as_state(changes.deleted.table) == {n: v for n, v in old.items() if n not in new}
    assert as_state(changes.updated_before.table) == {n: v for n, v in old.items() if n in new and new[n] != v}
    assert as_state(changes.updated_after.table) == {n: v for n, v in new.items() if n in old and old[n] != v}
    assert changes.updated_before.keys.tolist() == changes.updated_after.keys.tolist()


@given(STATES, STATES)
def test_the_cells_that_differ_are_named(old: State, new: State) -> None:
    changes = between(old, new)

    assert changes.differing["value"].all()
    assert not changes.differing["number"].any()


@given(st.lists(st.tuples(CELLS, CELLS), max_size=9))
def test_a_cell_differs_unless_both_are_null_or_the_same(cells: list[tuple[Any, Any]]) -> None:
    schema = pa.schema([("cell", pa.float64())])
    old, new = (pa.table({"cell": [pair[side] for pair in cells]}, schema=schema) for side in (0, 1))
    nothing = weakly_hashed({})
    before, after = (HashedRows(side, nothing.keys, nothing.rows) for side in (old, new))

    found = ChangeSet(nothing, before, after, nothing).differing["cell"]

    assert found.tolist() == [one != other for one, other in cells]


@given(STATES, st.data())
def test_rows_taken_in_any_order_are_those_rows(state: State, data: st.DataObject) -> None:
    hashed = weakly_hashed(state)
    rows = replace(hashed, places=np.arange(len(hashed)) + 100)
    positions = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True) if state else st.just([])), int)

    taken = rows.take(positions)

    assert taken.table.equals(rows.table.take(pa.array(positions)))
    assert taken.keys.tolist() == rows.keys[positions].tolist()
    assert taken.rows.tolist() == rows.rows[positions].tolist()
    assert taken.places is not None
    assert taken.places.tolist() == (positions + 100).tolist()


@given(STATES, STATES)
def test_the_index_finds_what_brute_force_finds(old: State, new: State) -> None:
    index = RowIndex.build(NUMBERS, weakly_hashed(old))
    order = sorted(new, key=lambda n: (n * 7) % 5)
    listing = weakly_hashed(new, order)

    compared = index.compare(listing.rows)

    unlisted = index.key_rows(np.flatnonzero(~compared.is_listed)).column("number").to_pylist()
    assert {order[at] for at in compared.differing} == {n for n, v in new.items() if old.get(n) != v}
    assert set(unlisted) == {n for n, v in old.items() if new.get(n) != v}


@given(STATES, st.lists(STATES, max_size=5))
def test_an_index_with_deltas_is_the_index_of_the_last_state(first: State, later: list[State]) -> None:
    deltas, states = [], [first, *later]
    for old, new in itertools.pairwise(states):
        deltas.append(IndexDelta.of(NUMBERS, between(old, new)))

    stored = RowIndex.from_bytes(RowIndex.build(NUMBERS, weakly_hashed(first)).to_bytes())
    index = stored.apply([IndexDelta.from_bytes(delta.to_bytes()) for delta in deltas])

    expected = RowIndex.build(NUMBERS, weakly_hashed(states[-1]))
    assert index.keys.tolist() == expected.keys.tolist()
    assert index.rows.tolist() == expected.rows.tolist()
    everything = np.arange(len(index))
    assert index.key_rows(everything).equals(expected.key_rows(everything))
    assert index.state_hash == StateHash.of(weakly_hashed(states[-1]).rows)


@given(st.lists(STATES, min_size=1, max_size=6))
def test_netting_gives_back_the_first_state(states: list[State]) -> None:
    newest_first = [between(old, new) for old, new in itertools.pairwise(states)][::-1]
    last = states[-1]

    undo = net_undo(NUMBERS, newest_first)

    restored = {n: v for n, v in last.items() if n not in undo.remove.column("number").to_pylist()}
    assert restored | as_state(undo.restore) == states[0]
    touched = {
        n for old, new in itertools.pairwise(states) for n in old.keys() | new.keys() if old.get(n) != new.get(n)
    }
    named = undo.restore.column("number").to_pylist() + undo.remove.column("number").to_pylist()
    assert sorted(named) == sorted(touched)


@given(STATES, STATES, STATES)
def test_one_bundle_is_inverted_only_where_nobody_touched_the_rows_since(old: State, new: State, now: State) -> None:
    changes = between(old, new)

    inverse = invert_one(NUMBERS, changes, weakly_hashed(now))

    changed = {n for n in old.keys() | new.keys() if old.get(n) != new.get(n)}
    untouched = {n for n in changed if now.get(n) == new.get(n)}
    assert as_state(inverse.undo.restore) == {n: old[n] for n in untouched if n in old}
    assert set(inverse.undo.remove.column("number").to_pylist()) == {n for n in untouched if n not in old}
    assert set(inverse.conflicts.column("number").to_pylist()) == changed - untouched


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30)))
def test_a_position_is_found_only_when_all_128_bits_agree(among: list[int], sought: list[int]) -> None:
    found = match_positions(digests([weak(n) for n in sought]), digests([weak(n) for n in among]))

    assert found.tolist() == [among.index(n) if n in among else -1 for n in sought]


def test_a_key_that_occurs_twice_is_refused_and_named() -> None:
    table = pa.table({"number": [1, 7, 7], "value": [1, 2, 3]}, schema=NUMBERS.arrow_schema)

    with pytest.raises(ContractError, match="'number': 7"):
        hash_rows(NUMBERS, table)


@given(STATES, st.data())
def test_a_damaged_index_is_noticed_wherever_the_damage_is(state: State, data: st.DataObject) -> None:
    blob = bytearray(RowIndex.build(NUMBERS, weakly_hashed(state)).to_bytes())
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(IntegrityError):
        RowIndex.from_bytes(bytes(blob))


@pytest.mark.parametrize("blob", [b"", b"short", bytes(16)])
def test_an_index_that_is_none_is_refused(blob: bytes) -> None:
    with pytest.raises(IntegrityError):
        RowIndex.from_bytes(blob)
