"""Turns: every place has its own in each round, however long the rounds become."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, spread, widened
from ao_pipeline_tests.sources.source_engine import START


@pytest.mark.parametrize("seed", range(20))
def test_a_place_has_its_turn_in_every_longest_round_however_often_the_length_changes(seed: int) -> None:
    draw, at, last = random.Random(seed), START, dict.fromkeys((f"spaces/{n}" for n in range(40)), START)
    longest = 4 * slot_count(timedelta(hours=2))

    for _ in range(400):
        later = at + timedelta(minutes=draw.choice([15, 15, 15, 45]))
        slots = widened(slot_count(timedelta(hours=2)), draw.choice([40, 200, 600]), most=20)
        due = due_slots(at, later, slots)
        last |= {name: later for name in last if slot_of(name, slots) in due}
        at = later
        assert at - min(last.values()) <= timedelta(minutes=15) * longest + timedelta(minutes=45)


@pytest.mark.parametrize(
    ("times", "slots", "expected"),
    [
        (["a", "b"], 4, ["a", "b", "a", "b"]),
        (["a", "d", "c", "b"], 2, ["a", "b"]),
        (["a", "b"], 2, ["a", "b"]),
        (["a", "b"], 3, None),
        ([], 3, None),
    ],
)
def test_what_is_known_of_a_round_is_kept_when_it_is_doubled_or_halved(
    times: list[str], slots: int, expected: list[str] | None
) -> None:
    assert spread(times, slots) == expected


@pytest.mark.parametrize("minutes", [1, 15, 40, 60, 600])
def test_every_slot_comes_once_in_a_round_however_often_one_looks(minutes: int) -> None:
    slots = slot_count(timedelta(hours=6))
    seen: list[int] = []
    at = START
    while at < START + timedelta(hours=6):
        later = min(at + timedelta(minutes=minutes), START + timedelta(hours=6))
        seen += due_slots(at, later, slots)
        at = later

    assert sorted(seen) == list(range(slots))
    assert 0 <= slot_of("spaces/AAA", slots) < slots
