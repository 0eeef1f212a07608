"""Which missed cycles are asked for: tables of cases, and one property over all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.cycle import Cycle, cycles_between
from ao_pipeline.resilience.catch_up import GRACE, MAX_CYCLES, Missed, plan_catch_up

START = Cycle.from_key("2026-11-01-00:00")
NOW = datetime(2026, 11, 20, 10, 5, tzinfo=UTC)
CLOSED = Cycle.last_closed(NOW)


def plan(
    newest: Cycle | None, *, now: datetime = NOW, first: Cycle = START, live: set[str] | None = None
) -> Missed | None:
    return plan_catch_up(now=now, first_cycle=first, newest_recorded=newest, live=live or set())


@pytest.mark.parametrize(
    ("newest", "missed"),
    [
        (None, Missed(CLOSED, CLOSED)),
        (CLOSED, None),
        (CLOSED.shift(1), None),
        (CLOSED.shift(-1), Missed(CLOSED, CLOSED)),
        (CLOSED.shift(-4), Missed(CLOSED.shift(-3), CLOSED)),
    ],
)
def test_the_cycles_after_the_newest_recorded_one_are_missed(newest: Cycle | None, missed: Missed | None) -> None:
    assert plan(newest) == missed


@pytest.mark.parametrize(("age", "is_missed"), [(GRACE - timedelta(seconds=1), False), (GRACE, True)])
def test_a_cycle_is_missed_once_the_schedules_turn_is_over(age: timedelta, is_missed: bool) -> None:
    assert (plan(CLOSED.shift(-1), now=CLOSED.end + age) is not None) is is_missed


def test_nothing_is_asked_for_while_a_run_is_live() -> None:
    assert plan(None, live={CLOSED.key}) is None


def test_nothing_is_asked_for_before_the_first_cycle_has_closed() -> None:
    assert plan(None, first=CLOSED.shift(1)) is None


def test_a_range_reaches_back_no_further_than_bundles_are_kept() -> None:
    missed = plan(CLOSED.shift(-MAX_CYCLES - 50), first=CLOSED.shift(-MAX_CYCLES - 100))

    assert missed is not None
    assert len(list(cycles_between(missed.first, missed.last))) == MAX_CYCLES


@given(gap=st.integers(-5, 5_000), age=st.integers(0, 20_000), seconds=st.integers(0, 899))
def test_a_plan_is_always_a_range_of_closed_cycles_that_nothing_recorded(gap: int, age: int, seconds: int) -> None:
    now = CLOSED.end + timedelta(seconds=seconds)
    newest, first = CLOSED.shift(-gap), CLOSED.shift(-age)

    missed = plan(newest, now=now, first=first)

    if missed is None:
        assert gap <= 0 or ((gap == 1 or age == 0) and seconds < GRACE.total_seconds())
    else:
        assert max(newest.shift(1), first) <= missed.first <= missed.last == CLOSED
        assert missed.last.end <= now
