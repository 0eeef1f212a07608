"""What the schedule and the healing sensors ask for, from what they find."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest

from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.catch_up import catch_up
from ao_pipeline.defs.follow_up import follow_up, skipped_assets
from ao_pipeline.defs.jobs import cycle_schedule
from ao_pipeline.defs.location import build_definitions
from ao_pipeline_tests.pipeline.plant import FIRST, NOW, SECOND, Plant

HOURLY = {"raw/asana_users", "raw/xero_invoices"}


def names(request: dg.RunRequest) -> set[str]:
    """Return the assets that a request selects."""
    return {"/".join(key.path) for key in request.asset_selection or ()}


def at(monkeypatch: pytest.MonkeyPatch, instant: datetime) -> None:
    """Let the sensors believe that it is `instant`."""
    monkeypatch.setattr("ao_pipeline.clock.utc_now", lambda: instant)


def ask_catch_up(plant: Plant) -> dg.RunRequest | dg.SkipReason:
    """Evaluate the sensor once."""
    answer = catch_up(dg.build_sensor_context(instance=plant.instance))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def ask_follow_up(plant: Plant, result: dg.ExecuteInProcessResult) -> list[dg.RunRequest]:
    """Evaluate the sensor once, for one failed run."""
    failure = next(e for e in result.all_events if e.event_type == dg.DagsterEventType.PIPELINE_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="follow_up",
        dagster_event=failure,
        dagster_instance=plant.instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    answer = follow_up(context)
    return [] if isinstance(answer, dg.SkipReason) else list(answer)


def run_as_cycle(plant: Plant, cycle: Cycle, **tags: str) -> dg.ExecuteInProcessResult:
    """Run the whole job as the schedule would have it run."""
    return plant.execute_tagged({"dagster/partition": cycle.key, "ao/purpose": "cycle", "ao/cycle": cycle.key, **tags})


@pytest.mark.parametrize(
    ("tick", "cycle", "hourly_due"),
    [(NOW, FIRST, False), (NOW + timedelta(minutes=15), SECOND, True)],
)
def test_the_schedule_asks_for_the_closed_cycle_and_its_due_collectors(
    plant: Plant, tick: datetime, cycle: Cycle, hourly_due: bool
) -> None:
    with dg.build_schedule_context(instance=plant.instance, scheduled_execution_time=tick) as context:
        request = cycle_schedule(context)

    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == (cycle.key, f"cycle:{cycle.key}")
    assert request.tags["ao/purpose"] == "cycle"
    assert request.tags["ao/lane"] == "cycle"
    assert {"raw/asana_tasks", "norm/tasks", "ops/cycle_report"} <= names(request)
    assert (names(request) & HOURLY == HOURLY) is hourly_due


def test_a_held_asset_is_left_out_of_the_request(plant: Plant) -> None:
    with plant.store() as store:
        store.hold("truth/commitments", reason="rule under repair", actor="amal")

    with dg.build_schedule_context(instance=plant.instance, scheduled_execution_time=NOW) as context:
        request = cycle_schedule(context)

    assert isinstance(request, dg.RunRequest)
    assert "truth/commitments" not in names(request)
    assert "truth/client_health" in names(request)


def test_an_empty_store_asks_for_the_closed_cycle_at_once(empty_plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW + timedelta(seconds=1))

    request = ask_catch_up(empty_plant)

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == FIRST.key
    assert request.run_key is not None
    assert FIRST.key in request.run_key


def test_missed_cycles_are_asked_for_as_one_range(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW + timedelta(minutes=15 * 5, seconds=30))

    request = ask_catch_up(plant)

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == FIRST.shift(5).key
    assert request.tags["ao/first_cycle"] == SECOND.key
    assert names(request) >= HOURLY


def test_nothing_is_missed_within_the_schedules_grace(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW + timedelta(minutes=15, seconds=30))

    assert isinstance(ask_catch_up(plant), dg.SkipReason)


def test_nothing_is_asked_for_while_a_cycle_is_live(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW + timedelta(minutes=15 * 5, seconds=30))
    plant.instance.create_run_for_job(
        build_definitions().resolve_job_def("cycle"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"ao/cycle": SECOND.key, "dagster/partition": SECOND.key},
    )

    assert isinstance(ask_catch_up(plant), dg.SkipReason)


def test_a_failed_source_is_followed_up_with_what_it_kept_from_running(plant: Plant) -> None:
    plant.box.fault("asana", "status", status=401)
    result = run_as_cycle(plant, SECOND)
    skipped = {"/".join(key.path) for key in skipped_assets(plant.instance, result.dagster_run)}

    (request,) = ask_follow_up(plant, result)

    assert names(request) == skipped
    assert {"norm/tasks", "snapshot/agency", "ops/cycle_report"} <= skipped
    assert not {"raw/asana_tasks", "raw/gmail_messages", "norm/messages"} & skipped
    assert request.partition_key == SECOND.key
    assert request.tags["ao/purpose"] == "follow-up"
    assert request.run_key == f"follow-up:{result.run_id}"


@pytest.mark.parametrize(
    "tags", [{"dagster/will_retry": "true"}, {"ao/purpose": "revert"}, {"ao/purpose": "follow-up"}]
)
def test_healing_does_not_feed_itself(plant: Plant, tags: dict[str, str]) -> None:
    plant.box.fault("asana", "status", status=401)
    result = run_as_cycle(plant, SECOND, **tags)

    assert ask_follow_up(plant, result) == []


def test_a_failed_follow_up_closes_its_cycle(plant: Plant) -> None:
    plant.box.fault("asana", "status", status=401)
    result = run_as_cycle(plant, SECOND, **{"ao/purpose": "follow-up"})

    ask_follow_up(plant, result)

    assert plant.report(SECOND)["recorded"] != "open"


def test_a_follow_up_after_a_failed_gate_leaves_truth_as_it_is(plant: Plant) -> None:
    with plant.store() as store:
        store.hold("norm/task_links", reason="rule under repair", actor="amal")
    plant.box.advance(60)
    plant.box.mutate("task", "create", name="Has no link row")
    with dg.build_schedule_context(instance=plant.instance, scheduled_execution_time=SECOND.end) as context:
        asked = cycle_schedule(context)
    assert isinstance(asked, dg.RunRequest)
    result = plant.execute_request(asked)
    assert not result.success

    (request,) = ask_follow_up(plant, result)

    assert [name for name in names(request) if name.startswith("truth/")] == []
    assert "snapshot/agency" in names(request)


def test_a_cycle_that_nothing_works_on_any_more_becomes_interrupted(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = SECOND
    with plant.store() as store:
        store.cycles.open(lost, first_cycle=lost, run_id="killed")
    at(monkeypatch, lost.shift(2).end + timedelta(minutes=5))

    ask_catch_up(plant)
    ask_catch_up(plant)

    with plant.store() as store:
        record = store.cycles.get(lost)
        assert record is not None
        assert (record.status, record.run_id) == ("interrupted", "killed")
        assert store.cycles.open_before(lost.shift(2)) == []
