"""What the hashes promise, against the written format and against brute force."""

from __future__ import annotations

import dataclasses
import random
import struct
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles import hashing
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.hashing import StateHash, encode_rows, key_digests, row_digests
from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec, floating, integer, text
from ao_pipeline.clock import to_micros
from ao_pipeline.errors import ContractError
from ao_pipeline_tests.stress.tables import CELLS, EVERY_TYPE, Row, comparable, listings_of, row, rows_of


def encoded_by_hand(spec: TableSpec, values: Row) -> bytes:
    """Encode one row with nothing but the document `docs/hash-format.md` in hand."""
    presence, words, texts = 0, b"", b""
    for position, column in enumerate(spec.all_columns):
        value = values[column.name]
        if value is None:
            continue
        presence |= 1 << position
        word, tail = word_of(column, value)
        words += word
        texts += tail
    return struct.pack("<Q", presence) + words + texts


def word_of(column: Column, value: Any) -> tuple[bytes, bytes]:
    """Return a present value's word and its text bytes."""
    match column.type:
        case ColumnType.FLOAT if value != value:
            return struct.pack("<Q", 0x7FF8000000000000), b""
        case ColumnType.FLOAT:
            return struct.pack("<d", value + 0.0), b""
        case ColumnType.INT:
            return struct.pack("<q", value), b""
        case ColumnType.BOOL:
            return struct.pack("<Q", int(value)), b""
        case ColumnType.INSTANT:
            return struct.pack("<q", to_micros(value)), b""
        case ColumnType.DATE:
            return struct.pack("<q", value.toordinal() - 719_163), b""
        case _:
            data = value.encode()
            return struct.pack("<Q", len(data)), data


@given(listings_of(EVERY_TYPE))
def test_the_bytes_of_a_row_are_those_of_the_document(rows: list[Row]) -> None:
    table = conform(EVERY_TYPE, rows)

    encoded = encode_rows(EVERY_TYPE.all_columns, table).to_pylist()

    assert encoded == [encoded_by_hand(EVERY_TYPE, values) for values in rows]


@given(listings_of(EVERY_TYPE))
def test_digests_and_the_state_hash_are_those_of_the_document(rows: list[Row]) -> None:
    digests = [xxhash.xxh3_128_digest(encoded_by_hand(EVERY_TYPE, values)) for values in rows]

    computed = row_digests(EVERY_TYPE, conform(EVERY_TYPE, rows))

    assert [high << 64 | low for high, low in computed.tolist()] == [int.from_bytes(d, "big") for d in digests]
    assert StateHash.of(computed).value == sum(int.from_bytes(d, "big") for d in digests) % 2**128


@given(st.lists(rows_of(EVERY_TYPE), min_size=2, max_size=8))
def test_different_rows_have_different_bytes(rows: list[Row]) -> None:
    encoded = encode_rows(EVERY_TYPE.all_columns, conform(EVERY_TYPE, rows)).to_pylist()

    assert len(set(encoded)) == len({comparable(values) for values in rows})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"note": None}, {"note": ""}),
        ({"note": "a", "tags": "b"}, {"note": "ab", "tags": ""}),
        ({"note": "a", "tags": None}, {"note": None, "tags": "a"}),
        ({"note": "é"}, {"note": "e\u0301"}),
        ({"amount_minor": 0}, {"amount_minor": None}),
        ({"amount_minor": 1, "is_open": None}, {"amount_minor": None, "is_open": True}),
        ({"ratio": 0.0}, {"ratio": None}),
        ({"ratio": 1.0}, {"ratio": 1.0000000000000002}),
        ({"ratio": float("inf")}, {"ratio": float("-inf")}),
        ({"is_open": False}, {"is_open": None}),
    ],
)
def test_values_that_look_alike_are_told_apart(one: Row, other: Row) -> None:
    table = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, **one), row(EVERY_TYPE, "k", 1, **other)])

    first, second = encode_rows(EVERY_TYPE.all_columns, table).to_pylist()

    assert first != second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\x7f")[0], float("nan")),
        (float("nan"), struct.unpack("<d", b"\0\0\0\0\0\0\xf8\xff")[0]),
    ],
    ids=["minus zero", "nan payload", "negative nan"],
)
def test_floats_that_are_one_value_have_one_hash(one: float, other: float) -> None:
    table = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, ratio=one), row(EVERY_TYPE, "k", 1, ratio=other)])

    first, second = row_digests(EVERY_TYPE, table).tolist()

    assert first == second


@given(listings_of(EVERY_TYPE), st.lists(st.sampled_from(list(ColumnType)), min_size=1, max_size=4))
def test_a_new_null_column_moves_no_hash(rows: list[Row], added: list[ColumnType]) -> None:
    new = tuple(Column(f"added_{number}", kind) for number, kind in enumerate(added))
    wider = dataclasses.replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns, *new))

    before = row_digests(EVERY_TYPE, conform(EVERY_TYPE, rows))
    after = row_digests(wider, conform(wider, [values | dict.fromkeys(c.name for c in new) for values in rows]))

    assert before.tolist() == after.tolist()


@given(listings_of(EVERY_TYPE), st.randoms())
def test_order_does_not_matter(rows: list[Row], shuffler: random.Random) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)

    one = StateHash.of(row_digests(EVERY_TYPE, conform(EVERY_TYPE, rows)))
    other = StateHash.of(row_digests(EVERY_TYPE, conform(EVERY_TYPE, shuffled)))

    assert one == other


@given(listings_of(EVERY_TYPE), st.data())
def test_a_state_hash_kept_up_to_date_equals_one_computed_again(rows: list[Row], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    digests = row_digests(EVERY_TYPE, conform(EVERY_TYPE, rows))

    kept = StateHash.of(digests).minus(digests[:cut])

    assert kept == StateHash.of(digests[cut:])
    assert kept.plus(digests[:cut]) == StateHash.of(digests)
    assert StateHash.from_hex(kept.hex) == kept


def test_chunks_and_slices_do_not_change_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(EVERY_TYPE, f"k{n}", n, note=None if n % 3 else "x" * n, ratio=n / 7) for n in range(50)]
    whole = conform(EVERY_TYPE, rows)
    expected = row_digests(EVERY_TYPE, whole).tolist()

    monkeypatch.setattr(hashing, "ROWS_PER_CHUNK", 7)
    parts = pa.concat_tables([whole.slice(0, 3), whole.slice(3, 0), whole.slice(3, 20), whole.slice(23)])

    assert row_digests(EVERY_TYPE, parts).tolist() == expected
    assert row_digests(EVERY_TYPE, whole.slice(10, 5)).tolist() == expected[10:15]
    assert row_digests(EVERY_TYPE, whole.slice(0, 0)).shape == (0, 2)


def test_a_key_hash_ignores_the_other_columns() -> None:
    one = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, note="a")])
    other = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, note="b")])

    assert key_digests(EVERY_TYPE, one).tolist() == key_digests(EVERY_TYPE, other.select(["name", "number"])).tolist()


def test_sums_carry_over_every_limb() -> None:
    import numpy as np

    ones = np.full((5, 2), 2**64 - 1, dtype=np.uint64)

    assert StateHash.of(ones).value == 5 * (2**128 - 1) % 2**128


@pytest.mark.parametrize("drop", ["note", "number"])
def test_rows_of_a_foreign_shape_are_refused(drop: str) -> None:
    table = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1)]).drop_columns([drop])

    with pytest.raises(ContractError, match=drop):
        row_digests(EVERY_TYPE, table)


def test_a_foreign_type_is_refused() -> None:
    spec = TableSpec("t/x", (text("k"),), (integer("n"),), "row")

    with pytest.raises(ContractError, match="'n'"):
        row_digests(spec, pa.table({"k": pa.array(["a"], pa.large_string()), "n": pa.array([1], pa.int32())}))


@pytest.mark.parametrize(
    ("key", "columns", "reason"),
    [
        ((), (text("a"),), "no key"),
        ((text("a"),), (text("a"),), "twice"),
        ((floating("a"),), (), "float"),
        ((text("a"),), (text("ao_b"),), "ao_"),
        ((text("a"),), (text("before.b"),), "lower_case"),
        ((text("a"),), tuple(text(f"c{n}") for n in range(64)), "65 columns"),
    ],
)
def test_a_table_that_cannot_be_hashed_cannot_be_declared(key: Any, columns: Any, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        TableSpec("t/x", key, columns, "row")


def test_every_column_type_is_covered_by_these_tests() -> None:
    assert set(CELLS) == set(ColumnType) == {column.type for column in EVERY_TYPE.all_columns}
