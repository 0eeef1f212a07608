"""Values of any origin come into one form, or are refused by table, column and row."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import canonical_decimal, canonical_json, conform, conform_keys
from ao_pipeline.bundles.hashing import StateHash, row_digests
from ao_pipeline.bundles.header import BundleHeader, header_from, layout_of, only_appends
from ao_pipeline.bundles.schema import text
from ao_pipeline.errors import ContractError
from ao_pipeline_tests.stress.tables import EVERY_TYPE, JSON_VALUES, Row, listings_of, row


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("1.50", "1.5"),
        ("-0.00", "0"),
        ("1E+3", "1000"),
        ("1e-7", "0.0000001"),
        (Decimal("-12.340"), "-12.34"),
        (7, "7"),
        ("100", "100"),
    ],
)
def test_a_decimal_has_one_form(value: Decimal | str | int, form: str) -> None:
    assert canonical_decimal(value) == form


@pytest.mark.parametrize("value", ["", "x", "NaN", "Infinity", "1E+999999999", "1E-999999999", "--1"])
def test_what_is_no_bounded_decimal_is_refused(value: str) -> None:
    with pytest.raises(ContractError):
        canonical_decimal(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_a_canonical_decimal_is_equal_and_stays(value: Decimal) -> None:
    form = canonical_decimal(value)

    assert Decimal(form) == value
    assert canonical_decimal(form) == form


@given(JSON_VALUES)
def test_canonical_json_says_the_same_and_stays(value: Any) -> None:
    form = canonical_json(value)

    assert json.loads(form) == value
    assert canonical_json(json.loads(form)) == form


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 1, "a": 2}, b"bytes"])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ContractError, match="not a JSON value"):
        canonical_json(value)


@given(listings_of(EVERY_TYPE))
def test_rows_frames_and_tables_become_the_same_state(rows: list[Row]) -> None:
    table = conform(EVERY_TYPE, rows)
    frame = pd.DataFrame({name: pd.Series([r[name] for r in rows], dtype=object) for name in EVERY_TYPE.column_names})
    for name in ("ratio",):  # Pandas cannot tell NaN from missing: a frame's NaN is NULL.
        frame[name] = frame[name].map(lambda value: None if value != value else value).astype(object)
    expected = conform(EVERY_TYPE, [r | {"ratio": None if r["ratio"] != r["ratio"] else r["ratio"]} for r in rows])

    assert conform(EVERY_TYPE, table).equals(table) or any(r["ratio"] != r["ratio"] for r in rows)
    assert state(conform(EVERY_TYPE, frame)) == state(expected)


def state(table: pa.Table) -> StateHash:
    """Return the state hash of rows of every type."""
    return StateHash.of(row_digests(EVERY_TYPE, table))


def test_an_instant_of_any_zone_is_stored_as_the_same_instant() -> None:
    utc = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    east = utc.astimezone(timezone(timedelta(hours=9)))

    assert state(conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, seen_at=utc)])) == state(
        conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, seen_at=east)])
    )


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"note": 5}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"note": "\ud800"}, "note"),
        ({"amount_minor": 2**63}, "amount_minor"),
        ({"amount_minor": 1.5}, "amount_minor"),
        ({"ratio": "many"}, "ratio"),
        ({"seen_at": "yesterday"}, "seen_at"),
        ({"due_on": "2026-02-30"}, "due_on"),
        ({"name": None}, "name"),
        ({"number": None}, "number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_column(cells: Row, column: str) -> None:
    with pytest.raises(ContractError, match=column):
        conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1), row(EVERY_TYPE, "l", 1) | cells])


@pytest.mark.parametrize(
    ("name", "number"), [("due_on", -719_163), ("due_on", 2_932_897), ("seen_at", 2**62), ("seen_at", -(2**62))]
)
def test_a_time_that_no_calendar_can_write_is_refused(name: str, number: int) -> None:
    table = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1)])
    kind = EVERY_TYPE.arrow_schema.field(name).type
    raw = pa.array([number], pa.int32() if name == "due_on" else pa.int64()).cast(kind)

    with pytest.raises(ContractError, match=name):
        conform(EVERY_TYPE, table.set_column(table.column_names.index(name), name, raw))


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)])
def test_the_first_and_the_last_moment_are_taken(moment: datetime) -> None:
    table = conform(EVERY_TYPE, [row(EVERY_TYPE, "k", 1, seen_at=moment, due_on=moment.date())])

    assert table.to_pylist()[0]["seen_at"] == moment
    assert table.to_pylist()[0]["due_on"] == date(moment.year, moment.month, moment.day)


@pytest.mark.parametrize("rows", [[{"name": "k"}], [row(EVERY_TYPE, "k", 1) | {"foreign": 1}]])
def test_missing_and_foreign_columns_are_refused(rows: list[Row]) -> None:
    with pytest.raises(ContractError, match="columns do not fit"):
        conform(EVERY_TYPE, rows)


def test_keys_are_brought_into_the_key_types() -> None:
    keys = conform_keys(EVERY_TYPE, pa.table({"number": pa.array([1], pa.int8()), "name": ["k"], "more": [1]}))

    assert keys.schema == EVERY_TYPE.key_schema


def test_only_columns_at_the_end_are_an_addition() -> None:
    old = layout_of(EVERY_TYPE)
    wider = dataclasses.replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns, text("new")))
    renamed = dataclasses.replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns[:-1], text("new")))
    inserted = dataclasses.replace(EVERY_TYPE, columns=(text("new"), *EVERY_TYPE.columns))

    assert only_appends(old, old)
    assert only_appends(old, layout_of(wider))
    assert not only_appends(layout_of(wider), old)
    assert not only_appends(old, layout_of(renamed))
    assert not only_appends(old, layout_of(inserted))


def test_every_field_of_a_header_is_under_its_seal() -> None:
    values = {f.name: 1 if f.type == "int" else "x" for f in dataclasses.fields(BundleHeader)}
    header = header_from(values)

    for field in dataclasses.fields(BundleHeader):
        changed: Any = 2 if field.type == "int" else "y"
        moved = dataclasses.replace(header, **{field.name: changed}).computed_seal() != header.computed_seal()
        assert moved == (field.name != "seal"), field.name
