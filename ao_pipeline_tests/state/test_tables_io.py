"""The contract of `TablesIo`: what goes in comes out, on both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from ao_pipeline.adapters.state import sqlite_io
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.hashing import row_digests
from ao_pipeline.bundles.schema import Column, ColumnType, TableSpec, text
from ao_pipeline_tests.stress.histories import open_empty
from ao_pipeline_tests.stress.postgres import fresh_database
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, comparable, key_of, listings_of, row

ONLY_TEXT = TableSpec("proof/only_text", (text("word"),), (), "one word")
LONG_NAMES = [
    TableSpec(f"proof/a_table_with_a_name_that_is_longer_than_most_{end}", (text("word"),), (text("note"),), "one word")
    for end in ("one", "two")
]
KEYS_OF_EVERY_TYPE = [
    TableSpec(f"proof/key_{kind.value}", (Column("key", kind),), (text("note"),), "one key")
    for kind in ColumnType
    if kind is not ColumnType.FLOAT
]
WORDS = [
    "",
    " ",
    "\\.",
    "\\N",
    "NULL",
    "\n",
    "\r",
    "\r\n",
    "\n\\.\n",
    '"',
    '""',
    ",",
    "a,b",
    "'",
    "\ufeff",
    "\ufeffa",
    "\t",
    "\x01",
    "\x1b",
    "\x7f",
    "\u2028",
    "😀",
    "مرحبا",
    "é",
    "e\u0301",
    "{}",
    "[1]",
    "1",
    "1.0",
    "true",
    "t",
    "x" * 2000,
]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    """A store with tables of every shape; each test leaves it empty."""
    specs = (EVERY_TYPE, ONLY_TEXT, *LONG_NAMES, *KEYS_OF_EVERY_TYPE)
    if request.param == "sqlite":
        opened = open_empty(f"sqlite:///{tmp_path_factory.mktemp('io') / 'state.db'}", *specs)
        yield opened
        opened.close()
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        opened = open_empty(url, *specs)
        yield opened
        opened.close()


@contextmanager
def undone(store: StateStore) -> Iterator[sa.Connection]:
    """Open a transaction that leaves nothing behind."""
    with store.database.write() as connection:
        yield connection
        connection.rollback()


def round_trip(store: StateStore, spec: TableSpec, rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    """Write rows and read all of the table back, in one transaction that is undone."""
    with undone(store) as connection:
        store.tables.upsert(connection, spec, conform(spec, rows))
        back = store.tables.read(connection, spec)
        assert back.schema == spec.arrow_schema
        by_key = store.tables.read_by_key(connection, spec, back.select(list(spec.key_names)))
        assert sorted(row_digests(spec, by_key).tolist()) == sorted(row_digests(spec, back).tolist())
        assert sorted(row_digests(spec, back).tolist()) == sorted(row_digests(spec, conform(spec, rows)).tolist())
    return {key_of(spec, found): found for found in back.to_pylist()}


def test_every_random_row_comes_back(store: StateStore) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(listings_of(EVERY_TYPE))
    def every_row_comes_back(rows: list[Row]) -> None:
        back = round_trip(store, EVERY_TYPE, rows)
        assert {k: comparable(v) for k, v in back.items()} == {key_of(EVERY_TYPE, r): comparable(r) for r in rows}

    every_row_comes_back()


@pytest.mark.parametrize("spec", [ONLY_TEXT, *LONG_NAMES], ids=["one column", "long name", "long name too"])
def test_texts_that_break_csv_come_back_as_keys(store: StateStore, spec: TableSpec) -> None:
    assert set(round_trip(store, spec, [row(spec, word) for word in WORDS])) == {(word,) for word in WORDS}


@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
def test_a_text_that_breaks_csv_comes_back_alone(store: StateStore, word: str) -> None:
    assert set(round_trip(store, ONLY_TEXT, [row(ONLY_TEXT, word)])) == {(word,)}
    (back,) = round_trip(store, EVERY_TYPE, [row(EVERY_TYPE, word, 0, note=word)]).values()
    assert back["note"] == word


def test_empty_and_null_stay_apart(store: StateStore) -> None:
    back = round_trip(
        store, EVERY_TYPE, [row(EVERY_TYPE, "", 0, note="", tags=None), row(EVERY_TYPE, "", 1, note=None, tags="")]
    )

    assert (back["", 0]["note"], back["", 0]["tags"]) == ("", None)
    assert (back["", 1]["note"], back["", 1]["tags"]) == (None, "")


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        1.0,
        0.1,
        1 / 3,
        math.pi,
        5e-324,
        2.2250738585072014e-308,
        1.7976931348623157e308,
        -1e300,
        1e22,
        123456789.123456789,
        math.inf,
        -math.inf,
    ],
)
def test_a_float_comes_back_bit_by_bit(store: StateStore, value: float) -> None:
    (back,) = round_trip(store, EVERY_TYPE, [row(EVERY_TYPE, "k", 0, ratio=value)]).values()

    assert back["ratio"] == value


def test_nan_comes_back_as_nan_and_not_as_null(store: StateStore) -> None:
    back = round_trip(store, EVERY_TYPE, [row(EVERY_TYPE, "k", 0, ratio=math.nan), row(EVERY_TYPE, "k", 1)])

    assert math.isnan(back["k", 0]["ratio"])
    assert back["k", 1]["ratio"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount_minor", 2**63 - 1),
        ("amount_minor", -(2**63)),
        ("amount_minor", 2**53 + 1),
        ("seen_at", datetime(1, 1, 1, tzinfo=UTC)),
        ("seen_at", datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("seen_at", datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("seen_at", datetime(1582, 10, 10, 1, 2, 3, 4, UTC)),
        ("due_on", date(1, 1, 1)),
        ("due_on", date(1582, 10, 10)),
        ("due_on", date(2024, 2, 29)),
        ("due_on", date(9999, 12, 31)),
        ("rate", "-123456789012345678901234567890.000000000000000000001"),
        ("tags", '{"a":[1,{"b":null}],"é":"😀\\n"}'),
        ("is_open", False),
    ],
)
def test_an_extreme_value_comes_back(store: StateStore, name: str, value: Any) -> None:
    (back,) = round_trip(store, EVERY_TYPE, [row(EVERY_TYPE, "k", 0, **{name: value})]).values()

    assert back[name] == value


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ColumnType.TEXT, ["a", "", "\\."]),
        (ColumnType.JSON, ["{}", '"x"']),
        (ColumnType.INT, [2**63 - 1, -(2**63), 0]),
        (ColumnType.BOOL, [True, False]),
        (ColumnType.INSTANT, [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)]),
        (ColumnType.DATE, [date(1, 1, 1), date(9999, 12, 31)]),
        (ColumnType.DECIMAL, ["1.5", "-1"]),
    ],
)
def test_a_key_of_any_type_finds_its_row_and_deletes_it(store: StateStore, kind: ColumnType, values: list[Any]) -> None:
    (spec,) = [spec for spec in KEYS_OF_EVERY_TYPE if spec.key[0].type is kind]
    rows = conform(spec, [row(spec, value, note=str(value)) for value in values])

    with undone(store) as connection:
        store.tables.upsert(connection, spec, rows)
        for position in range(len(values)):
            found = store.tables.read_by_key(connection, spec, rows.select(["key"]).slice(position, 1))
            assert found.to_pylist() == rows.slice(position, 1).to_pylist()
        store.tables.delete(connection, spec, rows.select(["key"]).slice(0, 1))
        left = store.tables.read(connection, spec)

    assert sorted(map(str, left.to_pylist())) == sorted(map(str, rows.slice(1).to_pylist()))


def test_an_upsert_replaces_and_a_delete_of_nothing_is_none(store: StateStore) -> None:
    first = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 0, note="a", ratio=1.0), row(EVERY_TYPE, "l", 0)])
    second = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 0, note=None, tags="{}")])

    with undone(store) as connection:
        store.tables.upsert(connection, EVERY_TYPE, first)
        store.tables.upsert(connection, EVERY_TYPE, second)
        store.tables.delete(
            connection, EVERY_TYPE, conform(EVERY_TYPE, [row(EVERY_TYPE, "none", 0)]).select(["name", "number"])
        )
        back = {found["name"]: found for found in store.tables.read(connection, EVERY_TYPE).to_pylist()}

    assert (back["k"]["note"], back["k"]["ratio"], back["k"]["tags"]) == (None, None, "{}")
    assert set(back) == {"k", "l"}


def test_only_the_columns_that_differ_need_to_be_written(store: StateStore) -> None:
    first = conform(EVERY_TYPE, [row(EVERY_TYPE, name, 0, note=f"{name} 1", ratio=1.0) for name in "abc"])
    wanted = conform(EVERY_TYPE, [row(EVERY_TYPE, name, 0, note=f"{name} 2", ratio=1.0) for name in "cb"])

    with undone(store) as connection:
        store.tables.upsert(connection, EVERY_TYPE, first)
        found = store.tables.find(connection, EVERY_TYPE, wanted.select(["name", "number"]))
        at = [found.rows.column("name").to_pylist().index(name) for name in "cb"]
        store.tables.write(
            connection,
            EVERY_TYPE,
            inserted=conform(EVERY_TYPE, [row(EVERY_TYPE, "d", 0)]),
            updated=wanted,
            places=None if found.places is None else found.places[at],
            differing={"note"},
        )
        back = {found["name"]: found["note"] for found in store.tables.read(connection, EVERY_TYPE).to_pylist()}

    assert back == {"a": "a 1", "b": "b 2", "c": "c 2", "d": row(EVERY_TYPE, "d", 0)["note"]}


def test_no_rows_and_no_keys_are_no_error(store: StateStore) -> None:
    nothing = EVERY_TYPE.empty()

    with undone(store) as connection:
        store.tables.upsert(connection, EVERY_TYPE, nothing)
        store.tables.delete(connection, EVERY_TYPE, nothing.select(["name", "number"]))
        assert store.tables.read(connection, EVERY_TYPE).schema == EVERY_TYPE.arrow_schema
        assert store.tables.read_by_key(connection, EVERY_TYPE, nothing.select(["name", "number"])).num_rows == 0


def test_rows_in_many_chunks_are_written_once_each(store: StateStore) -> None:
    parts = [conform(EVERY_TYPE, [row(EVERY_TYPE, "k", n)]) for n in range(5)]
    table = pa.concat_tables([EVERY_TYPE.empty(), *parts, EVERY_TYPE.empty()])

    with undone(store) as connection:
        store.tables.upsert(connection, EVERY_TYPE, table)
        back = store.tables.read(connection, EVERY_TYPE)

    assert sorted(back.column("number").to_pylist()) == [0, 1, 2, 3, 4]


def test_a_table_larger_than_one_fetch_comes_back_whole(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_io, "FETCH_ROWS", 10)
    rows = [row(EVERY_TYPE, "k", n, note="" if n % 2 else None) for n in range(35)]

    assert len(round_trip(store, EVERY_TYPE, rows)) == 35


def test_hashes_are_the_same_on_both_databases(tmp_path: Any, postgres_url: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(listings_of(EVERY_TYPE))
    def hashes_are_the_same(rows: list[Row]) -> None:
        seen = []
        for store in stores:
            with store.database.write() as connection:
                store.tables.upsert(connection, EVERY_TYPE, conform(EVERY_TYPE, rows))
                seen.append(sorted(row_digests(EVERY_TYPE, store.tables.read(connection, EVERY_TYPE)).tolist()))
                connection.execute(sa.text("DELETE FROM proof_every_type"))
        assert seen[0] == seen[1]

    with fresh_database(postgres_url) as url:
        stores = [open_empty(f"sqlite:///{tmp_path / 's.db'}", EVERY_TYPE), open_empty(url, EVERY_TYPE)]
        hashes_are_the_same()
        for store in stores:
            store.close()
