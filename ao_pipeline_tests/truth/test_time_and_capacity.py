"""Slots, and what the lanes can do, have planned and owe."""

from __future__ import annotations

import itertools
import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_LANES, REF_TEAM
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.tables import NORM_MEETINGS, NORM_TASKS
from ao_pipeline.truth.capacity import measure_capacity
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_TIME_BLOCKS
from ao_pipeline.truth.time_blocks import intersect_spans, merge_spans, plan_time_blocks
from ao_pipeline.truth.workweek import WorkWeek

SUNDAY = date(2026, 11, 22)  # First working day of a week; 27 and 28 are days off.


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def task(task_id: str = "t1", **values: Any) -> dict[str, Any]:
    defaults = {"status": "open", "lane_id": "ops", "estimated_minutes": 60, "is_urgent": False}
    return make(NORM_TASKS, task_id=task_id, **(defaults | values))


def meeting(start: int, end: int, *people: str, day: date = SUNDAY, number: int = 0, **values: Any) -> dict[str, Any]:
    emails = [f"{name}@agency.example" for name in people or ("noor",)]
    defaults: dict[str, Any] = {"is_all_day": False, "is_blocking": True, "start_minute": start, "end_minute": end}
    return make(
        NORM_MEETINGS,
        calendar_id=emails[0],
        event_id=f"{day}-{start}-{end}-{number}",
        occurrence_on=day,
        meeting_on=day,
        participants_json=json.dumps(emails),
        **(defaults | values),
    )


def member(name: str) -> dict[str, Any]:
    return make(REF_TEAM, member_id=name, email=f"{name}@agency.example", default_lane="ops", is_active=True)


def lane(weekly_hours: float = 40.0) -> dict[str, Any]:
    return make(REF_LANES, lane_id="ops", weekly_hours=weekly_hours, buffer_ratio=0.2, priority=1)


def plan(
    *tasks: dict[str, Any], meetings: list[dict[str, Any]] | None = None, hours: float = 40.0
) -> list[dict[str, Any]]:
    rows = plan_time_blocks(
        list(tasks), meetings=meetings or [], team=[member("noor")], lanes=[lane(hours)], as_of=SUNDAY
    )
    conform(TRUTH_TIME_BLOCKS, rows)
    return rows


def slots(rows: list[dict[str, Any]], day: date = SUNDAY) -> list[tuple[int, int, str]]:
    return [(row["start_minute"], row["end_minute"], row["kind"]) for row in rows if row["block_on"] == day]


def test_a_meeting_is_protected_and_short_gaps_are_no_slots() -> None:
    rows = slots(plan(meetings=[meeting(540, 620), meeting(640, 1140)]))

    assert rows == [(540, 620, "protected"), (640, 1140, "protected"), (1140, 1200, "free")]


def test_a_lane_is_free_while_one_of_its_people_is() -> None:
    rows = plan_time_blocks(
        [],
        meetings=[meeting(600, 1200, "noor"), meeting(660, 720, "sami")],
        team=[member("noor"), member("sami"), member("without-calendar")],
        lanes=[lane()],
        as_of=SUNDAY,
    )

    assert [slot for slot in slots(rows) if slot[2] == "protected"] == [(660, 720, "protected")]


def test_meetings_on_a_shared_calendar_protect_the_people_who_attend_them() -> None:
    shared = meeting(660, 720, "noor", "guest") | {"calendar_id": "rooms@agency.example"}

    assert (660, 720, "protected") not in slots(plan(meetings=[shared]))
    assert (660, 720, "protected") in slots(plan(meetings=[shared, meeting(0, 10, day=SUNDAY + timedelta(days=1))]))


def test_days_off_have_no_free_slots() -> None:
    assert slots(plan(), SUNDAY + timedelta(days=5)) == slots(plan(), SUNDAY + timedelta(days=6)) == []


def test_overdue_work_comes_first_then_urgent_then_by_day() -> None:
    tasks = [
        task("later", due_on=SUNDAY + timedelta(days=3)),
        task("none"),
        task("today", due_on=SUNDAY),
        task("today-urgent", due_on=SUNDAY, is_urgent=True),
        task("overdue", due_on=SUNDAY - timedelta(days=9)),
    ]

    rows = plan(*tasks)

    assert [row["task_id"] for row in rows if row["task_id"]] == ["today-urgent", "overdue", "today", "later", "none"]


def test_a_short_task_leaves_the_rest_of_its_slot_and_a_long_one_overflows() -> None:
    rows = plan(task("short", estimated_minutes=15, due_on=SUNDAY), task("long", estimated_minutes=100))

    assert slots(rows)[:3] == [(600, 615, "task"), (615, 660, "free"), (660, 720, "task")]
    assert [row["overflow_minutes"] for row in rows if row["task_id"] == "long"] == [40]


def test_work_that_is_not_due_stops_at_the_effective_minutes() -> None:
    rows = plan(*(task(f"t{n}") for n in range(12)))

    # 40 h less a fifth, over five days: 384 minutes, so six slots of an hour.
    assert sum(kind == "task" for _, _, kind in slots(rows)) == 6


def test_parents_completed_tasks_and_foreign_lanes_get_no_slot() -> None:
    tasks = [
        task("parent"),
        task("child", parent_id="parent"),
        task("done", status="completed"),
        task("x", lane_id=None),
    ]

    assert [row["task_id"] for row in plan(*tasks) if row["task_id"]] == ["child"]


spans = st.lists(st.tuples(st.integers(0, 1440), st.integers(0, 1440)), max_size=8)


@given(spans, spans)
def test_spans_merge_and_intersect_like_sets_of_minutes(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    def minutes(drawn: list[tuple[int, int]]) -> set[int]:
        return {minute for start, end in drawn for minute in range(start, end)}

    assert minutes(merge_spans(left)) == minutes(left)
    assert minutes(intersect_spans(merge_spans(left), merge_spans(right))) == minutes(left) & minutes(right)


tasks_drawn = st.lists(st.tuples(st.integers(1, 300), st.none() | st.integers(-5, 20), st.booleans()), max_size=60)
meetings_drawn = st.lists(st.tuples(st.integers(0, 13), st.integers(0, 1440), st.integers(0, 1440)), max_size=20)


@settings(max_examples=60, deadline=None)
@given(tasks_drawn, meetings_drawn)
def test_slots_of_a_lane_never_overlap(
    drawn: list[tuple[int, int | None, bool]], busy: list[tuple[int, int, int]]
) -> None:
    tasks = [
        task(f"t{n}", estimated_minutes=m, is_urgent=u, due_on=SUNDAY + timedelta(days=d) if d is not None else None)
        for n, (m, d, u) in enumerate(drawn)
    ]
    meetings = [
        meeting(min(a, b), max(a, b), day=SUNDAY + timedelta(days=d), number=n) for n, (d, a, b) in enumerate(busy)
    ]

    rows = plan(*tasks, meetings=meetings)
    capacity = measure_capacity(rows, tasks=tasks, lanes=[lane()], as_of=SUNDAY)

    for before, after in itertools.pairwise(rows):
        assert before["block_on"] != after["block_on"] or before["end_minute"] <= after["start_minute"]
    for row in rows:
        assert row["start_minute"] + row["minutes"] == row["end_minute"]
        assert row["kind"] == "protected" or (row["start_minute"] >= 600 and row["end_minute"] <= 1200)
        assert row["kind"] == "protected" or row["block_on"].weekday() not in {4, 5}
        assert (row["task_id"] is not None) == (row["kind"] == "task")
    placed = [row["task_id"] for row in rows if row["task_id"]]
    assert len(placed) == len(set(placed))
    conform(TRUTH_CAPACITY, capacity)
    assert sum(row["task_count"] for row in capacity) == len(placed)
    assert sum(row["scheduled_minutes"] for row in capacity) == sum(
        row["task_minutes"] - row["overflow_minutes"] for row in rows if row["task_id"]
    )


def test_a_task_has_one_slot_at_most() -> None:
    rows = plan(task("t1", estimated_minutes=500), task("t2", estimated_minutes=500))

    assert sorted(row["task_id"] for row in rows if row["task_id"]) == ["t1", "t2"]


def test_due_work_beyond_the_effective_minutes_overloads_the_lane() -> None:
    tasks = [task(f"t{n:02}", due_on=SUNDAY) for n in range(12)]

    row = measure_capacity(plan(*tasks), tasks=tasks, lanes=[lane()], as_of=SUNDAY)[0]

    assert (row["effective_minutes"], row["scheduled_minutes"], row["is_overloaded"]) == (384, 600, True)
    assert row["utilization_ratio"] == pytest.approx(1.5625)
    assert (row["due_minutes"], row["debt_minutes"]) == (720, 120)


def test_a_lane_without_hours_has_no_utilization() -> None:
    row = measure_capacity([], tasks=[], lanes=[lane(0.0)], as_of=SUNDAY)[0]

    assert (row["effective_minutes"], row["utilization_ratio"], row["is_overloaded"]) == (0, None, False)


@pytest.mark.parametrize("weekend", [{4, 5}, {5, 6}, {6}, set()])
def test_the_end_of_a_week_is_a_working_day_before_the_next_week(weekend: set[int]) -> None:
    week = WorkWeek(weekend=frozenset(weekend))

    for offset in range(7):
        day = SUNDAY + timedelta(days=offset)
        assert week.is_working(week.first_of_next_week(day))
        assert week.first_of_next_week(day) > day


def test_blocks_without_a_column_are_refused_by_name() -> None:
    with pytest.raises(ContractError, match="truth_time_blocks lacks"):
        measure_capacity([{"lane_id": "ops"}], tasks=[], lanes=[lane()], as_of=SUNDAY)
