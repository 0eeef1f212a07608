"""Outages through the real schedule, sensors and runs, under a clock that the test sets."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.cycle import Cycle, cycles_between
from ao_pipeline.defs.catch_up import catch_up
from ao_pipeline.defs.follow_up import follow_up
from ao_pipeline.defs.jobs import cycle_schedule
from ao_pipeline.defs.location import build_definitions
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant

SECONDS_20 = timedelta(seconds=20)


class Machine:
    """What Dagster's daemon does, at chosen instants: evaluate, then run what was asked for, one run at a time."""

    def __init__(self, plant: Plant, patch: pytest.MonkeyPatch) -> None:
        self.plant = plant
        self.patch = patch

    def set_clock(self, instant: datetime) -> None:
        """Let it be `instant`."""
        self.patch.setattr("ao_pipeline.clock.utc_now", lambda: instant)

    def schedule(self, tick: datetime) -> dg.RunRequest:
        """Evaluate the schedule's tick."""
        with dg.build_schedule_context(instance=self.plant.instance, scheduled_execution_time=tick) as context:
            answer = cycle_schedule(context)
        assert isinstance(answer, dg.RunRequest), answer
        return answer

    def catch_up(self, now: datetime) -> dg.RunRequest | None:
        """Evaluate the catch-up sensor."""
        self.set_clock(now)
        answer = catch_up(dg.build_sensor_context(instance=self.plant.instance))
        return answer if isinstance(answer, dg.RunRequest) else None

    def covered(self) -> list[str]:
        """Return the cycles that the records stand for, in order, each as often as it is covered."""
        with self.plant.store() as store:
            records = store.cycles.latest(limit=1_000)[::-1]
        spans = [(Cycle.from_key(record.first_cycle), Cycle.from_key(record.cycle)) for record in records]
        return [cycle.key for first, last in spans for cycle in cycles_between(first, last)]


@pytest.fixture
def machine(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose store holds one good cycle."""
    return Machine(plant, monkeypatch)


def keys(first: Cycle, last: Cycle) -> list[str]:
    """Return the keys from one cycle to another."""
    return [cycle.key for cycle in cycles_between(first, last)]


@pytest.mark.parametrize("hours", [0.5, 7, 72])
def test_the_machine_was_off_for_hours_and_one_run_stands_for_all(machine: Machine, hours: float) -> None:
    on = FIRST.end + timedelta(hours=hours) + timedelta(minutes=5)
    newest = Cycle.last_closed(on)
    request = machine.catch_up(on)
    assert request is not None

    with freeze_time(on):  # Dagster knows partitions up to its own present only.
        result = machine.plant.execute_request(request)

    assert result.success
    assert machine.catch_up(on + SECONDS_20) is None
    assert machine.covered() == keys(FIRST, newest)
    materialized = [e for e in result.all_events if e.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION]
    assert len(materialized) <= len(ALL_SPECS) + 2  # The same for three days as for one cycle.
    assert machine.plant.report(newest)["first_cycle"] == SECOND.key
    with machine.plant.store() as store:
        spans = {(b.first_cycle, b.cycle) for b in store.bundles(cycle=newest, limit=500)}
    assert spans == {(SECOND.key, newest.key)} | ({(newest.key, newest.key)} & spans)


def test_the_schedule_and_the_catch_up_ask_at_the_same_moment_and_one_run_works(machine: Machine) -> None:
    last = FIRST.shift(8)
    machine.set_clock(last.end + SECONDS_20)
    from_schedule = machine.schedule(last.end)
    from_sensor = machine.catch_up(last.end + SECONDS_20)
    assert from_sensor is not None
    first_result = machine.plant.execute_request(from_sensor)
    hashes = machine.plant.state_hashes()
    bundles = bundle_count(machine)

    second = machine.plant.execute_request(from_schedule)

    assert (first_result.success, second.success) == (True, True)
    assert (machine.plant.state_hashes(), bundle_count(machine)) == (hashes, bundles)
    assert machine.covered() == keys(FIRST, last)


def test_a_late_run_is_idle_after_the_next_cycle_took_its_own_along(machine: Machine) -> None:
    machine.set_clock(SECOND.end + SECONDS_20)
    late = machine.schedule(SECOND.end)
    machine.set_clock(THIRD.end + SECONDS_20)
    assert machine.plant.execute_request(machine.schedule(THIRD.end)).success
    hashes, bundles = machine.plant.state_hashes(), bundle_count(machine)

    result = machine.plant.execute_request(late)

    assert result.success
    assert [e for e in result.all_events if e.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION] == []
    assert (machine.plant.state_hashes(), bundle_count(machine)) == (hashes, bundles)
    assert machine.covered() == keys(FIRST, THIRD)
    assert machine.plant.report(THIRD)["recorded"] == "success"


def test_overlapping_requests_cover_no_cycle_twice(machine: Machine) -> None:
    third, fifth = FIRST.shift(3), FIRST.shift(5)
    machine.set_clock(third.end + SECONDS_20)
    early = machine.schedule(third.end)
    machine.set_clock(fifth.end + SECONDS_20)
    overlapping = machine.schedule(fifth.end)

    machine.plant.execute_request(early)
    machine.plant.execute_request(overlapping)

    assert machine.covered() == keys(FIRST, fifth)
    with machine.plant.store() as store:
        newest = store.bundles(asset="truth/capacity", limit=1)[0]
    assert (newest.first_cycle, newest.cycle) == (FIRST.shift(4).key, fifth.key)


def test_an_overtaken_run_that_fails_later_is_neither_followed_up_nor_reverted(machine: Machine) -> None:
    machine.set_clock(SECOND.end + SECONDS_20)
    late = machine.schedule(SECOND.end)
    machine.plant.box.fault("asana", "status", status=401)
    failed = machine.plant.execute_request(late)
    machine.plant.box.clear_faults()
    machine.set_clock(THIRD.end + SECONDS_20)
    machine.plant.execute_request(machine.schedule(THIRD.end))
    hashes = machine.plant.state_hashes()

    event = next(e for e in failed.all_events if e.event_type == dg.DagsterEventType.PIPELINE_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="follow_up",
        dagster_event=event,
        dagster_instance=machine.plant.instance,
        dagster_run=failed.dagster_run,
    ).for_run_failure()
    answer = follow_up(context)

    assert isinstance(answer, dg.SkipReason)
    assert machine.plant.state_hashes() == hashes
    with machine.plant.store() as store:
        assert store.holds() == {}


def test_a_cycle_asked_for_at_the_terminal_takes_the_missed_ones_along_and_may_be_repeated(machine: Machine) -> None:
    last = FIRST.shift(4)
    machine.set_clock(last.end + SECONDS_20)

    outcome = machine.plant.cycle(last)
    before = bundle_count(machine)
    machine.plant.cycle(last)

    assert outcome.status == "success"
    assert bundle_count(machine) > before
    assert machine.covered() == keys(FIRST, last)


def test_a_live_run_keeps_the_catch_up_from_asking_again(machine: Machine) -> None:
    job = build_definitions().resolve_job_def("cycle")
    machine.plant.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={"ao/cycle": FIRST.shift(4).key}
    )

    assert machine.catch_up(FIRST.shift(4).end + timedelta(minutes=5)) is None


def bundle_count(machine: Machine) -> int:
    """Return how many bundles there are."""
    with machine.plant.store() as store:
        return sum(head.seq for head in store.heads().values())
