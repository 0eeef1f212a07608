"""Meetings on local days, and the recurrence subset."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.collect.tables import RAW_CALENDAR_EVENTS
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.meetings import normalize_meetings
from ao_pipeline.normalize.recurrence import parse_recurrence
from ao_pipeline.normalize.tables import NORM_MEETINGS

ZONE = ZoneInfo("Asia/Dubai")
AS_OF = date(2026, 11, 22)  # A Sunday.
OWNER = "noor@agency.example"


def event(event_id: str = "e1", **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "calendar_id": OWNER,
        "event_id": event_id,
        "status": "confirmed",
        "summary": "Talk",
        "is_all_day": False,
        "start_at": datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        "end_at": datetime(2026, 11, 22, 9, 0, tzinfo=UTC),
        "time_zone": "Asia/Dubai",
        "attendees_json": "[]",
    }
    row = defaults | values
    assert row.keys() <= set(RAW_CALENDAR_EVENTS.column_names)
    return {name: row.get(name) for name in RAW_CALENDAR_EVENTS.column_names}


def meetings(*events: dict[str, Any], as_of: date = AS_OF) -> list[dict[str, Any]]:
    rows = normalize_meetings(list(events), as_of=as_of, org_domains=["agency.example"], zone=ZONE)
    conform(NORM_MEETINGS, rows)
    return rows


def days(*events: dict[str, Any]) -> list[int]:
    return [(row["meeting_on"] - AS_OF).days for row in meetings(*events)]


def series(rule: str, *more: str, **values: Any) -> dict[str, Any]:
    return event("s", recurrence_json=json.dumps([f"RRULE:{rule}", *more]), **values)


def test_a_meeting_over_midnight_has_a_row_for_each_day() -> None:
    late = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)  # 23:00 in Dubai.

    rows = meetings(event(start_at=late, end_at=late + timedelta(hours=2)))

    assert [(r["meeting_on"].day, r["start_minute"], r["end_minute"]) for r in rows] == [(22, 1380, 1440), (23, 0, 60)]


def test_an_all_day_event_takes_no_minutes_and_blocks_only_when_out_of_office() -> None:
    values: dict[str, Any] = {
        "is_all_day": True,
        "start_at": None,
        "end_at": None,
        "start_on": AS_OF,
        "end_on": AS_OF + timedelta(days=2),
    }

    note, leave = meetings(event(**values))[0], meetings(event(**values, event_type="outOfOffice"))

    assert (note["minutes"], note["is_blocking"]) == (0, False)
    assert [(r["meeting_on"].day, r["is_blocking"]) for r in leave] == [(22, True), (23, True)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY;COUNT=3", [0, 1, 2]),
        ("FREQ=DAILY;INTERVAL=5", [0, 5, 10]),
        ("FREQ=WEEKLY", [0, 7, 14]),
        ("FREQ=WEEKLY;BYDAY=SU,TU;UNTIL=20261129T195959Z", [0, 2, 7]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,MO", [0, 1, 14]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=MO;BYDAY=SU,MO", [0, 8, 14]),
        ("FREQ=DAILY;BYDAY=MO;COUNT=2", [0, 1]),
    ],
)
def test_a_series_is_expanded_inside_the_window(rule: str, expected: list[int]) -> None:
    assert days(series(rule)) == expected


def test_a_series_that_began_years_ago_is_still_there() -> None:
    start = datetime(2019, 1, 6, 8, 0, tzinfo=UTC)

    assert days(series("FREQ=WEEKLY", start_at=start, end_at=start + timedelta(minutes=30))) == [-7, 0, 7, 14]


def test_excluded_moved_and_cancelled_occurrences_leave_their_day() -> None:
    master = series("FREQ=DAILY;COUNT=5", "EXDATE;TZID=Asia/Dubai:20261123T120000")
    moved_at = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
    moved = event("s_20261124T080000Z", recurring_event_id="s", start_at=moved_at, end_at=moved_at + timedelta(hours=1))
    gone = event("s_20261125T080000Z", recurring_event_id="s", status="cancelled", start_at=None, end_at=None)

    assert sorted(days(master, moved, gone)) == [0, 4, 8]


@pytest.mark.parametrize(
    "rule", ["FREQ=MONTHLY", "FREQ=WEEKLY;BYDAY=2MO", "FREQ=DAILY;BYHOUR=9", "FREQ=DAILY;INTERVAL=0", "nonsense"]
)
def test_a_rule_outside_the_subset_is_counted_and_never_blocks(rule: str) -> None:
    rows = meetings(series(rule))

    assert [(row["expansion"], row["is_blocking"]) for row in rows] == [("unexpanded", False)]


def test_summer_time_of_the_events_zone_moves_our_clock() -> None:
    start = datetime(2026, 10, 20, 8, 0, tzinfo=UTC)  # 09:00 in London, still summer time.

    rows = meetings(
        series("FREQ=WEEKLY", start_at=start, end_at=start + timedelta(hours=1), time_zone="Europe/London"),
        as_of=date(2026, 10, 22),
    )

    assert [(row["meeting_on"].day, row["start_minute"]) for row in rows] == [(20, 720), (27, 780), (3, 780)]


def test_a_declined_or_cancelled_meeting_takes_nobodys_time() -> None:
    declined = event(attendees_json=json.dumps([{"email": OWNER, "response_status": "declined"}]))

    assert [row["is_blocking"] for row in meetings(declined)] == [False]
    assert meetings(event(status="cancelled", start_at=None, end_at=None)) == []


def test_participants_are_our_own_people_who_have_not_declined() -> None:
    people = [
        {"email": "a@agency.example", "response_status": "accepted"},
        {"email": "b@agency.example", "response_status": "declined"},
        {"email": "x@palm.example", "response_status": "accepted"},
    ]

    row = meetings(event(attendees_json=json.dumps(people)))[0]

    assert row["participants_json"] == '["a@agency.example","noor@agency.example"]'
    assert row["is_internal"] is False


@given(
    st.datetimes(datetime(2026, 11, 10), datetime(2026, 12, 10)),
    st.integers(0, 4000),
    st.sampled_from(["", "FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=DAILY;COUNT=4"]),
)
def test_minutes_fit_in_their_day_and_in_the_window(start: datetime, length: int, rule: str) -> None:
    start_at = start.replace(tzinfo=UTC)
    lines = json.dumps([f"RRULE:{rule}"]) if rule else None

    rows = meetings(event(start_at=start_at, end_at=start_at + timedelta(minutes=length), recurrence_json=lines))

    for row in rows:
        assert 0 <= row["start_minute"] <= row["end_minute"] <= 1440
        assert row["minutes"] == row["end_minute"] - row["start_minute"]
        assert -7 <= (row["meeting_on"] - AS_OF).days <= 14
    if not rule and all(
        -7 <= (start_at + timedelta(days=d)).astimezone(ZONE).toordinal() - AS_OF.toordinal() <= 14 for d in (0, 3)
    ):
        assert abs(sum(row["minutes"] for row in rows) - length) <= 4


@given(st.text(max_size=40))
def test_any_recurrence_text_is_read_or_left_alone(text: str) -> None:
    recurrence = parse_recurrence([f"RRULE:{text}"], zone=ZONE)

    assert recurrence is None or recurrence.interval >= 1


def test_a_broken_attendee_list_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="not JSON"):
        meetings(event(attendees_json="["))
