from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect import tables
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana, google, workspace, xero
from ao_pipeline.collect.contracts.contract import PageContract, RecordContract
from ao_pipeline.collect.parse import asana as parse_asana
from ao_pipeline.collect.parse import calendar as parse_calendar
from ao_pipeline.collect.parse import chat as parse_chat
from ao_pipeline.collect.parse import gmail as parse_gmail
from ao_pipeline.collect.parse import xero as parse_xero
from ao_pipeline.collect.result import DRIFT_OVERFLOW, MAX_DRIFT_NAMES, MAX_PAYLOAD_BYTES, Drift
from ao_pipeline.errors import ContractError

Kind = tuple[TableSpec, RecordContract, Any, dict[str, str]]

KINDS: dict[str, Kind] = {
    "user": (tables.RAW_ASANA_USERS, asana.USER, parse_asana.parse_user, {}),
    "project": (tables.RAW_ASANA_PROJECTS, asana.PROJECT, parse_asana.parse_project, {}),
    "task": (tables.RAW_ASANA_TASKS, asana.TASK, parse_asana.parse_task, {}),
    "mail": (tables.RAW_GMAIL_MESSAGES, google.MAIL, parse_gmail.parse_message, {"mailbox": "a@b.example"}),
    "event": (tables.RAW_CALENDAR_EVENTS, google.EVENT, parse_calendar.parse_event, {"calendar_id": "c"}),
    "space": (tables.RAW_CHAT_SPACES, google.SPACE, parse_chat.parse_space, {}),
    "chat": (tables.RAW_CHAT_MESSAGES, google.CHAT, parse_chat.parse_message, {}),
    "contact": (tables.RAW_XERO_CONTACTS, xero.CONTACT, parse_xero.parse_contact, {}),
    "invoice": (tables.RAW_XERO_INVOICES, xero.INVOICE, parse_xero.parse_invoice, {}),
}

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=[]), max_size=12)
TRICKY = st.sampled_from(
    [
        "/Date(1541176290160+0000)/",
        "2026-11-20",
        "2026-11-20T09:00:00Z",
        "USD",
        "KWD",
        "12.5",
        "=?utf-8?B?2Q==?=",
        "text/html",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | TRICKY | st.decimals()
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=8
)


def messy(contract: RecordContract) -> st.SearchStrategy[dict[str, Any]]:
    """Records with the right field names and wrong values, which reach deeper than random names would."""
    names = st.sampled_from(sorted({*contract.properties, contract.key_field, "foreign"}))
    inner_names = st.sampled_from(
        ["name", "value", "gid", "email", "date", "dateTime", "parts", "headers", "body", "data"]
    )
    nested = ANY_JSON | st.lists(st.dictionaries(inner_names, SCALARS, max_size=4), max_size=3)
    return st.dictionaries(names, nested | st.dictionaries(inner_names, nested, max_size=4), max_size=8)


@pytest.mark.parametrize("kind", KINDS)
def test_any_json_object_becomes_a_row_or_is_quarantined(kind: str) -> None:
    spec, contract, parse, scope = KINDS[kind]

    @settings(max_examples=80, deadline=None)
    @given(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4) | messy(contract))
    def check(record: dict[str, Any]) -> None:
        batch = Batch(spec, contract, parse, Drift())

        batch.add(record, scope=scope)

        assert len(batch) + len(batch.quarantined) == 1
        assert conform(spec, batch.table()).num_rows == len(batch)
        for entry in batch.quarantined:
            json.loads(entry.payload)
            entry.reason.encode()

    check()


def task_batch(drift: Drift | None = None) -> Batch:
    return Batch(tables.RAW_ASANA_TASKS, asana.TASK, parse_asana.parse_task, drift or Drift())


def test_a_task_listed_twice_is_one_row_and_the_later_one_wins() -> None:
    batch = task_batch()

    batch.add({"gid": "1", "name": "old"})
    batch.add({"gid": "2", "name": "other"})
    batch.add({"gid": "1", "name": "new"})

    assert batch.table().column("name").to_pylist() == ["new", "other"]


def test_one_bad_record_is_set_aside_with_its_reason_and_the_rest_stays() -> None:
    batch = task_batch()

    batch.add({"gid": "1", "due_on": "someday"})
    batch.add({"gid": "2"})

    assert [(entry.record_key, entry.reason) for entry in batch.quarantined] == [
        ("1", "asana.task: due_on is not a calendar day")
    ]
    assert batch.table().column("task_gid").to_pylist() == ["2"]


def test_a_huge_quarantined_record_is_cut() -> None:
    batch = task_batch()

    batch.add({"gid": "1", "name": {"x": "ع" * MAX_PAYLOAD_BYTES}})

    assert MAX_PAYLOAD_BYTES - 2 <= len(batch.quarantined[0].payload.encode()) <= MAX_PAYLOAD_BYTES


def test_unknown_fields_and_values_are_kept_and_counted() -> None:
    drift = Drift()
    batch = task_batch(drift)

    batch.add({"gid": "1", "resource_subtype": "portal", "foo": 1})
    batch.add({"gid": "2", "foo": 2})

    assert drift.counts == {"asana.task.unknown_field:foo": 2, "asana.task.unknown_value:resource_subtype=portal": 1}
    assert len(batch) == 2


def test_drift_names_are_bounded() -> None:
    drift = Drift()

    for number in range(MAX_DRIFT_NAMES + 50):
        drift.add(f"name{number}")

    assert len(drift.counts) == MAX_DRIFT_NAMES + 1
    assert drift.counts[DRIFT_OVERFLOW] == 50


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (asana.TASKS_PAGE, {}),
        (asana.TASKS_PAGE, []),
        (asana.TASKS_PAGE, None),
        (asana.TASKS_PAGE, {"data": [{"name": "no key"}]}),
        (asana.TASKS_PAGE, {"data": [{"gid": ""}]}),
        (asana.TASKS_PAGE, {"data": ["gid"]}),
        (asana.TASKS_PAGE, {"data": {}, "next_page": None}),
        (google.CHAT_PAGE, {"error": "sign in"}),
        (google.CHAT_PAGE, {"messages": [{"name": 5}]}),
        (google.EVENTS_PAGE, {"kind": "calendar#events", "items": [{}]}),
        (google.EVENTS_PAGE, {"items": [], "nextSyncToken": 5}),
        (xero.INVOICES_PAGE, {"Status": "OK", "DateTimeUTC": "/Date(1)/", "pagination": {"page": 1}}),
        (xero.INVOICES_PAGE, {"pagination": {"page": 1, "pageCount": -1, "itemCount": 0}, "Invoices": []}),
        (xero.INVOICES_PAGE, {"pagination": [1], "Invoices": []}),
        (workspace.TASKS_PAGE, {}),
        (workspace.TASKS_PAGE, {"etag": "x"}),
    ],
)
def test_a_foreign_page_is_refused(contract: PageContract, body: Any) -> None:
    with pytest.raises(ContractError, match=contract.operation):
        contract.records(body)


@pytest.mark.parametrize("contract", [google.MESSAGES_PAGE, google.HISTORY_PAGE, google.CHAT_PAGE, google.SPACES_PAGE])
def test_an_empty_google_answer_is_legal(contract: PageContract) -> None:
    assert contract.records({}) == []


def test_a_lone_surrogate_in_a_field_name_does_not_refuse_the_page() -> None:
    assert len(asana.TASKS_PAGE.records({"data": [{"gid": "1", "\ud800": 1}]})) == 1
