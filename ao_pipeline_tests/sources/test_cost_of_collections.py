"""What a collection asks for follows what changed; what nothing tells is asked in turn, and portions end a first listing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.sources import asana, asana_places, calendar, chat_messages, gmail
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, spread, widened
from ao_pipeline.errors import AoError, TransientError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

TASKS = "raw/asana_tasks"
PROJECTS = "raw/asana_projects"
MESSAGES = "raw/chat_messages"
MEMBERS = "raw/chat_members"
EVENTS = "raw/calendar_events"
MAILS = "raw/gmail_messages"
LISTINGS_OF_TASKS = 2
"""Projects and users, which say whose turn it is; listed once an hour."""


@contextmanager
def world(folder: Path, **options: Any) -> Iterator[Engine]:
    size = options.pop("size", SMALL)
    with serve(replace(SandboxOptions(data_dir=folder, frozen_at=START, size=size), **options)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=folder))


def test_a_quiet_collection_of_tasks_asks_the_search_alone(still_engine: Engine) -> None:
    still_engine.run(TASKS)
    soon = still_engine.run(TASKS)
    still_engine.now += timedelta(hours=1)

    later = still_engine.run(TASKS)

    assert soon.requests == 1
    assert later.requests >= LISTINGS_OF_TASKS + 1
    assert len(later.cursor["places"]["projects"]) < SMALL.projects / 4


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


def test_a_project_that_went_within_the_hour_stops_nothing(engine: Engine) -> None:
    before = engine.run(TASKS).cursor["places"]
    for project in before["projects"]:
        engine.box.mutate("project", "delete", key=project)

    drift: Counter[str] = Counter()
    for _ in range(3):
        engine.advance(minutes=15)
        drift.update(engine.run(TASKS).drift)

    assert drift == {"asana.tasks.unknown_project": 1}  # Then the projects were listed again.
    assert engine.cursors[TASKS]["places"]["count"] == before["count"] - len(before["projects"])


def test_a_sweep_that_became_longer_passes_nothing_over(keys_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(keys_folder, asana_search_lag_seconds=10**6) as engine:
        engine.run(TASKS)
        engine.advance(minutes=20)
        parents = [key for key, row in engine.rows[TASKS].items() if not row["parent_gid"]]
        for number, key in enumerate(parents):
            engine.box.mutate("task", "update", key=key[0], name=f"Renamed {number}")
        for _ in range(2):
            engine.advance(minutes=15)
            engine.run(TASKS)
        known = engine.cursors[TASKS]["swept"]
        monkeypatch.setattr(asana_places, "MOST_A_TURN", 0.5)
        # The daily comparison would make good whatever is passed over.
        engine.cursors[TASKS]["reconciled_at"] = (START + timedelta(days=2)).isoformat()

        for _ in range(97):
            engine.advance(minutes=15)
            engine.run(TASKS)

        assert len(engine.cursors[TASKS]["swept"]) == 2 * len(known)
        assert {engine.rows[TASKS][key]["name"] for key in parents} == {f"Renamed {n}" for n in range(len(parents))}


def test_a_daily_comparison_sees_what_no_search_and_no_sweep_showed(
    keys_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asana_places, "MOST_A_TURN", 0.01)
    with world(keys_folder, asana_search_lag_seconds=10**6) as engine:
        engine.run(TASKS)
        engine.advance(minutes=20)
        parents = [key for key, row in engine.rows[TASKS].items() if not row["parent_gid"]]
        renamed = parents[:7]
        for number, key in enumerate(renamed):
            engine.box.mutate("task", "update", key=key[0], name=f"Renamed {number}")
        engine.run(TASKS)
        before = {engine.rows[TASKS][key]["name"] for key in renamed}
        engine.now += timedelta(hours=24)

        result = engine.run(TASKS)

        after = {engine.rows[TASKS][key]["name"] for key in renamed}
        assert after == {f"Renamed {number}" for number in range(7)} != before
        assert set(result.rows.column("task_gid").to_pylist()) == {key[0] for key in renamed}


def test_many_projects_are_listed_less_often(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana, "PAGE_SIZE", 2)
    engine.run(PROJECTS)
    key = next(iter(engine.rows[PROJECTS]))
    engine.advance(minutes=5)
    engine.box.mutate("project", "update", key=key[0], name="Renamed")
    asked = []

    for _ in range(4):
        engine.now += timedelta(minutes=15)
        result = engine.run(PROJECTS)
        asked.append((result.requests > 1, result.is_full, engine.rows[PROJECTS][key]["name"] == "Renamed"))

    assert asked == [(False, False, False)] * 2 + [(True, True, True), (False, False, True)]


def test_a_listing_of_projects_that_started_afresh_counts_its_pages_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asana, "PAGE_SIZE", 5)
    engine.box.fault("asana", "status", status=400, count=1, skip=4, path_contains="/projects")

    result = engine.run(PROJECTS)

    assert (result.pages, result.cursor["pages"]) == (9, 5)


@pytest.mark.parametrize(
    ("fault", "error"), [({"kind": "status", "status": 500}, TransientError), ({"kind": "empty"}, AoError)]
)
def test_projects_that_are_not_due_are_not_fresh_without_an_answer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], error: type[AoError]
) -> None:
    monkeypatch.setattr(asana, "PAGE_SIZE", 2)
    engine.run(PROJECTS)
    engine.now += timedelta(minutes=15)
    engine.box.fault("asana", **fault)

    with pytest.raises(error):
        engine.run(PROJECTS)


def test_a_drop_of_projects_that_was_accepted_is_listed_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asana, "PAGE_SIZE", 2)
    engine.run(PROJECTS)
    engine.now += timedelta(minutes=15)
    request = CollectionRequest(
        engine.settings,
        engine.cursors[PROJECTS],
        lambda: engine.stored_keys(PROJECTS),
        engine.now,
        accepts_drop=True,
    )

    assert asana.collect_projects(request).is_full


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
