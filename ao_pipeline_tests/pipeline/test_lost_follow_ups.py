"""What follows a failed run is not lost with one evaluation of a sensor, and is asked for by one system only."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import dagster as dg
import pytest

from ao_pipeline.adapters.state import database
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs.follow_up import follow_up
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.errors import AoError, IntegrityError, StepTimeoutError, TransientError
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant
from ao_pipeline_tests.pipeline.test_auto_revert import HEALTH, Shrunk, evaluate_follow_up, run_request, shrunk

__all__ = ["shrunk"]


def tick(plant: Plant, cursor: str | None) -> tuple[str | None, list[dg.RunRequest]]:
    """Evaluate the sensor as the daemon does; return its cursor and what it asks for."""
    context = dg.build_sensor_context(instance=plant.instance, cursor=cursor, definitions=build_definitions())
    data = follow_up.evaluate_tick(context)
    return data.cursor, list(data.run_requests or ())


def store_is_away(*_args: object, **_named: object) -> NoReturn:
    raise TransientError("state store: cannot read: the server is not there or not ready")


def raise_bug(*_args: object, **_named: object) -> NoReturn:
    raise RuntimeError("the storage of Dagster's runs is away")


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("ao_pipeline.defs.resources.open_store", store_is_away),
        ("ao_pipeline.defs.follow_up.skipped_assets", raise_bug),
    ],
)
def test_a_store_that_is_away_when_a_failed_cycle_is_looked_at_loses_no_follow_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, place: str, broken: object
) -> None:
    monkeypatch.setattr("ao_pipeline.clock.utc_now", lambda: SECOND.end)
    cursor, _ = tick(plant, None)
    plant.box.fault("asana", "status", status=401)
    result = plant.execute_tagged({"dagster/partition": SECOND.key, "ao/purpose": "cycle", "ao/cycle": SECOND.key})

    with monkeypatch.context() as patch:
        patch.setattr(place, broken)
        try:
            cursor, nothing = tick(plant, cursor)
        except Exception:  # Whatever it raises: the daemon keeps the cursor then, and counts the tick as failed.
            nothing = []
    _, requests = tick(plant, cursor)

    assert nothing == []
    assert [request.run_key for request in requests] == [f"follow-up:{result.run_id}"]


def test_a_bug_in_the_sensor_stops_at_one_run_for_half_an_hour_at_most(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor, _ = tick(plant, None)
    plant.box.fault("asana", "status", status=401)
    plant.execute_tagged({"dagster/partition": SECOND.key, "ao/purpose": "cycle", "ao/cycle": SECOND.key})
    monkeypatch.setattr("ao_pipeline.defs.follow_up.skipped_assets", raise_bug)
    monkeypatch.setattr("ao_pipeline.clock.utc_now", lambda: SECOND.shift(2).end)

    after, requests = tick(plant, cursor)

    assert requests == []
    assert after != cursor


def test_a_run_that_never_began_is_left_to_the_catch_up(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_WAITS_SECONDS", (0.05,))
    path = plant.settings.data_path / "state.db"
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    result = plant.execute_tagged({"dagster/partition": SECOND.key, "ao/purpose": "cycle", "ao/cycle": SECOND.key})
    path.rmdir()
    path.with_suffix(".away").rename(path)

    answer = evaluate_follow_up(plant, result)

    assert not result.success
    assert isinstance(answer, dg.SkipReason), answer


def fail_reverts(patch: pytest.MonkeyPatch, error: AoError) -> None:
    """Let every revert of the store fail."""

    def fail(*_args: object, **_named: object) -> NoReturn:
        raise error

    patch.setattr(StateStore, "revert", fail)


def test_a_revert_of_the_engine_that_fails_is_asked_for_again(shrunk: Shrunk, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = shrunk.plant
    before = plant.table(HEALTH)
    shrunk.lose_clients()
    _, requests = shrunk.cycle(SECOND)
    with monkeypatch.context() as patch:
        fail_reverts(patch, StepTimeoutError("it took longer than the 120 s that it may in this run"))
        failed = run_request(plant, requests[0])

    again = evaluate_follow_up(plant, failed)
    assert isinstance(again, list), again
    healed = shrunk.heal(again)

    assert [request.partition_key for request in again] == [FIRST.key]
    assert again[0].run_key != requests[0].run_key
    assert (healed, plant.table(HEALTH).equals(before)) == ([True], True)
    with plant.store() as store:
        assert list(store.holds()) == [HEALTH]


def test_a_revert_that_cannot_succeed_holds_the_asset_and_says_that_it_was_not_taken_back(
    shrunk: Shrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = shrunk.plant
    shrunk.lose_clients()
    _, requests = shrunk.cycle(SECOND)
    fail_reverts(monkeypatch, IntegrityError("the state would come out as another one"))
    failed = run_request(plant, requests[0])

    answer = evaluate_follow_up(plant, failed)

    assert isinstance(answer, dg.SkipReason)
    with plant.store() as store:
        assert "could not be taken back" in store.holds()[HEALTH]
        store.release(HEALTH)
        assert store.breakers.get(HEALTH).state.value == "closed"


def test_a_revert_of_the_engine_is_tried_a_bounded_number_of_times(
    shrunk: Shrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = shrunk.plant
    shrunk.lose_clients()
    _, requests = shrunk.cycle(SECOND)
    fail_reverts(monkeypatch, StepTimeoutError("it took longer than the 120 s that it may in this run"))
    answer: list[dg.RunRequest] | dg.SkipReason = requests[:1]
    tried = 0

    while isinstance(answer, list) and tried < 10:
        tried += 1
        answer = evaluate_follow_up(plant, run_request(plant, answer[0]))

    assert tried == 3
    with plant.store() as store:
        assert "could not be taken back" in store.holds()[HEALTH]
