"""Calendars, tables and chats as programs write them and as people leave them: what breaks is one item, and it is counted."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.files_source.folder import survey
from ao_pipeline.adapters.files_source.intake import Limits
from ao_pipeline.collect.files.invoices import read_mapping
from ao_pipeline.collect.files.tabular import read_amount, read_day, rows
from ao_pipeline.collect.values import BadValueError
from ao_pipeline.errors import ConfigError
from ao_pipeline_tests.files.folder_engine import Folder

START = "DTSTART:20261123T100000Z"
XERO = "*ContactName,EmailAddress,*InvoiceNumber,*InvoiceDate,*DueDate,Total,InvoiceAmountDue,Type,Status,Currency\n"
ASANA = (
    "Task ID,Created At,Completed At,Last Modified,Name,Section/Column,Assignee,Assignee Email,Due Date,Notes,Projects"
)


def event(uid: str, *lines: str) -> str:
    return "\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT", ""])


def calendar(*parts: str) -> bytes:
    return ("BEGIN:VCALENDAR\n" + "".join(parts) + "END:VCALENDAR\n").replace("\n", "\r\n").encode()


def invoice(number: int, *, day: str = "23/11/2026", name: str = "Client") -> str:
    return f"{name},a@b.example,INV-{number},{day},30/12/2026,100.00,100.00,Sales invoice,Paid,AED\n"


def collected(root: Path, asset: str, limits: Limits | None = None, **files: bytes) -> Folder:
    """Collect files of these names (a last `_` stands for the dot before the suffix), twice."""
    for name, content in files.items():
        (root / ".".join(name.rsplit("_", 1))).write_bytes(content)
    folder = Folder(root, asset, limits or Limits())
    folder.collect_all()
    again = folder.collect()
    assert (again.rows.num_rows, again.deleted.num_rows, again.pages) == (0, 0, 0)
    return folder


def events(root: Path, *files: bytes, limits: Limits | None = None) -> dict[str, dict[str, Any]]:
    folder = collected(root, "raw/calendar_events", limits, **{f"c{n}_ics": raw for n, raw in enumerate(files)})
    quarantined = {key.rpartition("/")[2]: {"reason": reason} for key, reason in folder.quarantined.items()}
    return {str(key[-1]): row for key, row in folder.rows.items()} | quarantined


def test_an_event_without_an_end_is_not_swallowed_by_the_next(tmp_path: Path) -> None:
    open_event = f"BEGIN:VEVENT\nUID:1\n{START}\n"

    found = events(tmp_path, calendar(open_event, event("2", START)) + calendar(open_event.replace(":1", ":3")))

    assert found.keys() == {"1", "2", "3"}


def test_an_event_of_nothing_is_quarantined(tmp_path: Path) -> None:
    (found,) = events(tmp_path, calendar("BEGIN:VEVENT\nEND:VEVENT\n")).values()

    assert "DTSTART is missing" in found["reason"]


@pytest.mark.parametrize(
    "lines",
    [
        ["DTSTART;VALUE=DATE:99991231"],
        ["DTSTART;VALUE=DATE:99991231", "DTEND;VALUE=DATE:99991231"],
        [START, f"DURATION:P{'9' * 5_000}D"],
        [START, "DURATION:P99999999D"],
    ],
)
def test_an_event_beyond_the_calendars_end_is_quarantined(tmp_path: Path, lines: list[str]) -> None:
    found = events(tmp_path, calendar(event("1", *lines), event("2", START)))

    assert "reason" in found["1"]
    assert "reason" not in found["2"]


def test_numbers_of_other_scripts_are_no_numbers(tmp_path: Path) -> None:
    zone = "BEGIN:VTIMEZONE\nTZID:Z\nBEGIN:STANDARD\nDTSTART:20070101T000000\nTZOFFSETTO:+0100\n"
    zone += "RRULE:FREQ=YEARLY;BYMONTH=²;BYDAY=1SU;UNTIL=²²²²\nEND:STANDARD\nEND:VTIMEZONE\n"

    found = events(tmp_path, calendar(zone, event("1", "DTSTART;TZID=Z:20261123T100000", "SEQUENCE:²")))

    assert found["1"]["start_at"] == datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_a_cancellation_takes_back_what_the_same_collection_read(tmp_path: Path) -> None:
    name = "X-WR-CALNAME:ops@agency.example\n"
    newer = event("2", START, "SEQUENCE:1", "STATUS:CANCELLED")
    first = calendar(name, event("1", START), event("2", START), newer, event("3", START))
    second = calendar(name, "METHOD:CANCEL\n", event("1", START))

    found = events(tmp_path, first, second)

    assert found.keys() == {"3"}


def test_an_older_version_does_not_win_because_the_import_was_bounded(tmp_path: Path) -> None:
    others = [event(f"x{number}", START) for number in range(9)]
    file = calendar(event("1", START, "SEQUENCE:5", "SUMMARY:new"), *others, event("1", START, "SUMMARY:old"))

    found = events(tmp_path, file, limits=Limits(rows=3))

    assert found["1"]["summary"] == "new"


@pytest.mark.parametrize("form", ["mac", "double", "utf-16"])
def test_a_calendar_in_any_bytes(tmp_path: Path, form: str) -> None:
    raw = calendar(event("1", START, "SUMMARY:Grüße aus", "  Köln"))
    forms = {
        "mac": raw.replace(b"\r\n", b"\r"),
        "double": raw.replace(b"\r\n", b"\r\r\n"),
        "utf-16": raw.decode().encode("utf-16"),
    }

    found = events(tmp_path, forms[form])

    assert found["1"]["summary"] == "Grüße aus Köln"


def test_windows_zones_are_the_worlds_in_times_and_in_exceptions(tmp_path: Path) -> None:
    raw = calendar(
        event("1", "DTSTART;TZID=Nepal Standard Time:20261123T100000", "RRULE:FREQ=DAILY")
        + event("2", START, "RRULE:FREQ=DAILY", "EXDATE;TZID=W. Europe Standard Time:20261124T110000")
    )

    found = events(tmp_path, raw)

    assert found["1"]["start_at"] == datetime(2026, 11, 23, 4, 15, tzinfo=UTC)
    assert found["1"]["time_zone"] == "Asia/Kathmandu"
    assert json.loads(found["2"]["recurrence_json"])[1] == "EXDATE;TZID=Europe/Berlin:20261124T110000"


def test_a_zone_whose_change_is_told_by_month_days(tmp_path: Path) -> None:
    zone = "BEGIN:VTIMEZONE\nTZID:Z\nBEGIN:{}\nDTSTART:2007{}T020000\nRRULE:FREQ=YEARLY;{};BYDAY=SU\nTZOFFSETTO:{}\nEND:{}\n"
    winter = zone.format("STANDARD", "1104", "BYMONTH=11;BYMONTHDAY=1,2,3,4,5,6,7", "-0500", "STANDARD")
    summer = zone.format("DAYLIGHT", "0311", "BYMONTH=3;BYMONTHDAY=8,9,10,11,12,13,14", "-0400", "DAYLIGHT")
    both = winter + summer.partition("TZID:Z\n")[2] + "END:VTIMEZONE\n"

    found = events(
        tmp_path,
        calendar(both, *(event(day, f"DTSTART;TZID=Z:2026{day}T100000") for day in ("0305", "0310", "1130"))),
    )

    assert [found[day]["start_at"].hour for day in ("0305", "0310", "1130")] == [15, 14, 15]


@pytest.mark.parametrize("raw", [b"a\rb\rc", b'"open\nb', b"a\r\r\nb", b"\xff\xfe", b"x" * 5_000])
def test_a_text_beside_the_exports_ends_no_collection(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(raw)

    _, ignored = survey(tmp_path)

    assert [file.name for file in ignored] == ["notes.txt"]


@pytest.mark.parametrize("form", ["mac", "double", "hint", "utf-16", "break in a cell"])
def test_a_table_in_any_bytes(tmp_path: Path, form: str) -> None:
    text = XERO + invoice(1, name="Grüße") + invoice(2, name="A\u2028B\x0bC")
    forms = {
        "mac": text.replace("\n", "\r").encode(),
        "double": text.replace("\n", "\r\r\n").encode(),
        "hint": ("sep=;\n" + text.replace(",", ";")).encode(),
        "utf-16": text.encode("utf-16"),
        "break in a cell": text.replace("a@b", "a\r@b").encode(),
    }

    folder = collected(tmp_path, "raw/xero_invoices", a_csv=forms[form])

    assert [row["contact_name"] for row in folder.rows.values()] == ["Grüße", "A\u2028B\x0bC"]
    assert folder.quarantined == {}


def test_rows_before_a_broken_one_are_read(tmp_path: Path) -> None:
    text = XERO + invoice(1) + invoice(2) + invoice(3, name='"' + "y" * 200_000 + '"') + invoice(4)

    folder = collected(tmp_path, "raw/xero_invoices", a_csv=text.encode())

    assert [row["invoice_number"] for row in folder.rows.values()] == ["INV-1", "INV-2"]
    assert len(folder.quarantined) == 1


def test_a_header_over_two_lines_and_two_columns_of_one_name() -> None:
    (found,) = [row for _, row in rows([b'"Net\namount",Notes,Notes\n5,own,custom\n'])]

    assert found == {"net amount": "5", "notes": "own", "notes (2)": "custom"}


@pytest.mark.parametrize(
    ("text", "mark", "amount"),
    [
        ("1,234.56", ".", "1234.56"),
        ("1.234,56", ",", "1234.56"),
        ("1 234,56 €", ",", "1234.56"),
        ("1\u202f234,56", ",", "1234.56"),
        ("1\u2019234.56", ".", "1234.56"),
        ("1,00,000.00", ".", "100000"),
        ("100.50-", ".", "-100.5"),
        ("\u22125", ".", "-5"),
        ("-$5.00", ".", "-5"),
        ("($5.00)", ".", "-5"),
        (".5", ".", "0.5"),
        ("١٢", ".", "12"),
    ],
)
def test_amounts_as_ledgers_write_them(text: str, mark: str, amount: str) -> None:
    assert read_amount(text, "total", decimal_mark=mark) == Decimal(amount)


@pytest.mark.parametrize(
    ("text", "mark"),
    [("1.234,56", "."), ("12,50", "."), ("1234.56", ","), ("1,2,3", "."), ("1.2.3", "."), ("1.5E+03", "."), ("", "")],
)
def test_an_amount_with_the_other_mark_is_refused_rather_than_multiplied(text: str, mark: str) -> None:
    if not text:
        assert read_amount(text, "total") is None
        return

    with pytest.raises(BadValueError):
        read_amount(text, "total", decimal_mark=mark)


@pytest.mark.parametrize("text", ["23.11.26", "20261123", "23-Nov-26", "23. Nov 2026", "23/11/26 10:00"])
def test_days_as_ledgers_write_them(text: str) -> None:
    assert read_day(text, "day") == date(2026, 11, 23)


@pytest.mark.parametrize(
    "line", ["constants: [a]", "statuses: x", "delimiter: ';;'", "delimiter: '\"'", "encoding: nowhere"]
)
def test_a_wrong_mapping_is_named(line: str) -> None:
    with pytest.raises(ConfigError, match=r"m\.columns\.yaml"):
        read_mapping(f"columns: {{invoice_number: Nr}}\n{line}\n", "m.columns.yaml")


def test_a_mapping_may_write_its_tab_and_leave_its_separator_empty() -> None:
    assert read_mapping("columns: {total: x}\ndelimiter: '\\t'\n", "m").delimiter == "\t"
    assert read_mapping("columns: {total: x}\ndelimiter:\n", "m").delimiter == ""


def test_tasks_in_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"Projekt \xfc.csv")
    (tmp_path / name).write_text(f"{ASANA}\n1201,2026-11-01,,2026-11-02,Do,,,,,,\n")

    folder = collected(tmp_path, "raw/asana_tasks")

    assert json.loads(folder.rows["1201",]["projects_json"])[0]["project_gid"] == "name:Projekt \ufffd"


def test_rows_whose_ids_were_rounded_alike_are_each_quarantined(tmp_path: Path) -> None:
    row = "1.2E+15,2026-11-01,,2026-11-02,Do,,,,,,\n"

    folder = collected(tmp_path, "raw/asana_tasks", a_csv=f"{ASANA}\n{row}{row}{row[7:]}".encode())

    assert sorted(folder.quarantined) == ["1.2E+15 in row 0", "1.2E+15 in row 1", "? in row 2"]
    assert folder.drift == {}


def test_chats_of_before_there_were_ids(tmp_path: Path) -> None:
    said = {"creator": {"email": "a@b.example"}, "created_date": "Monday, November 23, 2026 at 10:00:00 AM UTC"}
    space = tmp_path / "Space AAA"
    space.mkdir()
    told = [{**said, "text": "one", "topic_id": "t"}, {**said, "text": "two", "topic_id": "t"}, "x", None]
    (space / "messages.json").write_text(json.dumps({"messages": told}))

    folder = collected(tmp_path, "raw/chat_messages")

    assert [row["text"] for row in folder.rows.values()] == ["one", "two"]
    assert len(folder.quarantined) == 2


def test_members_without_an_address_are_counted(tmp_path: Path) -> None:
    space = tmp_path / "Space AAA"
    space.mkdir()
    (space / "messages.json").write_text('{"messages": []}')
    people = [{"email": "a@b.example"}, {"name": "App", "user_type": "Bot"}, {"name": "Gone"}]
    (space / "group_info.json").write_text(json.dumps({"members": people}))

    folder = collected(tmp_path, "raw/chat_members")

    assert len(folder.rows) == 1
    assert folder.drift == {"files.chat_member_without_address": 2}


@pytest.mark.parametrize(
    ("asset", "text", "field"),
    [
        (
            "raw/xero_contacts",
            XERO + invoice(1) + invoice(2, name="Other") + invoice(3).replace("a@b", "late@b"),
            "email",
        ),
        (
            "raw/asana_users",
            f"{ASANA}\n"
            + "".join(f"120{n},,,,Do,,{name},a@b.example,,,\n" for n, name in enumerate(("Ann", "B", "C"))),
            "name",
        ),
    ],
)
def test_who_is_named_twice_is_the_same_after_a_bounded_import(
    tmp_path: Path, asset: str, text: str, field: str
) -> None:
    whole = collected(tmp_path, asset, a_csv=text.encode())
    pieces = collected(tmp_path, asset, Limits(rows=1))

    assert {key: row[field] for key, row in pieces.rows.items()} == {k: row[field] for k, row in whole.rows.items()}
