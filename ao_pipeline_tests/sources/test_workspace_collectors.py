"""Google Tasks, contacts and Drive: tombstones, tokens that die, and what only a full listing can tell."""

from __future__ import annotations

import pytest

from ao_pipeline.errors import ContractError
from ao_pipeline_tests.sources.source_engine import Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

OWN = {"gtask": "raw/gtasks_tasks", "person": "raw/people_contacts", "file": "raw/drive_files"}
CHANGES = {
    "gtask": {"title": "غيّر 🚀"},
    "person": {"phoneNumbers": [{"value": "+971 4 000", "type": "work"}]},
    "file": {"name": "renamed", "trashed": True},
}


def place(asset: str, key: tuple[str, ...]) -> str:
    return key[0] if asset == "raw/gtasks_tasks" else ""


@pytest.mark.parametrize("kind", OWN)
def test_what_is_created_changed_and_deleted_arrives_in_the_next_collection(engine: Engine, kind: str) -> None:
    asset = OWN[kind]
    engine.run(asset)
    changed, gone = list(engine.rows[asset])[:2]
    engine.advance(minutes=20)
    made = engine.box.mutate(kind, "create")
    engine.box.mutate(kind, "update", key=changed[-1], place=place(asset, changed), **CHANGES[kind])
    engine.box.mutate(kind, "delete", key=gone[-1], place=place(asset, gone))

    result = engine.run(asset)

    assert not result.is_full
    assert [tuple(key.values()) for key in result.deleted.to_pylist()] == [gone]
    assert any(key[-1] == made["key"] for key in engine.rows[asset])
    assert_equals_truth(engine, asset)


@pytest.mark.parametrize("kind", OWN)
def test_a_deletion_is_told_once(engine: Engine, kind: str) -> None:
    asset = OWN[kind]
    engine.run(asset)
    gone = next(iter(engine.rows[asset]))
    engine.box.mutate(kind, "delete", key=gone[-1], place=place(asset, gone))
    engine.run(asset)

    again = engine.run(asset)

    assert (again.rows.num_rows, again.deleted.num_rows) == (0, 0)


@pytest.mark.parametrize("kind", ["person", "file"])
def test_an_expired_token_lists_everything_again_in_a_new_generation(engine: Engine, kind: str) -> None:
    asset = OWN[kind]
    engine.run(asset)
    gone = next(iter(engine.rows[asset]))
    engine.advance(minutes=1)
    engine.box.mutate(kind, "delete", key=gone[-1])
    engine.box.expire_cursors(asset.split("/")[1].split("_")[0])
    engine.advance(minutes=1)

    result = engine.run(asset)

    assert result.is_full
    assert result.cursor["generation"] == 2
    assert_equals_truth(engine, asset)


def test_the_token_of_contacts_dies_a_week_after_the_full_listing_however_often_it_was_renewed(engine: Engine) -> None:
    asset = "raw/people_contacts"
    generations = []

    for _ in range(9):
        generations.append(engine.run(asset).cursor["generation"])
        engine.advance(days=1)

    assert generations == [1] * 8 + [2]


def test_a_task_that_left_without_a_tombstone_goes_with_the_daily_listing(engine: Engine) -> None:
    asset = "raw/gtasks_tasks"
    engine.run(asset)
    gone = next(iter(engine.rows[asset]))
    engine.box.mutate("gtask", "delete", key=gone[1], place=gone[0])
    engine.advance(days=40)

    result = engine.run(asset)

    assert result.is_full
    assert_equals_truth(engine, asset)


def test_tasks_that_were_cleared_from_their_list_are_collected(still_engine: Engine) -> None:
    still_engine.run("raw/gtasks_tasks")

    assert any(row["is_hidden"] for row in still_engine.rows["raw/gtasks_tasks"].values())


@pytest.mark.parametrize(
    ("asset", "path"),
    [("raw/people_contacts", "connections"), ("raw/drive_files", "startPageToken"), ("raw/gtasks_tasks", "/lists")],
)
def test_an_empty_answer_to_a_first_listing_is_refused(still_engine: Engine, asset: str, path: str) -> None:
    source = asset.split("/")[1].split("_")[0]
    still_engine.box.fault(source, "empty", count=1, path_contains=path)

    with pytest.raises(ContractError):
        still_engine.read(asset)


def test_a_broken_file_in_a_change_is_quarantined_by_its_id_and_heals(engine: Engine) -> None:
    asset = "raw/drive_files"
    engine.run(asset)
    key = next(iter(engine.rows[asset]))
    engine.advance(minutes=1)
    engine.box.mutate("file", "update", key=key[0], name="renamed")
    engine.box.fault("drive", "malformed_record", count=1)

    broken = engine.run(asset)
    engine.run(asset)

    assert [item.record_key for item in broken.quarantined] == [key[0]]
    assert broken.deleted.num_rows == 0
    assert_equals_truth(engine, asset)
