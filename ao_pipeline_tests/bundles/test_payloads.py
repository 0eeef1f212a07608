"""Payloads come back as they went in, and damage is noticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import ChangeSet, change_set
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.preview import preview_changes
from ao_pipeline.bundles.schema import TableSpec, decimal, text
from ao_pipeline.errors import ContractError, IntegrityError
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, comparable, key_of, listings_of, row


def between(old: list[Row], new: list[Row]) -> ChangeSet:
    """Return the change set from one listing to another."""
    stored, wanted = (payloads.hashed(EVERY_TYPE, conform(EVERY_TYPE, rows)) for rows in (old, new))
    kept = {key_of(EVERY_TYPE, values) for values in new}
    is_gone = np.array([key_of(EVERY_TYPE, values) not in kept for values in old], dtype=np.bool_)
    return change_set(stored, wanted, stored.keys[is_gone])


@st.composite
def changes(draw: st.DrawFn) -> ChangeSet:
    """Draw a change set in which rows come, go, change a few cells and stay."""
    old = draw(listings_of(EVERY_TYPE, max_size=6))
    fresh = draw(listings_of(EVERY_TYPE, max_size=6))
    new = {key_of(EVERY_TYPE, values): values for values in fresh}
    for values in old:
        fate = draw(st.sampled_from(["stay", "go", "change"]))
        if fate == "stay":
            new[key_of(EVERY_TYPE, values)] = values
        elif fate == "change":
            donor = draw(st.sampled_from(fresh)) if fresh else values
            names = draw(st.sets(st.sampled_from([column.name for column in EVERY_TYPE.columns])))
            new[key_of(EVERY_TYPE, values)] = values | {name: donor[name] for name in names}
    return between(old, list(new.values()))


def encode(spec: TableSpec, change: ChangeSet) -> bytes:
    """Return the payload as a commit makes it."""
    with payloads.encoding(spec, change) as packed:
        pass
    return packed()


@given(changes())
def test_a_payload_comes_back_as_it_went_in(change: ChangeSet) -> None:
    back = payloads.decode(EVERY_TYPE, encode(EVERY_TYPE, change))

    for part in ("inserted", "updated_before", "updated_after", "deleted"):
        sent, got = getattr(change, part), getattr(back, part)
        assert got.keys.tolist() == sent.keys.tolist()
        assert got.rows.tolist() == sent.rows.tolist()
        assert [comparable(r) for r in got.table.to_pylist()] == [comparable(r) for r in sent.table.to_pylist()]


@given(changes())
def test_the_same_change_gives_the_same_bytes(change: ChangeSet) -> None:
    assert encode(EVERY_TYPE, change) == encode(EVERY_TYPE, change)


@given(changes())
def test_a_thread_packs_the_same_bytes(change: ChangeSet) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payloads, "BYTES_WORTH_A_THREAD", 0)
        beside = encode(EVERY_TYPE, change)

    assert beside == encode(EVERY_TYPE, change)


def test_what_fails_in_the_thread_fails_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_stream: pa.Buffer) -> bytes:
        raise MemoryError

    monkeypatch.setattr(payloads, "BYTES_WORTH_A_THREAD", 0)
    monkeypatch.setattr(payloads, "pack", full)

    with pytest.raises(MemoryError):
        encode(EVERY_TYPE, between([], [row(EVERY_TYPE, "k", 1)]))


def test_no_change_needs_no_payload() -> None:
    same = [row(EVERY_TYPE, "k", 1, ratio=float("nan"))]

    nothing = between(same, same)

    assert nothing.count == 0
    assert encode(EVERY_TYPE, nothing) == b""
    assert payloads.decode(EVERY_TYPE, b"").count == 0


def test_an_update_keeps_only_the_cells_that_changed() -> None:
    note = "".join(chr(33 + (n * n * 7) % 90) for n in range(20_000))
    old = [row(EVERY_TYPE, "k", 1, note=note, amount_minor=1)]

    touched = encode(EVERY_TYPE, between(old, [old[0] | {"amount_minor": 2}]))
    rewritten = encode(EVERY_TYPE, between(old, [old[0] | {"note": note[::-1]}]))

    assert len(touched) < len(rewritten)


@given(changes(), st.data())
def test_a_damaged_payload_never_comes_back_as_the_same_change(change: ChangeSet, data: st.DataObject) -> None:
    payload = bytearray(encode(EVERY_TYPE, change))
    if not payload:
        return
    sound = payloads.payload_hash(bytes(payload))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert payloads.payload_hash(bytes(payload)) != sound


@pytest.mark.parametrize(
    "payload",
    [
        b"\1",
        b"\xff" * 40,
        (100).to_bytes(8, "little") + b"not a zstd frame",
        (8 << 40).to_bytes(8, "little") + b"x",
        payloads.pack(payloads._stream(pa.table({"x": [1]}))),
    ],
    ids=["short", "noise", "no frame", "claims terabytes", "foreign table"],
)
def test_bytes_that_are_no_payload_are_refused(payload: bytes) -> None:
    with pytest.raises(IntegrityError):
        payloads.decode(EVERY_TYPE, payload)


def test_a_column_added_since_comes_back_as_null() -> None:
    wider = dataclasses.replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns, text("since"), decimal("later")))
    change = between([row(EVERY_TYPE, "k", 1, note="a")], [row(EVERY_TYPE, "k", 1, note="b"), row(EVERY_TYPE, "l", 1)])

    back = payloads.decode(wider, encode(EVERY_TYPE, change))

    assert back.updated_before.table.to_pylist() == [row(wider, "k", 1, note="a")]
    assert back.updated_after.table.to_pylist() == [row(wider, "k", 1, note="b")]
    assert StateHash.of(back.inserted.rows) == StateHash.of(change.inserted.rows)


def test_a_column_dropped_since_is_named() -> None:
    narrower = dataclasses.replace(EVERY_TYPE, columns=EVERY_TYPE.columns[1:])
    change = between([], [row(EVERY_TYPE, "k", 1, note="a")])

    with pytest.raises(ContractError, match="note"):
        payloads.decode(narrower, encode(EVERY_TYPE, change))


@given(changes(), st.integers(0, 5))
def test_a_preview_is_bounded_and_shows_only_changed_rows(change: ChangeSet, limit: int) -> None:
    shown = preview_changes(EVERY_TYPE, change, limit=limit)

    assert shown.num_rows == min(limit, change.count)
    assert shown.column("change").to_pylist().count("~") == min(limit, len(change.updated_after))


@given(listings_of(EVERY_TYPE, max_size=4))
def test_an_update_of_every_cell_to_null_and_back_survives(rows: list[Row]) -> None:
    emptied = [row(EVERY_TYPE, *key_of(EVERY_TYPE, values)) for values in rows]

    for change in (between(rows, emptied), between(emptied, rows)):
        back = payloads.decode(EVERY_TYPE, encode(EVERY_TYPE, change))
        assert back.updated_after.rows.tolist() == change.updated_after.rows.tolist()
        assert back.updated_before.rows.tolist() == change.updated_before.rows.tolist()
