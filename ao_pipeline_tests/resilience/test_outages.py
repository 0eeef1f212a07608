"""Outages of a minute to three days: every cycle is covered by exactly one run, whoever asks first, and whatever the zone does."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from ao_pipeline.cycle import Cycle, cycles_between
from ao_pipeline.resilience.catch_up import MAX_CYCLES, first_missed, plan_catch_up

START = Cycle.from_key("2026-03-28-12:00")
"""Half a day before summer time begins in Europe; two outages in three days cross the change."""

QUARTER = timedelta(minutes=15)


class Engine:
    """A machine that is on or off. On: the schedule at each quarter, the catch-up every 15 seconds, one run at a time."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.covered: list[Cycle] = []
        self.runs: list[tuple[Cycle, Cycle]] = []
        self.newest: Cycle | None = None

    def record(self, first: Cycle, last: Cycle) -> None:
        """Run: what is recorded already is not covered again, what is overtaken or done is idle."""
        if self.newest is not None and last <= self.newest:
            return
        first = first if self.newest is None else min(max(first, self.newest.shift(1)), last)
        self.covered += cycles_between(first, last)
        self.runs.append((first, last))
        self.newest = last

    def live(self, since: datetime, until: datetime) -> None:
        """Be on for a while, in steps of 15 seconds; at a quarter both healers may ask before either run starts."""
        now = since
        while now < until:
            asked: list[tuple[Cycle, Cycle]] = []
            newest = None if self.newest is None else self.newest.key
            if now.minute % 15 == 0 and now.second < 15:
                cycle = Cycle.last_closed(now)
                asked.append((first_missed(cycle, newest), cycle))
            if self.dice.random() < 0.9:  # A tick may fail.
                missed = plan_catch_up(now=now, first_cycle=START, newest_recorded=self.newest, live=set())
                if missed is not None:
                    asked.append((missed.first, missed.last))
            self.dice.shuffle(asked)
            for first, last in asked:
                self.record(first, last)
            now += timedelta(seconds=15)


def check(engine: Engine, until: datetime) -> None:
    """Every cycle from the first run on is covered exactly once, up to the newest that closed."""
    expected = list(cycles_between(engine.covered[0], Cycle.last_closed(until - timedelta(minutes=4))))
    assert [cycle.key for cycle in engine.covered[: len(expected)]] == [cycle.key for cycle in expected]
    assert len(engine.covered) == len(set(engine.covered))


@pytest.mark.parametrize("minutes", [1, 5, 14, 15, 16, 29, 31, 60, 6 * 60, 24 * 60, 36 * 60, 72 * 60])
@pytest.mark.parametrize("offset_seconds", [0, 7, 450, 890])
def test_the_machine_was_off_for_hours_costs_one_catch_up_run(minutes: int, offset_seconds: int) -> None:
    engine = Engine(random.Random(minutes))
    off = START.end + timedelta(hours=1, seconds=offset_seconds)
    on = off + timedelta(minutes=minutes)

    engine.live(START.end, off)
    before = len(engine.runs)
    engine.live(on, on + timedelta(minutes=10))
    caught_up = [run for run in engine.runs[before:] if run[0] <= Cycle.last_closed(on)]
    engine.live(on + timedelta(minutes=10), on + timedelta(hours=1))

    check(engine, on + timedelta(hours=1))
    assert len(caught_up) <= 1


def test_random_outages_lose_no_cycle_and_double_none() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(60):
        engine, now = Engine(dice), START.end
        for _ in range(6):
            until = now + timedelta(seconds=15 * dice.randrange(1, 200))
            engine.live(now, until)
            now = until + timedelta(seconds=dice.choice([30, 900, 3_600, 86_400, 259_200]) * dice.random())
            now = now.replace(microsecond=0)
        engine.live(now, now + timedelta(minutes=30))
        check(engine, now + timedelta(minutes=30))


def test_an_outage_longer_than_bundles_are_kept_covers_the_newest_part() -> None:
    now = START.shift(MAX_CYCLES * 2).end

    missed = plan_catch_up(now=now, first_cycle=START, newest_recorded=START, live=set())

    assert missed is not None
    assert len(list(cycles_between(missed.first, missed.last))) == MAX_CYCLES
    assert first_missed(missed.last, START.key) == missed.first


def test_a_change_to_summer_time_neither_skips_nor_repeats_a_cycle() -> None:
    """Cycles are UTC: the hour that local clocks skip has four cycles, and the one that they repeat has no more."""
    skipped = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    repeated = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)

    for change in (skipped, repeated):
        keys = [Cycle.last_closed(change + QUARTER * n).key for n in range(9)]
        assert len(set(keys)) == 9
        assert keys == [cycle.key for cycle in cycles_between(Cycle.from_key(keys[0]), Cycle.from_key(keys[-1]))]
