"""The alert sensor over real stores and a real webhook: who is told what, and how often."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ao_pipeline.defs.blocking import IN_CYCLE_CHECKS
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.reading import read_everything
from ao_pipeline_tests.pipeline.alerting import Watch, listening
from ao_pipeline_tests.pipeline.plant import NOW, SECOND, THIRD, Plant

MINUTE = timedelta(minutes=1)


@pytest.fixture
def watch(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The sensor over a store whose first cycle was good."""
    return Watch(plant, monkeypatch)


def test_a_healthy_engine_says_nothing(watch: Watch) -> None:
    before = len(watch.texts())

    for minutes in range(10):
        watch.at(NOW + minutes * MINUTE)

    assert watch.open() == []
    assert watch.alerts() == []
    assert len(watch.texts()) == before


def test_a_degraded_cycle_is_told_once_and_its_recovery_once(watch: Watch) -> None:
    watch.plant.box.fault("xero", "status", status=401)
    watch.cycle(SECOND)
    before = len(watch.texts())

    for minutes in range(12):
        watch.at(SECOND.end + minutes * MINUTE)
    told = watch.texts()[before:]
    watch.plant.box.clear_faults()
    watch.cycle(THIRD)
    for minutes in range(40):
        watch.at(THIRD.end + minutes * MINUTE / 2)
    watch.cycle(THIRD.shift(1))
    for minutes in range(20):
        watch.at(THIRD.shift(1).end + minutes * MINUTE / 2)

    assert len(told) == 1
    assert SECOND.key in told[0]
    (over,) = watch.texts()[before + 1 :]
    assert "Resolved" in over or "resolved" in over
    assert watch.open() == []


def test_a_cycle_that_does_not_come_is_told_though_nothing_runs(watch: Watch) -> None:
    before = len(watch.texts())

    for minutes in range(60):
        watch.at(NOW + minutes * MINUTE)

    (told,) = watch.texts()[before:]
    assert "No cycle was completed" in told


def test_the_dead_mans_switch_hears_of_each_good_cycle_once(watch: Watch) -> None:
    with listening() as switch, watch.plant.with_environment(AO_HEARTBEAT_URL=switch.url):
        for minutes in range(10):
            watch.at(NOW + minutes * MINUTE)
        watch.cycle(SECOND)
        for minutes in range(10):
            watch.at(SECOND.end + minutes * MINUTE)

    assert switch.paths == ["/ping/secret-key"] * 2


def test_the_dead_mans_switch_hears_nothing_when_no_cycle_completes(watch: Watch) -> None:
    with listening() as switch, watch.plant.with_environment(AO_HEARTBEAT_URL=switch.url):
        for minutes in range(40, 120, 5):
            watch.at(NOW + minutes * MINUTE)

    assert switch.paths == []


def test_the_dead_mans_switch_hears_nothing_while_alerts_do_not_arrive(watch: Watch) -> None:
    watch.plant.box.fault("xero", "status", status=401)
    watch.cycle(SECOND)
    watch.plant.box.fault("webhook", "status", status=503)
    for seconds in range(0, 300, 30):
        watch.at(SECOND.end + timedelta(seconds=seconds))

    with listening() as switch, watch.plant.with_environment(AO_HEARTBEAT_URL=switch.url):
        watch.at(SECOND.end + 6 * MINUTE)

    assert "alerts_undelivered" in watch.kinds()
    assert switch.paths == []


def test_a_check_that_is_planned_and_not_evaluated_yet_hides_nothing(plant: Plant) -> None:
    job = build_definitions().resolve_job_def("cycle")
    plant.instance.create_run_for_job(job.get_subset(asset_check_selection=IN_CYCLE_CHECKS))

    with plant.store() as store:
        reading = read_everything(store, plant.instance, now=NOW, checks=IN_CYCLE_CHECKS)

    assert (dict(reading.healers), dict(reading.failed_checks)) == ({}, {})
