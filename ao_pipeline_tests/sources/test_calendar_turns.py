"""Which calendars are asked: those in use each time, whatever became of their tokens; the others in rounds that grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ao_pipeline.adapters.sources import calendar
from ao_pipeline_tests.sources.source_engine import SMALL, Engine, world
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

EVENTS = "raw/calendar_events"
COUNT = 12
USED = 3


@pytest.fixture
def twelve(keys_folder: Path) -> Iterator[Engine]:
    """A world of twelve calendars, all of which were read."""
    with world(keys_folder, size=replace(SMALL, calendars=COUNT)) as engine:
        engine.run(EVENTS)
        yield engine


def add_events(engine: Engine, calendars: list[str]) -> set[tuple[str, str]]:
    return {(place, engine.box.mutate("event", "create", place=place)["key"]) for place in calendars}


def use_three(engine: Engine) -> list[str]:
    """Return three calendars that had events lately, in several collections."""
    used = sorted(set(engine.cursors[EVENTS]["calendars"]) - set(list(engine.cursors[EVENTS]["recent"])[:USED]))[:USED]
    for _ in range(9):
        engine.advance(minutes=15)
        add_events(engine, used)
        engine.run(EVENTS)
    return used


def test_expired_tokens_do_not_push_out_the_calendars_in_use(twelve: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(twelve)
    twelve.box.expire_cursors("calendar")
    late = set()

    for _ in range(10):
        twelve.advance(minutes=15)
        made = add_events(twelve, used)
        twelve.run(EVENTS)
        late |= made - twelve.rows[EVENTS].keys()

    assert late == set()
    assert set(twelve.cursors[EVENTS]["recent"]) == set(used)


def test_to_be_listed_again_does_not_make_a_calendar_one_in_use(
    twelve: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(twelve)
    twelve.box.expire_cursors("calendar")

    for _ in range(10):
        twelve.advance(minutes=15)
        twelve.run(EVENTS)

    assert set(twelve.cursors[EVENTS]["recent"]) == set(used)


def test_a_calendar_in_use_after_another_takes_its_place(twelve: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(twelve)
    other = sorted(set(twelve.cursors[EVENTS]["calendars"]) - set(used))[0]
    for _ in range(9):
        twelve.advance(minutes=15)
        add_events(twelve, [other, *used[1:]])
        twelve.run(EVENTS)

    recent = twelve.cursors[EVENTS]["recent"]

    assert set(recent) == {other, *used[1:]}


def test_a_cursor_that_knows_no_times_is_continued(twelve: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(twelve)
    twelve.cursors[EVENTS]["recent"] = used
    twelve.box.expire_cursors("calendar")
    twelve.advance(minutes=15)
    made = add_events(twelve, used[:1])

    result = twelve.run(EVENTS)

    assert made <= twelve.rows[EVENTS].keys()
    assert set(result.cursor["recent"]) == set(used)


def test_many_silent_calendars_are_asked_less_often(twelve: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", 1)
    monkeypatch.setattr(calendar, "MOST_A_TURN", 0.4)
    twelve.advance(minutes=15)
    twelve.run(EVENTS)
    made = add_events(twelve, sorted(twelve.cursors[EVENTS]["calendars"]))
    asked = []

    for _ in range(32):  # Eleven calendars at 0.4 a turn: two hours became eight.
        twelve.now += timedelta(minutes=15)
        asked.append(twelve.run(EVENTS).requests)

    assert made <= twelve.rows[EVENTS].keys()
    assert COUNT - 1 <= sum(asked) - len(asked) * min(asked) <= COUNT + 1


def test_calendars_that_do_not_fit_are_listed_by_the_next_collection(
    keys_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "MAX_ROWS", 1)
    with world(keys_folder, size=replace(SMALL, calendars=9)) as engine:
        first = engine.run(EVENTS)
        engine.run(EVENTS)
        engine.run(EVENTS)

        assert len(first.cursor["calendars"]) < len(engine.cursors[EVENTS]["calendars"])
        assert not first.is_full
        assert_equals_truth(engine, EVENTS)


def test_an_event_in_a_silent_calendar_is_seen_within_two_hours(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", 1)
    engine.run(EVENTS)
    calendars = {key[0] for key in engine.rows[EVENTS]}
    engine.now += timedelta(minutes=1)
    engine.box.advance(60)
    made = {place: engine.box.mutate("event", "create", place=place)["key"] for place in calendars}
    late, asked = [], []

    for _ in range(8):
        engine.now += timedelta(minutes=15)
        late.append(sum((place, key) not in engine.rows[EVENTS] for place, key in made.items()))
        asked.append(engine.run(EVENTS).requests - 2)

    assert late[0] == len(calendars)
    assert all((place, key) in engine.rows[EVENTS] for place, key in made.items())
    assert sum(asked) <= len(asked) + 2 * len(calendars)


def test_a_calendar_that_is_used_is_asked_each_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", 2)
    engine.run(EVENTS)
    place = sorted({key[0] for key in engine.rows[EVENTS]} - set(engine.cursors[EVENTS]["recent"]))[0]
    engine.box.advance(1)
    engine.box.mutate("event", "create", place=place)
    engine.advance(hours=2)
    engine.run(EVENTS)

    for _ in range(8):
        engine.advance(minutes=15)
        made = engine.box.mutate("event", "create", place=place)
        engine.run(EVENTS)
        assert (place, made["key"]) in engine.rows[EVENTS]

    assert place in engine.cursors[EVENTS]["recent"]
