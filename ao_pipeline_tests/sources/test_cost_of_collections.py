"""What a collection asks for follows what changed; what nothing tells is asked in turn, and portions end a first listing."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.sources import asana, asana_places, gmail
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.errors import AoError, TransientError
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine, world
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

TASKS = "raw/asana_tasks"
PROJECTS = "raw/asana_projects"
MESSAGES = "raw/chat_messages"
MEMBERS = "raw/chat_members"
EVENTS = "raw/calendar_events"
MAILS = "raw/gmail_messages"
LISTINGS_OF_TASKS = 2
"""Projects and users, which say whose turn it is; listed once an hour."""


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


def test_messages_beyond_the_bound_stay_pending(still_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmail, "MAX_FETCHED", gmail.FETCH_CHUNK)

    first = still_engine.run(MAILS)
    monkeypatch.undo()
    still_engine.run(MAILS)

    assert first.rows.num_rows == gmail.FETCH_CHUNK
    assert_equals_truth(still_engine, MAILS)
