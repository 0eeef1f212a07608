"""Tasks of Asana that the search does not show: nothing is passed over when a listing, a record or the sweep goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ao_pipeline.adapters.sources import asana_compare, asana_places, asana_tasks
from ao_pipeline.adapters.sources.asana_requests import Listing
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.rotation import due_slots, slot_of
from ao_pipeline.collect.tables import RAW_ASANA_TASKS
from ao_pipeline.errors import PermanentError
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine, world

ASSET = "raw/asana_tasks"
SLOTS = 48
LISTINGS = SMALL.projects + SMALL.members


@pytest.fixture
def unsearched(keys_folder: Path) -> Iterator[Engine]:
    """A world whose search shows no change."""
    with world(keys_folder, asana_search_lag_seconds=10**6) as engine:
        yield engine


def slot_at(minutes: int) -> int:
    """Return the slot that comes so many minutes after `START`."""
    (slot,) = due_slots(START + timedelta(minutes=minutes - 15), START + timedelta(minutes=minutes), SLOTS)
    return slot


def make_task(engine: Engine, slot: int) -> tuple[str]:
    """Create a task of nobody in a project of its own, whose turn comes with `slot`; return its key."""
    project = next(gid for gid in map(str, range(1290000000777000, 1290000000778000)) if slot_of(gid, SLOTS) == slot)
    engine.box.mutate("project", "create", gid=project)
    membership = {"project": {"gid": project}, "section": {"gid": "1", "name": "Doing"}}
    return (str(engine.box.mutate("task", "create", memberships=[membership], assignee=None)["key"]),)


@pytest.mark.parametrize("has_left", [True, False])
def test_a_person_whose_tasks_are_refused_is_looked_up_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, has_left: bool
) -> None:
    person = next(
        gid for gid in map(str, range(1200000000777000, 1200000000778000)) if slot_of(gid, SLOTS) == slot_at(15)
    )
    engine.box.mutate("user", "create", gid=person)
    listed, is_refused = asana_tasks.list_tasks, False

    def list_tasks(client: SourceClient, listing: Listing, **how: Any) -> list[dict[str, Any]]:
        if listing.get("assignee") != person:
            return listed(client, listing, **how)
        if is_refused:
            raise PermanentError("asana.tasks.list: not found", status=404)
        return []

    monkeypatch.setattr(asana_tasks, "list_tasks", list_tasks)
    engine.run(ASSET)
    if has_left:
        engine.box.mutate("user", "delete", key=person)
    is_refused = True
    engine.advance(minutes=15)

    if has_left:
        assert engine.run(ASSET).drift == {"asana.tasks.unknown_user": 1}
    else:
        with pytest.raises(PermanentError, match="not found"):
            engine.run(ASSET)


def test_a_project_that_came_within_the_hour_is_swept_like_the_others(unsearched: Engine) -> None:
    unsearched.run(ASSET)
    unsearched.advance(minutes=20)
    made = make_task(unsearched, slot_at(45))

    for _ in range(unsearched.settings.sweep_hours * 4 + 4):
        unsearched.advance(minutes=15)
        unsearched.run(ASSET)

    assert made in unsearched.rows[ASSET]


def renamed_before_the_projects_were_listed_again(engine: Engine, slot: int) -> tuple[str]:
    """Rename a task before the projects are listed for the second time, when its turn is yet to come; return its key."""
    key = make_task(engine, slot)
    engine.run(ASSET)
    engine.advance(minutes=20)
    engine.box.mutate("task", "update", key=key[0], name="Renamed")
    engine.advance(minutes=40)
    engine.run(ASSET)
    return key


def sweep(engine: Engine) -> None:
    """Collect for as long as a sweep lasts, which is before the daily comparison."""
    for _ in range(engine.settings.sweep_hours * 4):
        engine.advance(minutes=15)
        engine.run(ASSET)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_project_that_is_there_and_refused_is_an_error_and_passes_nothing_over(
    unsearched: Engine, status: int
) -> None:
    key = renamed_before_the_projects_were_listed_again(unsearched, slot_at(75))
    unsearched.advance(minutes=15)
    unsearched.box.fault("asana", "status", status=status, path_contains="1.0/tasks")

    with pytest.raises(PermanentError, match="project |assignee "):
        unsearched.run(ASSET)
    unsearched.box.clear_faults()
    sweep(unsearched)

    assert unsearched.rows[ASSET][key]["name"] == "Renamed"


def test_a_sweep_that_was_set_shorter_passes_nothing_over(unsearched: Engine) -> None:
    # Its turn is the next one of the short sweep, and six hours later in the long one.
    key = renamed_before_the_projects_were_listed_again(unsearched, (slot_at(75) + SLOTS // 2) % SLOTS)
    unsearched.settings = unsearched.settings.model_copy(update={"sweep_hours": 6})

    sweep(unsearched)

    assert unsearched.rows[ASSET][key]["name"] == "Renamed"


def spoilt(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[str]:
    """Spoil a task so that a daily comparison alone shows it, and let a day pass; return its key."""
    monkeypatch.setattr(asana_places, "MOST_A_TURN", 0.01)
    engine.run(ASSET)
    engine.advance(minutes=20)
    key: tuple[str] = next(key for key, row in engine.rows[ASSET].items() if not row["parent_gid"])
    engine.box.mutate("task", "update", key=key[0], due_on="nonsense")
    assert not engine.run(ASSET).quarantined
    engine.now += timedelta(hours=24)
    return key


def test_what_a_comparison_set_aside_is_read_again_without_another(
    unsearched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(unsearched, monkeypatch)
    asked, read = [], []

    for _ in range(6):
        result = unsearched.run(ASSET)
        asked.append(result.requests > LISTINGS)
        read.append(bool(result.quarantined))
        unsearched.now += timedelta(minutes=15)

    assert asked == [True, *[False] * 5]
    assert read == [*[True] * 4, *[False] * 2]


def test_what_a_comparison_set_aside_comes_when_it_is_right_again(
    unsearched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = spoilt(unsearched, monkeypatch)
    unsearched.run(ASSET)
    unsearched.box.mutate("task", "update", key=key[0], due_on="2026-12-24", name="Right")
    unsearched.now += timedelta(minutes=15)

    result = unsearched.run(ASSET)

    assert unsearched.rows[ASSET][key]["name"] == "Right"
    assert not {"unread", "held_count"} & result.cursor.keys()


def test_what_was_set_aside_and_is_hidden_now_stops_nothing(
    unsearched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = spoilt(unsearched, monkeypatch)
    unsearched.run(ASSET)
    unsearched.now += timedelta(minutes=15)
    unsearched.box.fault("asana", "status", status=403, path_contains=f"/tasks/{key[0]}")

    result = unsearched.run(ASSET)

    assert "unread" not in result.cursor


def test_of_too_many_tasks_that_differ_the_newest_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_compare, "MAX_CHANGED", 2)
    gids = ["1", "2", "3", "4", "5"]
    schema = pa.schema([RAW_ASANA_TASKS.arrow_schema.field(name) for name in ("task_gid", "modified_at")])
    stored = pa.Table.from_pylist([{"task_gid": gid, "modified_at": START} for gid in gids], schema=schema)
    times = {gid: (START + timedelta(hours=int(gid))).isoformat() for gid in gids} | {"5": START.isoformat()}

    assert asana_compare.otherwise_modified(stored, times) == {"3", "4"}
