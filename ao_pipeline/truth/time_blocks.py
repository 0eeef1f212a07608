"""Time truth: the next 14 days of every lane as slots that are protected, hold one task, or are free.

Invariants:
1. Slots of one lane on one day never overlap. `test_slots_of_a_lane_never_overlap`
2. A task has at most one slot, a slot at most one task. `test_a_task_has_one_slot_at_most`
3. Slots that are not protected lie in working hours of working days. `test_slots_of_a_lane_never_overlap`
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from ao_pipeline.collect.reference_tables import REF_LANES, REF_TEAM
from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_MEETINGS, NORM_TASKS
from ao_pipeline.truth.tables import TRUTH_TIME_BLOCKS
from ao_pipeline.truth.workweek import DEFAULT_WORK_WEEK, WorkWeek

TIME_BLOCKS_VERSION: Final = "1"

HORIZON_DAYS: Final = 14
BLOCK_MINUTES: Final = 60
MIN_BLOCK_MINUTES: Final = 30
"""A gap shorter than this is not worth starting anything in; a rest shorter than this is not cut off a slot."""

Span = tuple[int, int]


@dataclass
class _LaneDay:
    """One lane on one day while tasks are being placed."""

    day: date
    lane_id: str
    protected: list[Span]
    free: list[Span]
    effective_minutes: int
    used_minutes: int = 0
    placed: list[tuple[Span, Row]] = field(default_factory=list)


def plan_time_blocks(
    tasks: Frame, *, meetings: Frame, team: Frame, lanes: Frame, as_of: date, week: WorkWeek = DEFAULT_WORK_WEEK
) -> list[Row]:
    """Lay meetings and open tasks on the lanes' days.

    A lane is one track. It is protected while everybody in it whose own calendar is read is in a meeting: as long as
    one of them is free, one task can be promised. A lane of which no calendar is read is never protected. Tasks are placed greedily: overdue and due today, then by due
    day, urgent first. Work that is not due yet stops at the lane's effective minutes; work that is due does not, which
    is what makes a lane overloaded. Parents of open subtasks are containers and get no slot.

    Args:
        tasks: `norm_tasks`.
        meetings: `norm_meetings`.
        team: `ref_team`.
        lanes: `ref_lanes`.
        as_of: The organisation's day, first of the horizon.
        week: Working days and hours.

    Returns:
        Rows of `truth_time_blocks`.
    """
    lane_rows = read_rows(lanes, REF_LANES)
    days = [as_of + timedelta(days=offset) for offset in range(HORIZON_DAYS)]
    busy = _busy_spans(read_rows(meetings, NORM_MEETINGS), read_rows(team, REF_TEAM), frozenset(days))
    by_lane = {
        lane["lane_id"]: [_open_day(lane, day, busy.get((lane["lane_id"], day), []), week) for day in days]
        for lane in lane_rows
    }
    for task in schedulable_tasks(read_rows(tasks, NORM_TASKS), as_of=as_of):
        _place(task, by_lane.get(task["lane_id"], []))
    rows = [row for lane_days in by_lane.values() for lane_day in lane_days for row in _block_rows(lane_day)]
    return sort_rows(rows, TRUTH_TIME_BLOCKS)


def schedulable_tasks(tasks: Iterable[Row], *, as_of: date) -> list[Row]:
    """Return open tasks that are work themselves, in the order in which they get slots."""
    open_tasks = [task for task in tasks if task["status"] == "open"]
    containers = {task["parent_id"] for task in open_tasks if task["parent_id"] is not None}

    def order(task: Row) -> tuple[date, bool, date, str]:
        due_on = task["due_on"] or date.max
        return max(due_on, as_of), not task["is_urgent"], due_on, task["task_id"]

    return sorted((task for task in open_tasks if task["task_id"] not in containers), key=order)


def effective_minutes(lane: Row, day: date, week: WorkWeek) -> int:
    """Return what a lane can really promise on a day: its hours without the buffer, evenly over working days."""
    if not week.is_working(day):
        return 0
    weekly = (lane["weekly_hours"] or 0.0) * 60 * (1 - (lane["buffer_ratio"] or 0.0))
    return max(int(weekly / week.working_day_count + 1e-9), 0)


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans as ordered spans that do not touch."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def intersect_spans(left: list[Span], right: list[Span]) -> list[Span]:
    """Return where two lists of merged spans overlap."""
    spans = [(max(a[0], b[0]), min(a[1], b[1])) for a in left for b in right]
    return merge_spans(spans)


def _busy_spans(meetings: list[Row], team: list[Row], days: frozenset[date]) -> dict[tuple[str, date], list[Span]]:
    lane_of = {row["email"]: row["default_lane"] for row in team if row["is_active"]}
    owners = {meeting["calendar_id"].lower() for meeting in meetings} & lane_of.keys()
    by_person: dict[tuple[str, date], list[Span]] = {}
    for meeting in meetings:
        if not meeting["is_blocking"] or meeting["meeting_on"] not in days:
            continue
        span = (0, 1440) if meeting["is_all_day"] else (meeting["start_minute"], meeting["end_minute"])
        for email in json.loads(meeting["participants_json"] or "[]"):
            if email in owners:
                by_person.setdefault((email, meeting["meeting_on"]), []).append(span)
    people_of: dict[str, set[str]] = {}
    for email in sorted(owners):
        people_of.setdefault(lane_of[email], set()).add(email)
    busy: dict[tuple[str, date], list[Span]] = {}
    for lane_id, people in people_of.items():
        for day in days:
            common: list[Span] | None = None
            for email in sorted(people):
                spans = merge_spans(by_person.get((email, day), []))
                common = spans if common is None else intersect_spans(common, spans)
            busy[lane_id, day] = common or []
    return busy


def _open_day(lane: Row, day: date, protected: list[Span], week: WorkWeek) -> _LaneDay:
    free: list[Span] = []
    if week.is_working(day):
        cursor = week.start_minute
        for start, end in [*protected, (week.end_minute, week.end_minute)]:
            free.extend(_cut(cursor, min(start, week.end_minute)))
            cursor = max(cursor, end)
    return _LaneDay(day, lane["lane_id"], protected, free, effective_minutes(lane, day, week))


def _cut(start: int, end: int) -> Iterable[Span]:
    """Yield slots of `BLOCK_MINUTES`; the last may be shorter, down to `MIN_BLOCK_MINUTES`."""
    while end - start >= MIN_BLOCK_MINUTES:
        stop = min(start + BLOCK_MINUTES, end)
        yield start, stop
        start = stop


def _place(task: Row, lane_days: list[_LaneDay]) -> None:
    """Give the task the first slot that holds it, else the largest of the first day that has any."""
    minutes = task["estimated_minutes"]
    best: tuple[_LaneDay, Span] | None = None
    for lane_day in lane_days:
        is_due = task["due_on"] is not None and task["due_on"] <= lane_day.day
        room = 1440 if is_due else lane_day.effective_minutes - lane_day.used_minutes
        for span in lane_day.free:
            size = span[1] - span[0]
            if min(size, minutes) > room:
                continue
            if size >= minutes:
                _take(lane_day, span, task)
                return
            if best is None or (lane_day is best[0] and size > best[1][1] - best[1][0]):
                best = (lane_day, span)
        if best is not None and minutes > BLOCK_MINUTES:
            # No later slot is larger than a full one, so waiting would not help.
            break
    if best is not None:
        _take(*best, task)


def _take(lane_day: _LaneDay, span: Span, task: Row) -> None:
    start, end = span
    lane_day.free.remove(span)
    wanted = start + task["estimated_minutes"]
    if end - wanted >= MIN_BLOCK_MINUTES:
        lane_day.free.append((wanted, end))
        lane_day.free.sort()
        end = wanted
    lane_day.placed.append(((start, end), task))
    lane_day.used_minutes += min(task["estimated_minutes"], end - start)


def _block_rows(lane_day: _LaneDay) -> Iterable[Row]:
    for start, end in lane_day.protected:
        yield _block(lane_day, (start, end), "protected", None)
    for span in lane_day.free:
        yield _block(lane_day, span, "free", None)
    for span, task in lane_day.placed:
        yield _block(lane_day, span, "task", task)


def _block(lane_day: _LaneDay, span: Span, kind: str, task: Row | None) -> Row:
    minutes = span[1] - span[0]
    return {
        "block_on": lane_day.day,
        "lane_id": lane_day.lane_id,
        "start_minute": span[0],
        "end_minute": span[1],
        "minutes": minutes,
        "kind": kind,
        "task_id": task["task_id"] if task is not None else None,
        "member_id": task["member_id"] if task is not None else None,
        "task_minutes": task["estimated_minutes"] if task is not None else None,
        "overflow_minutes": max(task["estimated_minutes"] - minutes, 0) if task is not None else None,
        "task_due_on": task["due_on"] if task is not None else None,
    }
