"""What a collection asks for follows what changed; what nothing tells is asked in turn, and portions end a first listing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.sources import calendar, chat_messages, gmail
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

TASKS = "raw/asana_tasks"
MESSAGES = "raw/chat_messages"
MEMBERS = "raw/chat_members"
EVENTS = "raw/calendar_events"
MAILS = "raw/gmail_messages"
LISTINGS_OF_TASKS = 2
"""Projects and users, which say whose turn it is."""


@contextmanager
def world(folder: Path, **options: Any) -> Iterator[Engine]:
    size = options.pop("size", SMALL)
    with serve(replace(SandboxOptions(data_dir=folder, frozen_at=START, size=size), **options)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=folder))


def test_a_quiet_collection_of_tasks_asks_the_search_alone(still_engine: Engine) -> None:
    still_engine.run(TASKS)

    assert still_engine.run(TASKS).requests == LISTINGS_OF_TASKS + 1


def test_a_search_that_is_not_paid_for_is_replaced_by_all_listings(keys_folder: Path) -> None:
    with world(keys_folder, asana_is_paid=False) as engine:
        engine.run(TASKS)
        engine.advance(minutes=15)
        key = next(key for key, row in engine.rows[TASKS].items() if not row["parent_gid"])
        engine.box.mutate("task", "update", key=key[0], name="Renamed")

        result = engine.run(TASKS)

        projects, users = (engine.box.truth(table) for table in ("raw_asana_projects", "raw_asana_users"))
        assert result.requests >= LISTINGS_OF_TASKS + 1 + len(projects) + len(users)
        assert result.drift == {"asana.tasks.search_unusable": 1}
        assert engine.rows[TASKS][key]["name"] == "Renamed"


def test_what_the_search_shows_late_comes_with_the_overlap(keys_folder: Path) -> None:
    with world(keys_folder, asana_search_lag_seconds=60) as engine:
        engine.run(TASKS)
        engine.advance(minutes=15)
        engine.box.mutate("task", "create", gid="1399", name="late")

        soon = engine.run(TASKS)
        engine.advance(minutes=15)
        engine.run(TASKS)

        assert "1399" not in soon.rows.column("task_gid").to_pylist()
        assert ("1399",) in engine.rows[TASKS]


def test_what_the_search_does_not_show_is_seen_within_a_sweep(keys_folder: Path) -> None:
    with world(keys_folder, asana_search_lag_seconds=10**6) as engine:
        engine.run(TASKS)
        engine.advance(minutes=20)
        parents = [key for key, row in engine.rows[TASKS].items() if not row["parent_gid"]]
        for number, key in enumerate(parents):
            engine.box.mutate("task", "update", key=key[0], name=f"Renamed {number}")
        asked = []

        for _ in range(engine.settings.sweep_hours * 4):
            engine.advance(minutes=15)
            asked.append(engine.run(TASKS).requests)

        assert {engine.rows[TASKS][key]["name"] for key in parents} == {f"Renamed {n}" for n in range(len(parents))}
        assert max(asked) < sum(asked) / 4


def test_a_hundred_changes_in_one_millisecond_are_listed_instead(engine: Engine) -> None:
    engine.run(TASKS)
    engine.advance(minutes=15)
    for number in range(130):
        engine.box.mutate("task", "create", gid=f"1399{number:04}")

    result = engine.run(TASKS)

    assert result.drift == {"asana.tasks.search_unusable": 1}
    assert_equals_truth(engine, TASKS)


def test_fewer_changes_in_one_millisecond_than_an_answer_holds_need_no_listing(engine: Engine) -> None:
    engine.run(TASKS)
    engine.advance(minutes=15)
    for number in range(40):
        engine.box.mutate("task", "create", gid=f"1399{number:04}")

    result = engine.run(TASKS)

    assert not result.drift
    assert_equals_truth(engine, TASKS)


def test_more_changes_than_one_answer_holds_are_all_collected(engine: Engine) -> None:
    engine.run(TASKS)
    for number in range(130):
        engine.advance(seconds=1)
        engine.box.mutate("task", "create", gid=f"1399{number:04}")

    result = engine.run(TASKS)

    assert not result.drift
    assert_equals_truth(engine, TASKS)


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


def test_messages_beyond_the_bound_stay_pending(still_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmail, "MAX_FETCHED", gmail.FETCH_CHUNK)

    first = still_engine.run(MAILS)
    monkeypatch.undo()
    still_engine.run(MAILS)

    assert first.rows.num_rows == gmail.FETCH_CHUNK
    assert_equals_truth(still_engine, MAILS)


def test_members_are_listed_where_their_number_changed(engine: Engine) -> None:
    engine.run(MEMBERS)
    engine.advance(seconds=1)
    space = next(iter(engine.rows[MEMBERS].values()))["space_name"]
    made = engine.box.mutate("member", "create", space=space)

    result = engine.run(MEMBERS)

    assert result.requests == 3
    assert (made["key"],) in engine.rows[MEMBERS]
    assert_equals_truth(engine, MEMBERS)


def test_a_new_role_is_seen_within_a_sweep(engine: Engine) -> None:
    engine.run(MEMBERS)
    key = next(iter(engine.rows[MEMBERS]))
    engine.box.mutate("member", "update", key=key[0], role="ROLE_MANAGER")
    engine.advance(hours=engine.settings.sweep_hours)

    engine.run(MEMBERS)

    assert engine.rows[MEMBERS][key]["role"] == "ROLE_MANAGER"


def test_members_of_a_space_that_is_gone_go_with_it(still_engine: Engine) -> None:
    still_engine.run(MEMBERS)
    row = next(iter(still_engine.rows[MEMBERS].values()))
    name = "spaces/gone/members/1"
    still_engine.rows[MEMBERS][(name,)] = {**row, "membership_name": name, "space_name": "spaces/gone"}
    still_engine.cursors[MEMBERS]["counts"]["spaces/gone"] = {"joinedDirectHumanUserCount": 1}

    result = still_engine.run(MEMBERS)

    assert result.deleted.to_pylist() == [{"membership_name": name}]


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
