"""The sandbox's Xero: pages, lines, modification times, deletions, tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from conftest import Upstreams


def token_request(still: Upstreams, form: dict[str, str], secret: str | None = None) -> requests.Response:
    options = still.sandbox.options
    auth = (options.xero_client_id, secret or options.xero_client_secret)
    return requests.post(still.sandbox.upstream_url("xero_token"), data=form, auth=auth, timeout=10)


def test_without_a_page_there_are_no_lines_and_no_pagination(still: Upstreams) -> None:
    xero = still.xero()

    bare, paged = xero.get("/Invoices"), xero.get("/Invoices", page=1)

    assert "pagination" not in bare
    assert not any(invoice["LineItems"] for invoice in bare["Invoices"])
    assert any(invoice["LineItems"] for invoice in paged["Invoices"])
    assert len(paged["Invoices"]) == 100


@pytest.mark.parametrize("path", ["Invoices", "Payments", "CreditNotes", "Contacts"])
def test_pages_join_to_the_truth(still: Upstreams, path: str) -> None:
    xero, key = (
        still.xero(),
        {"Invoices": "InvoiceID", "Payments": "PaymentID", "CreditNotes": "CreditNoteID"}.get(path, "ContactID"),
    )
    first = xero.get(f"/{path}", page=1, pageSize=30, includeArchived="true", order="UpdatedDateUTC ASC")
    rows = first[path]
    for page in range(2, first["pagination"]["pageCount"] + 1):
        rows += xero.get(f"/{path}", page=page, pageSize=30, includeArchived="true", order="UpdatedDateUTC ASC")[path]

    table = {"CreditNotes": "raw_xero_credit_notes"}.get(path, f"raw_xero_{path.lower()}")
    truth = [row["object"] for row in still.sandbox.truth(table)]
    assert sorted(rows, key=lambda row: str(row[key])) == sorted(truth, key=lambda row: str(row[key]))
    assert first["pagination"]["itemCount"] == len(truth)


def test_a_page_past_the_end_is_empty_and_tells_the_true_count(still: Upstreams) -> None:
    answer = still.xero().get("/Invoices", page=99)

    assert answer["Invoices"] == []
    assert answer["pagination"]["pageCount"] == 2


def test_voided_and_deleted_invoices_are_listed_without_asking(still: Upstreams) -> None:
    statuses = {invoice["Status"] for invoice in still.xero().get("/Invoices", page=1, pageSize=1000)["Invoices"]}

    assert {"VOIDED", "DELETED"} <= statuses


def test_archived_contacts_come_only_when_asked(still: Upstreams) -> None:
    xero = still.xero()

    assert {c["ContactStatus"] for c in xero.get("/Contacts", page=1)["Contacts"]} == {"ACTIVE"}
    both = xero.get("/Contacts", page=1, includeArchived="true")["Contacts"]
    assert {c["ContactStatus"] for c in both} == {"ACTIVE", "ARCHIVED"}


def test_if_modified_since_counts_in_whole_seconds_and_is_inclusive(upstreams: Upstreams) -> None:
    sandbox, xero = upstreams.sandbox, upstreams.xero()
    sandbox.advance(1.25)
    key = xero.get("/Invoices", page=1)["Invoices"][0]["InvoiceID"]
    sandbox.mutate("invoice", "update", key=key, Reference="changed")

    same = xero.get("/Invoices", page=1, headers={"If-Modified-Since": "Sun, 22 Nov 2026 10:00:01 GMT"})["Invoices"]
    later = xero.get("/Invoices", page=1, headers={"If-Modified-Since": "2026-11-22T10:00:02"})["Invoices"]

    assert [invoice["Reference"] for invoice in same] == ["changed"]
    assert later == []


def test_a_deleted_invoice_stays_as_a_state(upstreams: Upstreams) -> None:
    xero = upstreams.xero()
    key = xero.get("/Invoices", page=1)["Invoices"][0]["InvoiceID"]

    upstreams.sandbox.mutate("invoice", "delete", key=key)

    assert xero.get(f"/Invoices/{key}")["Invoices"][0]["Status"] == "DELETED"


def test_dates_have_the_vendors_form_and_some_change_times_lie_in_2008(still: Upstreams) -> None:
    answer = still.xero().get("/Invoices", page=1, pageSize=1000)
    stamps = [invoice["UpdatedDateUTC"] for invoice in answer["Invoices"]]

    assert all(re.fullmatch(r"/Date\(\d+\+0000\)/", stamp) for stamp in stamps)
    assert any(stamp.startswith("/Date(1222") for stamp in stamps)
    assert answer["DateTimeUTC"] == "/Date(1795341600000)/"


def test_rate_headers_count_down(still: Upstreams) -> None:
    xero = still.xero()

    first, second = (int(xero.ask("/Contacts").headers["X-DayLimit-Remaining"]) for _ in range(2))

    assert second == first - 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Authorization": "Bearer no"}, 401), ({"xero-tenant-id": "other"}, 403), ({"xero-tenant-id": ""}, 403)],
)
def test_access_is_refused_with_xeros_body(still: Upstreams, headers: dict[str, str], status: int) -> None:
    answer = still.xero().ask("/Invoices", headers=headers)

    assert answer.status_code == status
    assert set(answer.json()) == {"Type", "Title", "Status", "Detail", "Instance", "Extensions"}


def test_without_accept_json_the_answer_is_xml(still: Upstreams) -> None:
    assert still.xero().ask("/Invoices", headers={"Accept": "*/*"}).text.startswith("<?xml")


@pytest.mark.parametrize("params", [{"page": "0"}, {"page": "x"}, {"order": "Nope ASC"}])
def test_a_wrong_parameter_is_400(still: Upstreams, params: dict[str, Any]) -> None:
    answer = still.xero().ask("/Invoices", **params)

    assert (answer.status_code, answer.json()["Type"]) == (400, "QueryParseException")


def test_a_refresh_token_rotates_and_its_parent_works_a_little_longer(still: Upstreams) -> None:
    first = "WyJyZWZyZXNoIiwxXQ"
    second = token_request(still, {"grant_type": "refresh_token", "refresh_token": first}).json()["refresh_token"]
    third = token_request(still, {"grant_type": "refresh_token", "refresh_token": second}).json()["refresh_token"]

    late = token_request(still, {"grant_type": "refresh_token", "refresh_token": second})
    dead = token_request(still, {"grant_type": "refresh_token", "refresh_token": first})

    assert len({first, second, third}) == 3
    assert late.status_code == 200
    assert (dead.status_code, dead.json()) == (400, {"error": "invalid_grant"})


def test_a_wrong_secret_is_invalid_client(still: Upstreams) -> None:
    answer = token_request(still, {"grant_type": "client_credentials"}, secret="wrong")

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_client"})
