"""Stories of Asana tasks: asked for where a task changed, a bounded number at a time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources import asana_stories
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.volume import VolumeDropError
from ao_pipeline.errors import AuthError, TransientError, UnknownNameError
from ao_pipeline_tests.sources.source_engine import START, Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

ASSET, TASKS = "raw/asana_stories", "raw/asana_tasks"


def follow(engine: Engine) -> Collected:
    """Collect tasks, then stories, an hour later."""
    engine.advance(hours=1)
    engine.run(TASKS)
    return engine.run(ASSET)


def is_under_way(result: Collected) -> bool:
    """Return whether tasks are left that were not asked for."""
    return bool(result.cursor["pending"] or result.cursor["below"])


@pytest.fixture
def started(engine: Engine) -> Engine:
    """Tasks and stories collected once, in one go."""
    engine.run(TASKS)
    engine.run(ASSET)
    return engine


def test_the_first_stories_equal_the_truth(started: Engine) -> None:
    assert {row["story_type"] for row in started.rows[ASSET].values()} == {"system", "comment"}
    assert {row["created_by_gid"] is None for row in started.rows[ASSET].values()} == {True, False}
    assert_equals_truth(started, ASSET)


def test_a_quiet_collection_asks_for_one_task(started: Engine) -> None:
    before = dict(started.rows[ASSET])

    result = started.run(ASSET)

    assert (result.requests, result.deleted.num_rows, started.rows[ASSET]) == (1, 0, before)
    assert not result.is_full


def test_stories_without_news_are_not_fresh_when_asana_is_away(started: Engine) -> None:
    started.box.fault("asana", "status", status=500)

    with pytest.raises(TransientError):
        started.run(ASSET)


def test_a_new_comment_arrives_and_only_its_task_is_asked_for(started: Engine) -> None:
    task = next(iter(started.rows[TASKS]))[0]
    started.box.advance(1)
    made = started.box.mutate("comment", "create", task=task, text="تمت الموافقة ✅")
    started.run(TASKS)

    result = started.run(ASSET)

    assert result.requests == 1
    assert {row["task_gid"] for row in result.rows.to_pylist()} == {task}
    assert started.rows[ASSET][(made["key"],)]["text"] == "تمت الموافقة ✅"
    assert_equals_truth(started, ASSET)


def test_a_trashed_comment_goes(started: Engine) -> None:
    key = next(key[0] for key, row in started.rows[ASSET].items() if row["story_type"] == "comment")
    started.box.advance(1)
    started.box.mutate("comment", "delete", key=key)
    started.run(TASKS)

    result = started.run(ASSET)

    assert result.deleted.to_pylist() == [{"story_gid": key}]
    assert_equals_truth(started, ASSET)


def test_what_is_over_the_bound_is_collected_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 60)
    tasks = engine.run(TASKS).rows.num_rows
    rounds = -(-tasks // 60)

    requests = [engine.run(ASSET).requests for _ in range(rounds + 1)]

    assert requests == [*[60] * (rounds - 1), tasks - 60 * (rounds - 1), 1]
    assert_equals_truth(engine, ASSET)


def test_changes_over_the_bound_wait_in_the_cursor(started: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [key[0] for key in started.rows[TASKS]][:25]
    started.box.advance(1)
    for gid in changed:
        started.box.mutate("comment", "create", task=gid)
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 10)
    started.run(TASKS)

    first = started.run(ASSET)
    requests = [started.run(ASSET).requests for _ in range(3)]

    assert len(first.cursor["pending"]) == 15
    assert [first.requests, *requests] == [10, 10, 5, 1]
    assert_equals_truth(started, ASSET)


def test_a_slow_upstream_is_asked_for_less_and_the_rest_later(engine: Engine) -> None:
    tasks = engine.run(TASKS).rows.num_rows
    engine.settings = engine.settings.model_copy(update={"call_attempts": 6})
    engine.box.fault("asana", "status", status=429, headers={"Retry-After": "65"}, count=1)

    first = engine.run(ASSET)
    engine.run(ASSET)

    assert 0 < first.requests - first.retries < tasks
    assert_equals_truth(engine, ASSET)


def test_a_deleted_task_takes_its_stories_along(started: Engine) -> None:
    gid = next(key[0] for key, row in started.rows[TASKS].items() if not row["subtask_count"])
    started.box.mutate("task", "delete", key=gid)
    started.advance(hours=25)
    started.run(TASKS)

    result = started.run(ASSET)

    assert result.deleted.num_rows
    assert gid not in {row["task_gid"] for row in started.rows[ASSET].values()}
    assert_equals_truth(started, ASSET)


def test_a_task_that_is_unknown_keeps_its_stories_until_all_tasks_were_listed(started: Engine) -> None:
    gid = next(key[0] for key, row in started.rows[TASKS].items() if not row["subtask_count"])
    started.box.advance(1)
    started.box.mutate("comment", "create", task=gid)
    started.run(TASKS)
    started.box.mutate("task", "delete", key=gid)

    result = started.run(ASSET)

    assert (result.deleted.num_rows, result.cursor["pending"]) == (0, [gid])
    assert result.drift == {"asana.stories.unknown_task": 1}
    assert gid in {row["task_gid"] for row in started.rows[ASSET].values()}


def test_a_change_that_comes_late_is_not_passed_over(started: Engine) -> None:
    first, second = [key[0] for key in started.rows[TASKS]][:2]
    started.box.advance(1)
    started.box.mutate("comment", "create", task=first)
    started.box.advance(60)
    started.box.mutate("comment", "create", task=second)
    before = dict(started.rows[TASKS])
    started.run(TASKS)
    late, started.rows[TASKS][(first,)] = started.rows[TASKS][(first,)], before[(first,)]
    assert started.run(ASSET).requests == 1
    started.rows[TASKS][(first,)] = late

    result = started.run(ASSET)

    assert result.requests == 1
    assert_equals_truth(started, ASSET)


def test_a_lost_cursor_reads_every_task_again(started: Engine) -> None:
    started.cursors.pop(ASSET)

    result = started.run(ASSET)

    assert result.requests == len(started.rows[TASKS])
    assert result.rows.num_rows == len(started.rows[ASSET])


def test_days_of_hourly_collections_end_at_the_truth(started: Engine) -> None:
    for _ in range(26):
        follow(started)

    assert_equals_truth(started, ASSET)


def test_a_story_that_breaks_its_contract_is_set_aside_and_read_again(started: Engine) -> None:
    before = set(started.rows[ASSET])
    started.box.advance(1)
    started.box.mutate("comment", "create", task=next(iter(started.rows[TASKS]))[0])
    started.run(TASKS)
    started.box.fault("asana", "malformed_record", path_contains="/stories")

    result = started.run(ASSET)
    started.box.clear_faults()
    started.run(ASSET)

    assert result.quarantined
    assert result.deleted.num_rows == 0
    assert before < set(started.rows[ASSET])
    assert_equals_truth(started, ASSET)


def test_refused_credentials_change_nothing(started: Engine) -> None:
    cursor = started.cursors.pop(ASSET)
    started.box.fault("asana", "status", status=401)

    with pytest.raises(AuthError, match="task "):
        started.run(ASSET)

    assert cursor["mark"]


def test_without_a_reader_of_changes_it_says_so(engine: Engine) -> None:
    engine.run(TASKS)
    request = CollectionRequest(
        engine.settings, None, lambda: engine.stored_keys(ASSET), engine.now, stored_table=engine.stored_table
    )

    with pytest.raises(UnknownNameError, match="changes_since"):
        asana_stories.collect_stories(request)


def test_a_walk_misses_no_change(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 60)
    engine.run(TASKS)
    engine.run(ASSET)
    read = {row["task_gid"] for row in engine.rows[ASSET].values()}
    unread = next(key[0] for key in engine.rows[TASKS] if key[0] not in read)
    engine.box.advance(1)
    for gid in (max(read), unread):
        engine.box.mutate("comment", "create", task=gid)
    made = engine.box.mutate("task", "create")["key"]
    engine.run(TASKS)

    second = engine.run(ASSET)
    while is_under_way(engine.run(ASSET)):
        pass

    assert {max(read), unread, made} <= {row["task_gid"] for row in second.rows.to_pylist()}
    assert_equals_truth(engine, ASSET)


def test_a_walk_that_runs_out_of_time_passes_no_task_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 60)
    monkeypatch.setattr(asana_stories, "_PORTION", 10)
    engine.run(TASKS)
    walk = sorted(engine.rows[TASKS], key=lambda key: (engine.rows[TASKS][key]["modified_at"], key), reverse=True)
    late = {key: engine.rows[TASKS].pop(key) for key in walk[98:108]}
    engine.run(ASSET)
    engine.rows[TASKS].update(late)
    engine.settings = engine.settings.model_copy(update={"call_attempts": 6})
    engine.box.fault("asana", "status", status=429, headers={"Retry-After": "65"}, count=1)

    while is_under_way(engine.run(ASSET)):
        pass

    assert_equals_truth(engine, ASSET)


def test_tasks_that_went_back_and_on_again_are_followed(started: Engine) -> None:
    now = dict(started.rows[TASKS])
    gone = sorted(now)[:5]
    started.rows[TASKS] = {key: row for key, row in now.items() if key not in gone}
    taken = started.run(ASSET)
    started.rows[TASKS] = now

    again = started.run(ASSET)

    assert {row["story_gid"] for row in taken.deleted.to_pylist()} >= {
        row["story_gid"] for row in again.rows.to_pylist()
    }
    assert (taken.requests, again.requests) == (1, len(gone))
    assert_equals_truth(started, ASSET)


def test_stories_of_most_tasks_do_not_go_without_a_word(started: Engine) -> None:
    started.rows[TASKS] = dict(list(started.rows[TASKS].items())[:9])

    with pytest.raises(VolumeDropError, match="raw_asana_stories"):
        started.run(ASSET)


def test_without_the_bundles_in_between_tasks_and_stories_are_compared(started: Engine) -> None:
    keys = sorted(started.rows[TASKS])
    started.box.advance(1)
    started.box.mutate("comment", "create", task=keys[0][0])
    started.run(TASKS)
    started.looks.clear()
    dropped = started.rows[TASKS].pop(keys[1])
    for row in started.rows[TASKS].values():
        row["modified_at"] = row["modified_at"] if row["task_gid"] == keys[0][0] else START - timedelta(days=9)

    result = started.run(ASSET)
    started.rows[TASKS][keys[1]] = dropped
    started.run(ASSET)

    assert (result.requests, result.deleted.num_rows > 0) == (1, True)
    assert_equals_truth(started, ASSET)


@pytest.mark.parametrize("collections", [1, 60])
def test_without_the_bundles_what_came_while_the_tasks_stood_still_is_asked_for(
    started: Engine, collections: int
) -> None:
    task = sorted(started.rows[TASKS], key=lambda key: started.rows[TASKS][key]["modified_at"])[-4][0]
    started.box.advance(60)
    made = started.box.mutate("comment", "create", task=task)
    for _ in range(collections):
        started.advance(hours=60 / collections)
        started.run(ASSET)
    started.run(TASKS)
    started.looks.clear()

    started.run(ASSET)

    assert (made["key"],) in started.rows[ASSET]
    assert_equals_truth(started, ASSET)


def test_without_the_bundles_what_a_daily_comparison_brought_is_asked_for(started: Engine) -> None:
    late, soon = list(started.rows[TASKS])[:2]
    started.advance(minutes=1)
    started.box.mutate("comment", "create", task=late[0])
    started.advance(hours=24, minutes=14)
    started.box.mutate("comment", "create", task=soon[0])
    before = started.rows[TASKS][late]
    started.run(TASKS)
    found, started.rows[TASKS][late] = started.rows[TASKS][late], before
    started.run(ASSET)
    started.rows[TASKS][late] = found
    started.looks.clear()

    started.run(ASSET)

    assert_equals_truth(started, ASSET)


def test_a_task_of_the_future_hides_no_change(started: Engine) -> None:
    first, second = list(started.rows[TASKS])[:2]
    started.rows[TASKS][first]["modified_at"] = START + timedelta(days=9)
    started.run(ASSET)
    started.advance(hours=1)
    made = started.box.mutate("comment", "create", task=second[0])
    started.run(TASKS)
    started.looks.clear()

    started.run(ASSET)

    assert (made["key"],) in started.rows[ASSET]


def test_the_cursor_of_an_earlier_version_asks_for_what_changed_since(started: Engine) -> None:
    for row in started.rows[TASKS].values():
        row["modified_at"] = START - timedelta(days=9)
    changed = sorted(started.rows[TASKS])[:3]
    for key in changed:
        started.rows[TASKS][key]["modified_at"] = START
    seen = (START - timedelta(hours=24)).isoformat()
    started.cursors[ASSET] = {"generation": 1, "seen": seen, "recent": {}, "pending": [], "bare": [], "tasks": "0f"}

    result = started.run(ASSET)

    assert result.requests == len(changed)
    assert result.rows.num_rows
    assert started.run(ASSET).requests == 1


def test_more_changes_than_a_cursor_holds_are_found_by_a_walk(started: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_stories, "MAX_TASKS", 40)
    monkeypatch.setattr(asana_stories, "MAX_REMEMBERED", 30)
    started.box.advance(1)
    for key in sorted(started.rows[TASKS])[:90]:
        started.box.mutate("comment", "create", task=key[0])
    started.run(TASKS)

    cursors = []
    while is_under_way(started.run(ASSET)):
        cursors.append(started.cursors[ASSET])

    assert max(len(cursor["pending"]) for cursor in cursors) <= 30
    assert_equals_truth(started, ASSET)
