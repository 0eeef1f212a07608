"""Which calendars are asked: those in use each time, whatever became of their tokens; the others in rounds that grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ao_pipeline.adapters.sources import calendar
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine

EVENTS = "raw/calendar_events"
COUNT = 12
USED = 3


@pytest.fixture
def engine(keys_folder: Path) -> Iterator[Engine]:
    """A world of twelve calendars, all of which were read."""
    size = replace(SMALL, calendars=COUNT)
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=size)) as box:
        engine = Engine(box, Settings(sandbox_port=box.port, data_dir=keys_folder))
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


def test_expired_tokens_do_not_push_out_the_calendars_in_use(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(engine)
    engine.box.expire_cursors("calendar")
    late = set()

    for _ in range(10):
        engine.advance(minutes=15)
        made = add_events(engine, used)
        engine.run(EVENTS)
        late |= made - engine.rows[EVENTS].keys()

    assert late == set()
    assert set(engine.cursors[EVENTS]["recent"]) == set(used)


def test_to_be_listed_again_does_not_make_a_calendar_one_in_use(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(engine)
    engine.box.expire_cursors("calendar")

    for _ in range(10):
        engine.advance(minutes=15)
        engine.run(EVENTS)

    assert set(engine.cursors[EVENTS]["recent"]) == set(used)


def test_a_calendar_in_use_after_another_takes_its_place(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(engine)
    other = sorted(set(engine.cursors[EVENTS]["calendars"]) - set(used))[0]
    for _ in range(9):
        engine.advance(minutes=15)
        add_events(engine, [other, *used[1:]])
        engine.run(EVENTS)

    recent = engine.cursors[EVENTS]["recent"]

    assert set(recent) == {other, *used[1:]}


def test_a_cursor_that_knows_no_times_is_continued(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", USED)
    used = use_three(engine)
    engine.cursors[EVENTS]["recent"] = used
    engine.box.expire_cursors("calendar")
    engine.advance(minutes=15)
    made = add_events(engine, used[:1])

    result = engine.run(EVENTS)

    assert made <= engine.rows[EVENTS].keys()
    assert set(result.cursor["recent"]) == set(used)


def test_many_silent_calendars_are_asked_less_often(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "ALWAYS_ASKED", 1)
    monkeypatch.setattr(calendar, "MOST_A_TURN", 0.4)
    engine.advance(minutes=15)
    engine.run(EVENTS)
    made = add_events(engine, sorted(engine.cursors[EVENTS]["calendars"]))
    asked = []

    for _ in range(32):  # Eleven calendars at 0.4 a turn: two hours became eight.
        engine.now += timedelta(minutes=15)
        asked.append(engine.run(EVENTS).requests)

    assert made <= engine.rows[EVENTS].keys()
    assert COUNT - 1 <= sum(asked) - len(asked) * min(asked) <= COUNT + 1
