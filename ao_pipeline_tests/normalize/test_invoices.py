"""Ageing and linking of sales invoices."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.collect.tables import RAW_XERO_INVOICES
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.invoices import AGING_BUCKETS, aging_bucket, link_invoices, normalize_invoices
from ao_pipeline.normalize.tables import NORM_INVOICE_LINKS, NORM_INVOICES

AS_OF = date(2026, 11, 22)


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def invoice(invoice_id: str = "i1", **values: Any) -> dict[str, Any]:
    defaults = {
        "invoice_type": "ACCREC",
        "invoice_status": "AUTHORISED",
        "contact_name": "Palm Tea",
        "currency": "AED",
        "due_on": AS_OF,
        "amount_due_minor": 100,
    }
    return make(RAW_XERO_INVOICES, invoice_id=invoice_id, **(defaults | values))


def client(client_id: str, name: str, contact: str | None = None, aliases: str = "[]") -> dict[str, Any]:
    return make(REF_CLIENTS, client_id=client_id, name=name, xero_contact_name=contact, aliases_json=aliases)


@pytest.mark.parametrize(
    ("days", "bucket"),
    [
        (-5, "current"),
        (0, "current"),
        (1, "1-30"),
        (30, "1-30"),
        (31, "31-60"),
        (60, "31-60"),
        (61, "61-90"),
        (90, "61-90"),
        (91, "90+"),
    ],
)
def test_a_bucket_closes_on_its_last_day(days: int, bucket: str) -> None:
    row = normalize_invoices([invoice(due_on=AS_OF - timedelta(days=days))], as_of=AS_OF)[0]

    assert (row["aging_bucket"], row["days_overdue"]) == (bucket, days)
    assert aging_bucket(days) == bucket


@pytest.mark.parametrize(
    ("values", "status", "is_valid", "reason"),
    [
        ({"due_on": AS_OF - timedelta(days=1)}, "overdue", True, None),
        ({"due_on": None}, "open", False, "no_due_date"),
        ({"amount_due_minor": -1}, "open", False, "negative_amount"),
        ({"contact_name": None}, "open", False, "no_contact"),
        ({"currency": None}, "open", False, "no_currency"),
        ({"amount_due_minor": 0}, "paid", False, None),
        ({"invoice_status": "PAID"}, "paid", False, None),
        ({"invoice_status": "VOIDED"}, "void", False, None),
        ({"invoice_status": "SUBMITTED"}, "draft", False, None),
        ({"invoice_status": "INVENTED"}, "unknown", False, None),
    ],
)
def test_only_open_and_complete_invoices_are_valid(
    values: dict[str, Any], status: str, is_valid: bool, reason: str | None
) -> None:
    row = normalize_invoices([invoice(**values)], as_of=AS_OF)[0]

    assert (row["status"], row["is_valid_ar"], row["invalid_reason"]) == (status, is_valid, reason)


def test_bills_are_left_out() -> None:
    assert normalize_invoices([invoice(invoice_type="ACCPAY")], as_of=AS_OF) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AUTHORISED", "PAID", "VOIDED", "DRAFT", "NEW"]),
            st.none() | st.dates(date(2020, 1, 1), date(2030, 1, 1)),
            st.integers(-10, 10**12),
        ),
        max_size=20,
    )
)
def test_every_open_invoice_is_in_exactly_one_bucket_and_no_amount_is_lost(
    drawn: list[tuple[str, date | None, int]],
) -> None:
    raw = [
        invoice(str(number), invoice_status=status, due_on=due_on, amount_due_minor=amount)
        for number, (status, due_on, amount) in enumerate(drawn)
    ]

    rows = normalize_invoices(raw, as_of=AS_OF)

    conform(NORM_INVOICES, rows)
    assert all((row["aging_bucket"] in AGING_BUCKETS) == row["is_open_ar"] for row in rows)
    by_bucket = {b: sum(r["amount_due_minor"] for r in rows if r["aging_bucket"] == b) for b in AGING_BUCKETS}
    assert sum(by_bucket.values()) == sum(amount for status, _, amount in drawn if status == "AUTHORISED")


@pytest.mark.parametrize(
    ("contact", "client_id", "status", "rule"),
    [
        ("PALM TEA L.L.C", "c1", "linked", "contact_name"),
        ("Palm tea", "c1", "linked", "client_name"),
        ("Chai Palm", "c1", "linked", "alias"),
        ("Twins", None, "ambiguous", "client_name"),
        ("Palm", None, "unlinked", "none"),
        (None, None, "unlinked", "none"),
    ],
)
def test_an_invoice_is_linked_by_its_contact_or_not_at_all(
    contact: str | None, client_id: str | None, status: str, rule: str
) -> None:
    clients = [
        client("c1", "Palm Tea", "Palm Tea L.L.C.", '["Chai-Palm"]'),
        client("c2", "Twins"),
        client("c3", "TWINS"),
    ]
    rows = normalize_invoices([invoice(contact_name=contact)], as_of=AS_OF)

    links = link_invoices(rows, clients)

    conform(NORM_INVOICE_LINKS, links)
    assert links == [{"invoice_id": "i1", "client_id": client_id, "link_status": status, "rule": rule}]


def test_one_invoice_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="norm_invoices would hold the key"):
        normalize_invoices([invoice(), invoice()], as_of=AS_OF)
