"""Which spaces of Chat are asked for messages: those with news at once, the others in turn; portions end a first listing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from ao_pipeline.adapters.sources import chat_messages
from ao_pipeline_tests.sources.source_engine import Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

MESSAGES = "raw/chat_messages"


def silent_spaces(engine: Engine) -> list[str]:
    """Return the spaces with messages in the edit window, those of the newest messages last."""
    latest: dict[str, datetime] = {}
    for row in engine.rows[MESSAGES].values():
        latest[row["space_name"]] = max(row["created_at"], latest.get(row["space_name"], row["created_at"]))
    return sorted(latest, key=lambda space: latest[space])


def test_a_new_message_is_collected_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_messages, "ALWAYS_ASKED", 0)
    engine.run(MESSAGES)
    engine.advance(minutes=15)
    made = engine.box.mutate("message", "create", place=silent_spaces(engine)[0])

    engine.run(MESSAGES)

    assert (made["key"],) in engine.rows[MESSAGES]


def test_an_edit_in_a_silent_space_is_seen_within_two_hours(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_messages, "ALWAYS_ASKED", 0)
    engine.run(MESSAGES)
    since = engine.now - timedelta(days=5)
    rows = [row for row in engine.rows[MESSAGES].values() if row["created_at"] >= since and not row["is_deleted"]]
    names = {row["space_name"]: row["message_name"] for row in rows}
    engine.advance(minutes=1)
    for space, name in names.items():
        engine.box.mutate("message", "update", key=name, place=space, text="edited")

    for _ in range(8):
        engine.advance(minutes=15)
        engine.run(MESSAGES)

    assert {engine.rows[MESSAGES][(name,)]["text"] for name in names.values()} == {"edited"}


def test_many_silent_spaces_are_asked_less_often(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_messages, "ALWAYS_ASKED", 0)
    monkeypatch.setattr(chat_messages, "MOST_A_TURN", 0.2)
    engine.run(MESSAGES)
    engine.advance(minutes=1)
    engine.run(MESSAGES)
    since, asked, places = engine.now - timedelta(days=5), [], len(silent_spaces(engine))
    rows = [row for row in engine.rows[MESSAGES].values() if row["created_at"] >= since and not row["is_deleted"]]
    names = {row["space_name"]: row["message_name"] for row in rows}
    for space, name in names.items():
        engine.box.mutate("message", "update", key=name, place=space, text="edited")

    for _ in range(32):
        engine.now += timedelta(minutes=15)
        asked.append(engine.run(MESSAGES).requests - 2)

    assert {engine.rows[MESSAGES][(name,)]["text"] for name in names.values()} == {"edited"}
    assert sum(asked) - len(asked) * min(asked) == places  # Eight hours are one round of 32 turns.


def test_a_first_listing_is_taken_in_portions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_messages, "PAGE_SIZE", 5)
    monkeypatch.setattr(chat_messages, "MAX_SPACE_ROWS", 20)
    monkeypatch.setattr(chat_messages, "MAX_ROWS", 30)
    collections, held = 0, -1

    while held < len(engine.rows.get(MESSAGES, {})):
        held = len(engine.rows.get(MESSAGES, {}))
        result = engine.run(MESSAGES)
        collections += 1
        assert result.rows.num_rows <= 30 + 4 * 25
        assert not result.is_full

    assert collections > 3
    assert not result.cursor["unfinished"]
    assert_equals_truth(engine, MESSAGES)


def test_an_unfinished_space_that_is_gone_takes_its_rows_along(
    still_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_messages, "PAGE_SIZE", 5)
    monkeypatch.setattr(chat_messages, "MAX_SPACE_ROWS", 5)
    still_engine.run(MESSAGES)
    cursor = still_engine.cursors[MESSAGES]
    cursor["unfinished"]["spaces/gone"] = cursor["watermark"]
    row = next(iter(still_engine.rows[MESSAGES].values()))
    name = "spaces/gone/messages/1.1"
    still_engine.rows[MESSAGES][(name,)] = {**row, "message_name": name, "space_name": "spaces/gone"}

    result = still_engine.run(MESSAGES)

    assert result.deleted.to_pylist() == [{"message_name": name}]
