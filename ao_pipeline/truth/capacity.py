"""Capacity truth: what each lane can do, has planned, and owes on every day of the horizon."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from ao_pipeline.collect.reference_tables import REF_LANES
from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_TASKS
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_TIME_BLOCKS
from ao_pipeline.truth.time_blocks import HORIZON_DAYS, effective_minutes, schedulable_tasks
from ao_pipeline.truth.workweek import DEFAULT_WORK_WEEK, WorkWeek

CAPACITY_VERSION: Final = "1"


def measure_capacity(
    time_blocks: Frame, *, tasks: Frame, lanes: Frame, as_of: date, week: WorkWeek = DEFAULT_WORK_WEEK
) -> list[Row]:
    """Compare each lane's planned minutes with its effective minutes, and count what is due without a slot.

    Args:
        time_blocks: `truth_time_blocks`.
        tasks: `norm_tasks`.
        lanes: `ref_lanes`.
        as_of: The organisation's day.
        week: Working days and hours; the same as for the blocks.

    Returns:
        Rows of `truth_capacity`: every lane on every day of the horizon.
    """
    days = [as_of + timedelta(days=offset) for offset in range(HORIZON_DAYS)]
    blocks: dict[tuple[str, date], list[Row]] = {}
    slot_of: dict[str, Row] = {}
    for block in read_rows(time_blocks, TRUTH_TIME_BLOCKS):
        blocks.setdefault((block["lane_id"], block["block_on"]), []).append(block)
        if block["task_id"] is not None:
            slot_of[block["task_id"]] = block
    due_of: dict[str, list[Row]] = {}
    for task in schedulable_tasks(read_rows(tasks, NORM_TASKS), as_of=as_of):
        if task["due_on"] is not None and task["due_on"] <= days[-1]:
            due_of.setdefault(task["lane_id"], []).append(task)
    rows = [
        _measure(
            lane, day, blocks.get((lane["lane_id"], day), []), due_of.get(lane["lane_id"], []), slot_of, as_of, week
        )
        for lane in read_rows(lanes, REF_LANES)
        for day in days
    ]
    return sort_rows(rows, TRUTH_CAPACITY)


def _measure(
    lane: Row,
    day: date,
    blocks: Iterable[Row],
    due_tasks: Iterable[Row],
    slot_of: dict[str, Row],
    as_of: date,
    week: WorkWeek,
) -> Row:
    by_kind = {"protected": 0, "free": 0, "task": 0}
    scheduled = task_count = due = debt = 0
    for block in blocks:
        by_kind[block["kind"]] += block["minutes"]
        if block["kind"] == "task":
            scheduled += min(block["task_minutes"], block["minutes"])
            task_count += 1
    for task in due_tasks:
        if max(task["due_on"], as_of) == day:
            due += task["estimated_minutes"]
        if task["due_on"] <= day:
            slot = slot_of.get(task["task_id"])
            is_in_time = slot is not None and slot["block_on"] <= day
            debt += slot["overflow_minutes"] if slot is not None and is_in_time else task["estimated_minutes"]
    effective = effective_minutes(lane, day, week)
    return {
        "capacity_on": day,
        "lane_id": lane["lane_id"],
        "effective_minutes": effective,
        "protected_minutes": by_kind["protected"],
        "scheduled_minutes": scheduled,
        "free_minutes": by_kind["free"],
        "due_minutes": due,
        "task_count": task_count,
        "utilization_ratio": round(scheduled / effective, 4) if effective else None,
        "is_overloaded": scheduled > effective,
        "debt_minutes": debt,
    }
