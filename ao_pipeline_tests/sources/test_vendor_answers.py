"""Answers that the vendors may give and the sandbox seldom does: each is kept as a row, none refuses its page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana, google, workspace, xero
from ao_pipeline.collect.contracts.contract import PageContract
from ao_pipeline.collect.replay import READERS
from ao_pipeline.collect.result import Drift
from ao_pipeline.errors import ContractError, TransientError
from ao_pipeline_tests.sources.recorded_server import Recorded, recorded_server

Json = dict[str, Any]


def mail(*headers: tuple[str, str], **fields: Any) -> Json:
    return {"id": "m1", "payload": {"headers": [{"name": name, "value": value} for name, value in headers]}, **fields}


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


GMAIL: dict[str, tuple[Json, Json]] = {
    "nothing but an id": ({"id": "m1"}, {"subject": None, "from_email": None, "sent_at": None, "labels_json": "[]"}),
    "no subject and no sender": (mail(("To", "a@b.example")), {"subject": None, "from_email": None}),
    "an empty group": (
        mail(("From", "a@b.example"), ("To", "undisclosed-recipients:;")),
        {"from_email": "a@b.example"},
    ),
    "a group with members": (mail(("To", "Team: Ann <ann@b.example>, bo@b.example;")), {"from_email": None}),
    "two senders": (mail(("From", "ann@b.example, bo@b.example")), {"from_email": "ann@b.example"}),
    "a header without a value": (
        {"id": "m1", "payload": {"headers": [{"name": "Subject"}, {"name": "X", "value": None}]}},
        {"message_id": "m1"},
    ),
    "a part without a body": (
        {
            "id": "m1",
            "payload": {"mimeType": "multipart/mixed", "parts": [{"mimeType": "text/plain"}, {"partId": "1"}]},
        },
        {"attachments_json": "[]"},
    ),
    "a part that is fetched apart": (
        {"id": "m1", "payload": {"parts": [{"filename": "a.pdf", "body": {"attachmentId": "x", "size": 3}}]}},
        {"message_id": "m1"},
    ),
    "a body without padding": (
        {"id": "m1", "payload": {"mimeType": "text/plain", "body": {"data": encoded("مرحبا"), "size": 10}}},
        {"body_text": "مرحبا"},
    ),
    "a body in no alphabet": (
        {"id": "m1", "payload": {"mimeType": "text/plain", "body": {"data": "%%%"}}},
        {"message_id": "m1"},
    ),
    "a chat that Gmail keeps": ({"id": "m1", "labelIds": ["CHAT"], "snippet": "hi"}, {"labels_json": '["CHAT"]'}),
    "the largest history id": (
        {"id": "m1", "historyId": "18446744073709551615"},
        {"history_id": "18446744073709551615"},
    ),
    "a thousand brackets in an address": (
        mail(("From", "(" * 5_000), ("Subject", "s")),
        {"from_email": None, "subject": "s"},
    ),
    "fields of tomorrow": (
        {"id": "m1", "classificationLabelValues": [], "aiSummary": {"text": "x"}},
        {"message_id": "m1"},
    ),
}
CALENDAR: dict[str, tuple[Json, Json]] = {
    "all day": (
        {"id": "e", "start": {"date": "2026-11-20"}, "end": {"date": "2026-11-21"}},
        {"is_all_day": True, "start_on": date(2026, 11, 20), "start_at": None},
    ),
    "a cancelled instance": (
        {
            "id": "e_20261120",
            "status": "cancelled",
            "recurringEventId": "e",
            "originalStartTime": {"dateTime": "2026-11-20T10:00:00+04:00", "timeZone": "Asia/Dubai"},
        },
        {"status": "cancelled", "start_at": datetime(2026, 11, 20, 6, tzinfo=UTC), "end_at": None},
    ),
    "a cancelled instance of an all-day series": (
        {"id": "e2", "status": "cancelled", "recurringEventId": "e", "originalStartTime": {"date": "2026-11-20"}},
        {"start_on": date(2026, 11, 20), "is_all_day": True},
    ),
    "a moved instance": (
        {
            "id": "e3",
            "recurringEventId": "e",
            "originalStartTime": {"dateTime": "2026-11-20T10:00:00Z"},
            "start": {"dateTime": "2026-11-20T12:00:00Z"},
        },
        {"start_at": datetime(2026, 11, 20, 12, tzinfo=UTC)},
    ),
    "a series with exceptions": (
        {"id": "e", "recurrence": ["RRULE:FREQ=WEEKLY", "EXDATE;TZID=Asia/Dubai:20261120T100000"]},
        {"recurrence_json": '["RRULE:FREQ=WEEKLY","EXDATE;TZID=Asia/Dubai:20261120T100000"]'},
    ),
    "nobody asked, nothing said": ({"id": "e"}, {"status": None, "summary": None, "attendees_json": "[]"}),
    "somebody without an address": (
        {"id": "e", "attendees": [{"displayName": "Ann", "self": True}, {"resource": True, "responseStatus": "soon"}]},
        {"event_id": "e"},
    ),
    "a free slot": (
        {"id": "e", "visibility": "private", "start": {}, "end": {}},
        {"start_at": None, "is_all_day": None},
    ),
    "a birthday": (
        {"id": "e", "eventType": "birthday", "birthdayProperties": {"type": "self"}},
        {"event_type": "birthday"},
    ),
    "a type of tomorrow": ({"id": "e", "eventType": "siesta"}, {"event_type": "siesta"}),
    "nine digits of a second": (
        {"id": "e", "updated": "2026-11-20T09:00:00.123456789Z"},
        {"updated_at": datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)},
    ),
    "a holiday of nobody knows when": (
        {
            "id": "e",
            "created": "0000-12-31T00:00:00.000Z",
            "updated": "0000-12-31T00:00:00.000Z",
            "start": {"date": "2026-12-25"},
        },
        {"created_at": None, "updated_at": None, "start_on": date(2026, 12, 25)},
    ),
    "a conference by telephone": (
        {"id": "e", "conferenceData": {"entryPoints": [{"entryPointType": "phone", "uri": "tel:+1"}]}},
        {"conference_url": None},
    ),
}
CHAT: dict[str, tuple[Json, Json]] = {
    "cards without a text": (
        {"name": "spaces/A/messages/B", "cardsV2": [{}]},
        {"text": None, "space_name": "spaces/A"},
    ),
    "deleted": (
        {
            "name": "spaces/A/messages/B",
            "deleteTime": "2026-11-20T09:00:00Z",
            "deletionMetadata": {"deletionType": "X"},
        },
        {"is_deleted": True},
    ),
    "an emoji of one's own": (
        {
            "name": "spaces/A/messages/B",
            "emojiReactionSummaries": [
                {"emoji": {"customEmoji": {"uid": "u"}}, "reactionCount": 2},
                {"emoji": {"unicode": "🚀"}},
                {},
            ],
        },
        {"message_name": "spaces/A/messages/B"},
    ),
    "an attachment of Drive": (
        {"name": "spaces/A/messages/B", "attachment": [{"driveDataRef": {"driveFileId": "1"}, "source": "DRIVE_FILE"}]},
        {"attachments_json": '[{"content_name":null,"content_type":null,"name":null}]'},
    ),
}
ASANA: dict[str, tuple[Json, Json]] = {
    "nulls wherever they may be": (
        {
            "gid": "1",
            **dict.fromkeys(("name", "notes", "completed_at", "due_on", "due_at", "assignee", "parent", "modified_at")),
            **dict.fromkeys(("memberships", "tags", "custom_fields", "num_subtasks", "completed")),
        },
        {"projects_json": "[]", "tags_json": "[]", "assignee_gid": None},
    ),
    "a compact record": ({"gid": "1", "resource_type": "task", "name": ""}, {"name": ""}),
    "notes with markup": (
        {"gid": "1", "notes": "<body>a <b>b</b></body>", "html_notes": "<body/>"},
        {"notes": "<body>a <b>b</b></body>"},
    ),
    "custom fields of every type": (
        {
            "gid": "1",
            "custom_fields": [
                {"gid": "2", "type": "enum", "enum_value": {"gid": "3", "color": "aqua"}, "display_value": "x"},
                {"gid": "4", "type": "people", "people_value": [], "display_value": None},
                {"gid": "5", "type": "of tomorrow", "number_value": 0.1},
            ],
        },
        {"task_gid": "1"},
    ),
    "a membership without a section": (
        {"gid": "1", "memberships": [{"project": {"gid": "7"}, "section": None}, {"project": None}]},
        {"projects_json": '[{"project_gid":"7","section_gid":null,"section_name":null}]'},
    ),
    "a due time": (
        {"gid": "1", "due_at": "2026-11-20T09:00:00.000Z", "due_on": "2026-11-20"},
        {"due_on": date(2026, 11, 20)},
    ),
    "a kind of tomorrow": ({"gid": "1", "resource_subtype": "ritual", "approval_status": "pending"}, {"task_gid": "1"}),
}
XERO: dict[str, tuple[Json, Json]] = {
    "a date with an offset": (
        {"InvoiceID": "1", "Date": "/Date(1518652800000+0000)/", "DueDate": "/Date(1518652800000+1300)/"},
        {"issued_on": date(2018, 2, 15), "due_on": date(2018, 2, 15)},
    ),
    "a date without": (
        {"InvoiceID": "1", "Date": "/Date(1518652800000)/", "UpdatedDateUTC": "/Date(1203379200000)/"},
        {"issued_on": date(2018, 2, 15), "updated_at": datetime(2008, 2, 19, tzinfo=UTC)},
    ),
    "a day that the text says better": (
        {"InvoiceID": "1", "Date": "/Date(1518652800000+0000)/", "DateString": "2018-02-14T00:00:00"},
        {"issued_on": date(2018, 2, 14)},
    ),
    "neither contact nor lines": (
        {"InvoiceID": "1", "CurrencyCode": "GBP", "Total": 12.5},
        {"contact_id": None, "total_minor": 1250, "lines_json": "[]"},
    ),
    "a line of words only": (
        {"InvoiceID": "1", "LineItems": [{"Description": "thanks", "Tracking": [{"Name": "x"}]}]},
        {"invoice_id": "1"},
    ),
    "the trace of a binary float": (
        {"InvoiceID": "1", "CurrencyCode": "USD", "Total": 0.30000000000000004},
        {"total_minor": 30},
    ),
    "a state of tomorrow": ({"InvoiceID": "1", "Status": "PARKED", "Type": "ACCNEW"}, {"invoice_status": "PARKED"}),
    "the first day of all": (
        {"InvoiceID": "1", "FullyPaidOnDate": "/Date(-62135596800000+0000)/"},
        {"fully_paid_on": date(1, 1, 1)},
    ),
}
OTHERS: dict[str, tuple[str, Json, Json]] = {
    "a credit note without a contact": (
        "raw/xero_credit_notes",
        {"CreditNoteID": "1", "CurrencyCode": "EUR", "Total": "10.00", "Allocations": [{"Amount": 1}]},
        {"total_minor": 1000, "contact_name": None},
    ),
    "a payment of no invoice": (
        "raw/xero_payments",
        {"PaymentID": "1", "Amount": 5, "BatchPayment": {"BatchPaymentID": "2"}},
        {"amount": "5", "amount_minor": None, "currency": None},
    ),
    "a contact that was merged": (
        "raw/xero_contacts",
        {"ContactID": "1", "ContactStatus": "ARCHIVED", "MergedToContactID": "2", "Addresses": []},
        {"merged_to_contact_id": "2"},
    ),
    "a person without a name": ("raw/people_contacts", {"resourceName": "people/c1"}, {"display_name": None}),
    "a person of no source": (
        "raw/people_contacts",
        {
            "resourceName": "people/c1",
            "metadata": {},
            "phoneNumbers": [{"canonicalForm": "+1"}],
            "emailAddresses": [{}],
        },
        {"updated_at": None},
    ),
    "a file of a shared drive": (
        "raw/drive_files",
        {"id": "f", "mimeType": "application/vnd.google-apps.folder", "name": "x"},
        {"owner_email": None, "parents_json": "[]", "size_bytes": None},
    ),
    "a task without a title": ("raw/gtasks_tasks", {"id": "t", "status": "needsAction", "title": ""}, {"title": ""}),
    "a task of a document": (
        "raw/gtasks_tasks",
        {"id": "t", "assignmentInfo": {"surfaceType": "DOCUMENT"}, "due": "2026-11-20T00:00:00.000Z", "links": []},
        {"due_on": date(2026, 11, 20)},
    ),
    "a conversation of two": (
        "raw/chat_spaces",
        {"name": "spaces/D", "spaceType": "DIRECT_MESSAGE", "singleUserBotDm": True},
        {"display_name": None},
    ),
    "a member who is a group": (
        "raw/chat_members",
        {"name": "spaces/A/members/g", "groupMember": {"name": "groups/1"}},
        {"member_type": "GROUP", "member_name": "groups/1"},
    ),
    "a story of the system": (
        "raw/asana_stories",
        {"gid": "1", "type": "system", "created_by": None, "text": None, "resource_subtype": "of tomorrow"},
        {"created_by_gid": None},
    ),
    "a user without an address": ("raw/asana_users", {"gid": "1", "email": None, "photo": None}, {"email": None}),
    "a project without a status": (
        "raw/asana_projects",
        {"gid": "1", "current_status": None, "owner": None, "due_on": None},
        {"status_color": None, "owner_gid": None},
    ),
    "a calendar without a zone": ("raw/calendar_calendars", {"id": "c", "accessRole": "none"}, {"time_zone": None}),
}
CASES = [
    *(("raw/gmail_messages", *case) for case in GMAIL.values()),
    *(("raw/calendar_events", *case) for case in CALENDAR.values()),
    *(("raw/chat_messages", *case) for case in CHAT.values()),
    *(("raw/asana_tasks", *case) for case in ASANA.values()),
    *(("raw/xero_invoices", *case) for case in XERO.values()),
    *OTHERS.values(),
]
NAMES = [*GMAIL, *CALENDAR, *CHAT, *ASANA, *XERO, *OTHERS]


@pytest.mark.parametrize(("asset", "record", "expected"), CASES, ids=NAMES)
def test_what_a_vendor_may_answer_becomes_a_row(asset: str, record: Json, expected: Json) -> None:
    reader = READERS[asset]
    batch = Batch(reader.spec, reader.contract, reader.parse, Drift())

    batch.add(record, scope={reader.scope: "place"} if reader.scope else None)

    assert [entry.reason for entry in batch.quarantined] == []
    (row,) = batch.table().to_pylist()
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (google.MESSAGES_PAGE, {"resultSizeEstimate": 0}),
        (google.MESSAGES_PAGE, {"messages": [{"id": "1"}], "nextPageToken": ""}),
        (google.HISTORY_PAGE, {"historyId": "5", "history": [{"id": "4"}]}),
        (google.CHAT_PAGE, {"messages": [], "nextPageToken": ""}),
        (google.SPACES_PAGE, {"nextPageToken": ""}),
        (google.EVENTS_PAGE, {"kind": "calendar#events", "items": [], "nextPageToken": "x", "nextSyncToken": ""}),
        (workspace.TASKS_PAGE, {"items": [{"id": "1"}]}),
        (workspace.TASKS_PAGE, {"kind": "tasks#tasks", "nextPageToken": None}),
        (workspace.CONNECTIONS_PAGE, {"connections": [], "totalItems": 0, "nextSyncToken": None}),
        (workspace.FILES_PAGE, {"files": [], "nextPageToken": ""}),
        (asana.TASKS_PAGE, {"data": []}),
        (asana.TASKS_PAGE, {"data": [{"gid": "1"}], "next_page": None}),
        (asana.TASKS_PAGE, {"data": [{"gid": "1"}], "next_page": {"offset": "", "path": "", "uri": ""}}),
        (xero.INVOICES_PAGE, {"Invoices": []}),
        (xero.INVOICES_PAGE, {"Invoices": [{"InvoiceID": "1"}], "pagination": None, "Warnings": [{"Message": "x"}]}),
    ],
)
def test_a_page_may_leave_its_tokens_out_or_empty(contract: PageContract, body: Json) -> None:
    assert len(contract.records(body)) == len(body.get(contract.items_key, []))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with recorded_server(tmp_path_factory.mktemp("recorded")) as recorded:
        yield recorded


def invoices(*names: str, **head: Any) -> Json:
    lines = [{"LineItemID": "l", "Quantity": 1}]
    return {"Status": "OK", "Invoices": [{"InvoiceID": name, "LineItems": lines} for name in names], **head}


def test_invoices_of_before_the_paging_block_are_all_read(server: Recorded) -> None:
    full = [f"i{number}" for number in range(100)]
    server.play(Invoices=[invoices(*full), invoices("last")])

    result = server.collect("raw/xero_invoices")

    assert result.rows.num_rows == 101
    assert result.is_full
    assert result.cursor["watermark"]


def test_a_page_that_comes_again_and_again_is_the_last(server: Recorded) -> None:
    server.play(Invoices=invoices(*(f"i{number}" for number in range(100))))

    result = server.collect("raw/xero_invoices")

    assert result.rows.num_rows == 100
    assert result.requests == 3


def test_invoices_that_all_lack_their_lines_are_refused(server: Recorded) -> None:
    """Xero leaves the lines out when it does not page; such rows would take the stored lines away."""
    server.play(Invoices={"Invoices": [{"InvoiceID": "1", "LineItems": []}, {"InvoiceID": "2"}]})

    with pytest.raises(ContractError, match="no document has lines"):
        server.collect("raw/xero_invoices")


def test_a_list_without_the_servers_time_takes_it_from_the_answers_header(server: Recorded) -> None:
    server.play(Payments={"Payments": [{"PaymentID": "1", "Amount": 1}]})

    result = server.collect("raw/xero_payments")

    assert result.rows.num_rows == 1
    assert datetime.fromisoformat(result.cursor["watermark"]).tzinfo


def test_no_invoice_at_all_is_no_error(server: Recorded) -> None:
    server.play(Invoices={"Id": "x", "Status": "OK", "Invoices": []})

    assert server.collect("raw/xero_invoices").rows.num_rows == 0


def test_contacts_without_a_sync_token_are_kept_and_nothing_is_deleted(server: Recorded) -> None:
    server.play(connections={"connections": [{"resourceName": "people/c1"}]})

    result = server.collect("raw/people_contacts", stored=[{"resource_name": "people/c9"}])

    assert result.rows.num_rows == 1
    assert (result.is_full, result.deleted.num_rows) == (False, 0)
    assert "sync_token" not in result.cursor
    assert result.drift == {"people.connections.no_sync_token": 1}


def test_a_contact_whose_metadata_says_nothing_known_is_set_aside(server: Recorded) -> None:
    people = [
        {"resourceName": "people/c1", "metadata": {"unexpected": [1]}},
        {"resourceName": "people/c2", "metadata": {}},
    ]
    server.play(connections={"connections": people, "nextSyncToken": "t2"})

    result = server.collect("raw/people_contacts")

    # It may be the sign that the contact is gone, broken on its way: a row without a name would hide that for ever.
    assert ["people/c1" in record.record_key for record in result.quarantined] == [True]
    assert result.rows.column("resource_name").to_pylist() == ["people/c2"]


def test_changes_without_the_next_token_start_there_again(server: Recorded) -> None:
    file = {"id": "f", "mimeType": "text/plain"}
    server.play(changes={"kind": "x", "changes": [{"changeType": "file", "fileId": "f", "file": file}]})

    result = server.collect("raw/drive_files", cursor={"generation": 1, "page_token": "7"})

    assert result.rows.num_rows == 1
    assert result.cursor["page_token"] == "7"


def test_events_without_a_sync_token_are_kept_and_listed_again(server: Recorded) -> None:
    server.play(
        calendarList={"items": [{"id": "c"}]}, events={"items": [{"id": "e"}, {"id": "x", "status": "cancelled"}]}
    )

    result = server.collect("raw/calendar_events", stored=[{"calendar_id": "c", "event_id": "old"}])

    assert result.rows.column("event_id").to_pylist() == ["e"]
    assert not result.is_full
    assert result.deleted.to_pylist() == [{"calendar_id": "c", "event_id": "x"}]
    assert result.cursor["calendars"] == {}


def test_a_token_that_comes_twice_ends_the_listing_with_an_error(server: Recorded) -> None:
    server.play(connections={"connections": [{"resourceName": "people/c1"}], "nextPageToken": "same"})

    with pytest.raises((ContractError, TransientError), match="twice"):
        server.collect("raw/people_contacts")


def test_a_mailbox_whose_every_answer_is_the_least_there_may_be(server: Recorded) -> None:
    server.play(profile={"historyId": "5"}, messages={"messages": [{"id": "m1"}], "nextPageToken": ""}, m1={"id": "m1"})

    result = server.collect("raw/gmail_messages")

    assert result.rows.num_rows == 1
    assert result.quarantined == ()
