"""Whether a state is of the cycle that it should be of, alone and combined by source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.staleness import Staleness, by_source, combine, last_due, staleness

TEN = Cycle.from_key("2026-11-20-10:00")


def hourly(cycle: Cycle) -> bool:
    return cycle.start.minute == 0


def always(_cycle: Cycle) -> bool:
    return True


def never(_cycle: Cycle) -> bool:
    return False


@pytest.mark.parametrize(
    ("state", "cycle", "is_due", "is_stale"),
    [
        (TEN.key, TEN, always, False),
        (TEN.shift(-1).key, TEN, always, True),
        (TEN.key, TEN.shift(3), hourly, False),
        (TEN.key, TEN.shift(4), hourly, True),
        (TEN.shift(1).key, TEN, always, False),
        (None, TEN, always, True),
        ("", TEN, always, True),
    ],
)
def test_a_state_is_stale_when_it_missed_its_last_turn(state, cycle, is_due, is_stale) -> None:  # type: ignore[no-untyped-def]
    assert staleness(state, cycle=cycle, is_due=is_due) == Staleness(is_stale, state or None)


def test_what_is_never_due_is_measured_by_the_cycle_itself() -> None:
    assert last_due(TEN, never) == TEN


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], Staleness(False, None)),
        ([Staleness(False, "b"), Staleness(False, "a")], Staleness(False, "a")),
        ([Staleness(False, "a"), Staleness(True, "b"), Staleness(True, "c")], Staleness(True, "b")),
        ([Staleness(True, None), Staleness(True, "b")], Staleness(True, None)),
    ],
)
def test_a_whole_is_as_old_as_its_oldest_stale_part(parts: list[Staleness], whole: Staleness) -> None:
    assert combine(parts) == whole


def test_assets_are_combined_by_their_source() -> None:
    states = {
        "raw/xero_a": Staleness(False, "a"),
        "raw/xero_b": Staleness(True, "b"),
        "raw/chat_a": Staleness(False, "c"),
    }

    found = by_source(states, lambda asset: asset.split("/")[1].split("_")[0])

    assert found == {"chat": Staleness(False, "c"), "xero": Staleness(True, "b")}


@given(age=st.integers(0, 95), every=st.sampled_from([1, 2, 4, 8, 96]))
def test_a_state_of_a_due_cycle_is_fresh_until_the_next_one_is_due(age: int, every: int) -> None:
    midnight = Cycle.from_key("2026-11-20-00:00")

    def is_due(cycle: Cycle) -> bool:
        return int((cycle.start - midnight.start).total_seconds()) // 900 % every == 0

    found = staleness(midnight.key, cycle=midnight.shift(age), is_due=is_due)

    assert found == Staleness(age >= every, midnight.key)
