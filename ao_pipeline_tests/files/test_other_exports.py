"""Calendars, tasks, invoices and chat out of exports, and what their broken items become."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ao_pipeline.adapters.files_source.intake import Limits
from ao_pipeline.collect.files.json_stream import stream_items
from ao_pipeline.collect.values import BadValueError
from ao_pipeline.errors import ConfigError
from ao_pipeline_tests.files.folder_engine import Folder

ICS = """BEGIN:VCALENDAR
X-WR-CALNAME:ops@agency.example
X-WR-TIMEZONE:Asia/Dubai
BEGIN:VTIMEZONE
TZID:Our Zone
BEGIN:STANDARD
DTSTART:19701025T030000
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE
BEGIN:VEVENT
UID:series
DTSTART;TZID=W. Europe Standard Time:20260701T100000
DTEND;TZID=W. Europe Standard Time:20260701T110000
SUMMARY:Weekly\\, with
  fold
RRULE:FREQ=WEEKLY;BYDAY=WE
EXDATE;TZID=Europe/Berlin:20260708T100000
ATTENDEE;CN="Doe; Jo";PARTSTAT=DECLINED:mailto:Jo@agency.example
END:VEVENT
BEGIN:VEVENT
UID:series
RECURRENCE-ID;TZID=Europe/Berlin:20260715T100000
DTSTART;TZID=Europe/Berlin:20260715T120000
DURATION:PT30M
END:VEVENT
BEGIN:VEVENT
UID:summer
DTSTART;TZID=Our Zone:20260701T100000
END:VEVENT
BEGIN:VEVENT
UID:winter
DTSTART;TZID=Our Zone:20260101T100000
END:VEVENT
BEGIN:VEVENT
UID:day
DTSTART;VALUE=DATE:20260701
END:VEVENT
BEGIN:VEVENT
UID:floating
DTSTART:20260701T100000
END:VEVENT
BEGIN:VEVENT
UID:lost
SUMMARY:no start
END:VEVENT
BEGIN:VEVENT
UID:gone
STATUS:CANCELLED
DTSTART:20260701T100000Z
END:VEVENT
BEGIN:VTODO
UID:todo
END:VTODO
END:VCALENDAR
"""


def test_a_calendar_with_recurrence_exceptions_and_zones(tmp_path: Path) -> None:
    (tmp_path / "team.ics").write_bytes(ICS.replace("\n", "\r\n").encode())
    folder = Folder(tmp_path, "raw/calendar_events")

    folder.collect_all()

    rows = {key[1]: row for key, row in folder.rows.items()}
    assert {key[0] for key in folder.rows} == {"ops@agency.example"}
    assert rows["series"]["start_at"] == datetime(2026, 7, 1, 8, tzinfo=UTC)
    assert rows["series"]["summary"] == "Weekly, with fold"
    assert json.loads(rows["series"]["recurrence_json"]) == [
        "RRULE:FREQ=WEEKLY;BYDAY=WE",
        "EXDATE;TZID=Europe/Berlin:20260708T100000",
    ]
    assert rows["series_20260715T080000Z"]["recurring_event_id"] == "series"
    assert rows["series_20260715T080000Z"]["end_at"] == datetime(2026, 7, 15, 10, 30, tzinfo=UTC)
    assert rows["summer"]["start_at"] == datetime(2026, 7, 1, 8, tzinfo=UTC)
    assert rows["winter"]["start_at"] == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert (rows["day"]["start_on"], rows["day"]["end_on"]) == (date(2026, 7, 1), date(2026, 7, 2))
    assert rows["floating"]["start_at"] == datetime(2026, 7, 1, 6, tzinfo=UTC)
    assert list(folder.quarantined) == ["ops@agency.example/lost"]
    assert folder.drift == {"files.ics_ignored:VTODO": 1}
    assert folder.collect().rows.num_rows == 0


def test_only_a_cancelled_event_deletes_its_row(tmp_path: Path) -> None:
    path = tmp_path / "team.ics"
    path.write_text(ICS)
    folder = Folder(tmp_path, "raw/calendar_events")
    folder.collect_all()
    before = set(folder.rows)

    path.write_text(
        "BEGIN:VCALENDAR\nX-WR-CALNAME:ops@agency.example\nBEGIN:VEVENT\nUID:day\nSTATUS:CANCELLED\n"
        "DTSTART;VALUE=DATE:20260701\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    folder.collect_all()

    assert before - set(folder.rows) == {("ops@agency.example", "day")}


ASANA = """Task ID,Created At,Completed At,Last Modified,Name,Section/Column,Assignee,Assignee Email,Start Date,Due Date,Tags,Notes,Projects,Parent task,Priority
1201,2026-01-02,,2026-01-05,Design,Doing,Jo Doe,Jo@agency.example,,2026-02-01,"urgent,web","line one
line two","Acme Site,Ops",,High
1202,2026-01-02,2026-01-04,2026-01-05,Draft,Done,,,,,,,,Design,
1.2E+15,2026-01-02,,2026-01-05,Rounded,Done,,,,,,,,,
1203,2026-01-02,,2026-01-05,Odd,Done,,,,someday,,,,,
"""


def test_an_asana_csv(tmp_path: Path) -> None:
    (tmp_path / "Acme Site.csv").write_text("\ufeff" + ASANA, encoding="utf-8")
    folders = {name: Folder(tmp_path, f"raw/asana_{name}") for name in ("tasks", "projects", "users")}

    for folder in folders.values():
        folder.collect_all()

    tasks = {key[0]: row for key, row in folders["tasks"].rows.items()}
    assert set(tasks) == {"1201", "1202"}
    assert tasks["1201"]["due_on"] == date(2026, 2, 1)
    assert tasks["1201"]["assignee_gid"] == "jo@agency.example"
    assert tasks["1201"]["notes"] == "line one\nline two"
    assert tasks["1201"]["subtask_count"] == 1
    assert json.loads(tasks["1201"]["projects_json"]) == [
        {"project_gid": "name:Acme Site", "section_gid": None, "section_name": "Doing"},
        {"project_gid": "name:Ops", "section_gid": None, "section_name": None},
    ]
    assert tasks["1202"]["parent_gid"] == "1201"
    # An exported day is a day of the organisation: 2026-01-04 in Dubai.
    assert tasks["1202"]["completed_at"] == datetime(2026, 1, 3, 20, tzinfo=UTC)
    assert len(folders["tasks"].quarantined) == 2
    assert {row["name"] for row in folders["projects"].rows.values()} == {"Acme Site", "Ops"}
    assert [row["email"] for row in folders["users"].rows.values()] == ["jo@agency.example"]


def test_an_asana_json_export_with_nested_subtasks(tmp_path: Path) -> None:
    child = {"gid": "2", "name": "child", "completed": False}
    project = {"gid": "9", "name": "Site", "resource_type": "project"}
    task = {
        "gid": "1",
        "resource_type": "task",
        "name": "parent",
        "completed": False,
        "assignee": {"gid": "5", "name": "Jo"},
        "memberships": [{"project": project, "section": {"gid": "8", "name": "Doing"}}],
        "subtasks": [child],
    }
    (tmp_path / "site.json").write_text(json.dumps({"data": [task, {"no": "gid"}, 7]}))
    folder = Folder(tmp_path, "raw/asana_tasks")
    projects = Folder(tmp_path, "raw/asana_projects")

    folder.collect_all()
    projects.collect_all()

    assert {key[0]: row["parent_gid"] for key, row in folder.rows.items()} == {"1": None, "2": "1"}
    assert len(folder.quarantined) == 2
    assert {key[0]: row["name"] for key, row in projects.rows.items()} == {"9": "Site"}


XERO = """*ContactName,EmailAddress,*InvoiceNumber,Reference,InvoiceDate,DueDate,Total,TaxTotal,InvoiceAmountPaid,InvoiceAmountDue,Description,Quantity,UnitAmount,LineAmount,AccountCode,Currency,Type,Sent,Status
Acme,pay@acme.example,INV-1,R1,11/06/2026,25/06/2026,"1,580.94",0,0.00,1580.94,Design,1,1000,1000,200,AED,Sales invoice,Sent,Awaiting Payment
Bolt,,INV-2,,01/06/2026,02/06/2026,10.5,0,10.5,0,Print,1,10.5,10.5,200,BHD,Sales invoice,Sent,Paid
Acme,pay@acme.example,INV-1,R1,11/06/2026,25/06/2026,"1,580.94",0,0.00,1580.94,Build,1,580.94,580.94,200,AED,Sales invoice,Sent,Awaiting Payment
Supplier,,B-7,,01/06/2026,02/06/2026,99,0,0,99,Rent,1,99,99,400,AED,Bill,,Voided
Acme,,INV-3,,soon,02/06/2026,99,0,0,99,Rent,1,99,99,400,AED,Sales invoice,,Draft
"""


def test_a_xero_csv(tmp_path: Path) -> None:
    (tmp_path / "SalesInvoices.csv").write_text(XERO)
    folder = Folder(tmp_path, "raw/xero_invoices")
    contacts = Folder(tmp_path, "raw/xero_contacts")

    folder.collect_all()
    contacts.collect_all()

    rows = {row["invoice_number"]: row for row in folder.rows.values()}
    assert set(rows) == {"INV-1", "INV-2", "B-7"}
    first = rows["INV-1"]
    assert (first["invoice_id"], first["invoice_type"], first["invoice_status"]) == (
        "file:INV-1",
        "ACCREC",
        "AUTHORISED",
    )
    assert (first["total_minor"], first["amount_due_minor"]) == (158_094, 158_094)
    assert (first["issued_on"], first["due_on"]) == (date(2026, 6, 11), date(2026, 6, 25))
    assert [line["description"] for line in json.loads(first["lines_json"])] == ["Design", "Build"]
    assert rows["INV-2"]["total_minor"] == 10_500
    assert (rows["B-7"]["invoice_type"], rows["B-7"]["invoice_status"]) == ("ACCPAY", "VOIDED")
    assert list(folder.quarantined) == ["file:INV-3"]
    assert contacts.rows["file:Acme",]["email"] == "pay@acme.example"
    assert folder.collect().rows.num_rows == 0


def test_any_csv_with_a_column_mapping(tmp_path: Path) -> None:
    (tmp_path / "ledger.csv").write_bytes(
        "Nr;Kunde;Datum;Fällig;Brutto;Stand\n7;Müller;03.04.2026;04.05.2026;1.234,50 €;offen\n".encode("cp1252")
    )
    mapping = tmp_path / "ledger.columns.yaml"
    mapping.write_text(
        "columns: {invoice_number: Nr, contact_name: Kunde, issued_on: Datum, due_on: Fällig, total: Brutto, invoice_status: Stand}\n"
        'constants: {currency: EUR}\nstatuses: {offen: AUTHORISED}\ndecimal_mark: ","\nday_first: true\n'
    )
    folder = Folder(tmp_path, "raw/xero_invoices")

    folder.collect_all()

    row = folder.rows["file:7",]
    assert (row["contact_name"], row["currency"], row["total_minor"]) == ("Müller", "EUR", 123_450)
    assert (row["due_on"], row["amount_due_minor"]) == (date(2026, 5, 4), 123_450)

    mapping.write_text("columns: {invoice_no: Nr}\n")
    with pytest.raises(ConfigError, match="invoice_no"):
        folder.collect()


def _chat(root: Path) -> None:
    space = root / "Takeout" / "Google Chat" / "Groups" / "Space AAAA1"
    space.mkdir(parents=True)
    people = [{"name": "Jo", "email": "Jo@agency.example", "user_type": "Human"}]
    (space / "group_info.json").write_text(json.dumps({"name": "Studio", "members": people}))
    said = {"creator": people[0], "topic_id": "t1", "text": "hello"}
    (space / "messages.json").write_text(
        json.dumps(
            {
                "messages": [
                    {
                        **said,
                        "message_id": "AAAA1/t1/m1",
                        "created_date": "Thursday, November 3, 2016 at 11:59:50\u202fPM UTC",
                    },
                    {
                        **said,
                        "message_id": "AAAA1/t1/m2",
                        "created_date": "jeudi 3 novembre 2016",
                        "message_state": "DELETED",
                    },
                    {
                        **said,
                        "message_id": "AAAA1/t1/m3",
                        "created_date": "Friday, November 4, 2016 at 12:00:00 AM UTC",
                        "attached_files": [{"original_name": "a.png", "export_name": "File-a.png"}],
                        "reactions": [{"emoji": {"unicode": "👍"}, "reactor_emails": ["a@x", "b@x"]}],
                    },
                    {"text": "no id"},
                ]
            }
        )
    )


def test_a_takeout_of_chat(tmp_path: Path) -> None:
    _chat(tmp_path)
    folders = {name: Folder(tmp_path, f"raw/chat_{name}") for name in ("messages", "spaces", "members")}

    for folder in folders.values():
        folder.collect_all()

    rows = {key[0]: row for key, row in folders["messages"].rows.items()}
    first = rows["spaces/AAAA1/messages/t1.m1"]
    assert first["created_at"] == datetime(2016, 11, 3, 23, 59, 50, tzinfo=UTC)
    assert (first["thread_name"], first["sender_name"]) == ("spaces/AAAA1/threads/t1", "users/jo@agency.example")
    assert (rows["spaces/AAAA1/messages/t1.m2"]["created_at"], rows["spaces/AAAA1/messages/t1.m2"]["is_deleted"]) == (
        None,
        True,
    )
    assert json.loads(rows["spaces/AAAA1/messages/t1.m3"]["reactions_json"]) == [{"count": 2, "emoji": "👍"}]
    assert len(folders["messages"].quarantined) == 1
    assert folders["messages"].drift["files.chat_without_date"] == 1
    assert folders["spaces"].rows["spaces/AAAA1",]["display_name"] == "Studio"
    assert list(folders["members"].rows) == [("spaces/AAAA1/members/jo@agency.example",)]


def test_a_file_that_is_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    _chat(tmp_path)
    path = next(tmp_path.rglob("messages.json"))
    path.write_bytes(path.read_bytes()[:-250])
    folder = Folder(tmp_path, "raw/chat_messages", Limits(rows=1))

    folder.collect_all()

    assert len(folder.rows) >= 2
    assert any("cut off" in reason for reason in folder.quarantined.values())


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_streamed_list_is_the_parsed_list(size: int) -> None:
    items = [{"a": ']"\\ é'}, [1, 2], "x", 12, None, {"data": [1]}]
    raw = json.dumps({"other": 1, "data": items}, ensure_ascii=False).encode()

    found = list(stream_items([raw[at : at + size] for at in range(0, len(raw), size)], "data"))

    assert found == items


def test_a_list_that_is_not_there_is_said_so() -> None:
    with pytest.raises(BadValueError, match="no list"):
        list(stream_items([b'{"a": 1}'], "data"))
