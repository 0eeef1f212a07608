"""Chat, a portion at a time: no listing of a space holds more than its bound, whatever came between its portions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources import chat_messages
from ao_pipeline.collect.result import Collected
from ao_pipeline_tests.sources.source_engine import Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

MESSAGES = "raw/chat_messages"
PORTION = 10


@pytest.fixture
def portioned(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A world whose pages have five messages, and whose portions have ten."""
    monkeypatch.setattr(chat_messages, "PAGE_SIZE", PORTION // 2)
    monkeypatch.setattr(chat_messages, "MAX_SPACE_ROWS", PORTION)
    return engine


def rows_of(result: Collected, space: str) -> int:
    return sum(name == space for name in result.rows.column("space_name").to_pylist())


def finish(engine: Engine, space: str) -> list[int]:
    """Collect until all listings are done; return how many messages of one space came while it was not."""
    counts = []
    while unfinished := engine.cursors[MESSAGES]["unfinished"]:
        result = engine.run(MESSAGES)
        counts += [rows_of(result, space)] * (space in unfinished)
    return counts


def answer_nothing(engine: Engine, space: str, times: int) -> None:
    for _ in range(times):
        engine.box.fault("chat", "empty", count=1, path_contains=f"/{space}/messages")
        engine.run(MESSAGES)
        engine.box.clear_faults()


def test_an_empty_answer_keeps_the_place_of_a_listing(portioned: Engine) -> None:
    portioned.run(MESSAGES)
    space, place = next(iter(portioned.cursors[MESSAGES]["unfinished"].items()))

    answer_nothing(portioned, space, times=1)

    kept = portioned.cursors[MESSAGES]["unfinished"].get(space)
    counts = finish(portioned, space)
    assert kept == f"{place} again"
    assert 0 < min(counts) <= max(counts) <= PORTION
    assert_equals_truth(portioned, MESSAGES)


def test_a_second_empty_answer_ends_the_listing_of_a_silent_space(
    portioned: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_messages, "EDIT_WINDOW", timedelta(days=-2))  # Nothing is recent.
    portioned.run(MESSAGES)
    space = next(iter(portioned.cursors[MESSAGES]["unfinished"]))

    answer_nothing(portioned, space, times=2)

    assert space not in portioned.cursors[MESSAGES]["unfinished"]
    assert not portioned.cursors[MESSAGES]["spaces"][space].endswith(" again")


def test_a_space_with_recent_messages_that_keeps_answering_nothing_keeps_its_place(portioned: Engine) -> None:
    portioned.run(MESSAGES)
    unfinished = portioned.cursors[MESSAGES]["unfinished"]
    messages = (item["object"] for item in portioned.box.truth("raw_chat_messages"))
    latest = max(messages, key=lambda message: str(message["createTime"]))
    space = latest["name"].partition("/messages/")[0]
    place = unfinished[space]

    answer_nothing(portioned, space, times=3)

    assert portioned.cursors[MESSAGES]["unfinished"][space] == f"{place} again"


def test_what_a_long_pause_left_is_taken_in_portions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.run(MESSAGES)
    space = next(iter(engine.rows[MESSAGES].values()))["space_name"]
    for _ in range(4 * PORTION):
        engine.advance(minutes=1)
        engine.box.mutate("message", "create", place=space)
    engine.advance(days=30)
    engine.box.mutate("message", "create", place=space)
    monkeypatch.setattr(chat_messages, "PAGE_SIZE", PORTION // 2)
    monkeypatch.setattr(chat_messages, "MAX_SPACE_ROWS", PORTION)

    counts = [rows_of(engine.run(MESSAGES), space)]
    counts += finish(engine, space)

    assert len(counts) > 4
    assert max(counts) <= PORTION
    assert space in engine.cursors[MESSAGES]["spaces"]
    assert_equals_truth(engine, MESSAGES)


def test_a_window_of_more_messages_than_a_portion_brings_rows_only_when_it_changed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_messages, "PAGE_SIZE", 2)
    engine.run(MESSAGES)
    monkeypatch.setattr(chat_messages, "MAX_SPACE_ROWS", 2)
    monkeypatch.setattr(chat_messages, "MAX_ROWS", 1)
    known, new = engine.cursors[MESSAGES]["spaces"], max(engine.cursors[MESSAGES]["spaces"])
    known.pop(new)
    used = min(known)
    engine.advance(minutes=1)

    quiet = engine.run(MESSAGES)
    engine.box.mutate("message", "create", place=used)
    changed = engine.run(MESSAGES)

    assert set(quiet.rows.column("space_name").to_pylist()) == {new}
    assert rows_of(changed, used) > 2
