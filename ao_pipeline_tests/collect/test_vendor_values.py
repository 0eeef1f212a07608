from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.collect.values import (
    BadValueError,
    as_day,
    as_decimal,
    as_instant,
    as_int,
    clean_json,
    clean_text,
    to_minor,
    xero_day,
    xero_instant,
)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\ud83d lonely", "\ufffd lonely"),
        ("مرحبا 👩‍🚀", "مرحبا 👩‍🚀"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_only_what_cannot_be_stored_is_replaced(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_cleaned_text_is_valid_utf8_without_nul(text: str) -> None:
    cleaned = clean_text(text)

    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert len(cleaned) == len(text)


def test_a_record_nested_too_deeply_is_refused_without_recursion_error() -> None:
    record: Any = {}
    for _ in range(500):
        record = {"a": [record]}

    with pytest.raises(BadValueError, match="nested deeper"):
        clean_json(record)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-20T09:00:00Z", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T13:00:00+04:00", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T09:00:00", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T09:00:00.123456789Z", datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_times_become_utc_instants(text: str | None, instant: datetime | None) -> None:
    assert as_instant(text, "at") == instant


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+10:00", 5, {}, [], True])
def test_what_is_no_time_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BadValueError, match=r"^at is not"):
        as_instant(value, "at")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("/Date(1541176290160+0000)/", date(2018, 11, 2)),
        ("/Date(1541176290160)/", date(2018, 11, 2)),
        ("/Date(-86400000+0000)/", date(1969, 12, 31)),
        ("2026-11-20T00:00:00", date(2026, 11, 20)),
    ],
)
def test_both_xero_date_forms_give_the_day(text: str, day: date) -> None:
    assert xero_day(text, "Date") == day


def test_a_xero_zone_suffix_does_not_move_the_instant() -> None:
    assert xero_instant("/Date(1541176290160+1300)/", "at") == xero_instant("/Date(1541176290160)/", "at")


@pytest.mark.parametrize("value", ["/Date(99999999999999999)/", "/Date(x)/", "31.12.2026", 20261120])
def test_what_is_no_day_is_refused(value: Any) -> None:
    with pytest.raises(BadValueError):
        xero_day(value, "Date")


def test_a_day_is_cut_from_a_time() -> None:
    assert as_day("2026-11-20T23:30:00+04:00", "due") == date(2026, 11, 20)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.34", "USD", 1234),
        ("1500", "JPY", 1500),
        ("1.234", "KWD", 1234),
        ("0.005", "OMR", 5),
        ("2.5", "BHD", 2500),
        ("-0.01", "AED", -1),
        ("0.125", "EUR", 12),
        (0.1, "EUR", 10),
        (0, "EUR", 0),
        (None, "EUR", None),
    ],
)
def test_money_is_counted_in_the_minor_units_of_its_currency(amount: Any, currency: str, minor: int | None) -> None:
    assert to_minor(as_decimal(amount, "Total"), currency, "Total") == minor


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", 10**40, True, [], "12 USD"])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(BadValueError):
        as_decimal(value, "Total")


@pytest.mark.parametrize(
    ("value", "number"), [(0.1 + 0.2, "0.3"), (Decimal("1e-40"), "0"), ("0.0000000000015", "0.000000000002")]
)
def test_digits_beyond_the_twelfth_are_rounded_off(value: Any, number: str) -> None:
    assert as_decimal(value, "UnitAmount") == Decimal(number)


@pytest.mark.parametrize("currency", [None, "", "usd", "$"])
def test_an_amount_without_a_currency_is_refused(currency: str | None) -> None:
    with pytest.raises(BadValueError, match="currency"):
        to_minor(Decimal(1), currency, "Total")


@pytest.mark.parametrize(("value", "number"), [("18446744073", 18446744073), (5, 5), (None, None)])
def test_int64_comes_as_number_or_as_text(value: Any, number: int | None) -> None:
    assert as_int(value, "n") == number


@pytest.mark.parametrize("value", [True, 1.5, 2**63, "9223372036854775808", "1_0", ""])
def test_what_is_no_int64_is_refused(value: Any) -> None:
    with pytest.raises(BadValueError):
        as_int(value, "n")
