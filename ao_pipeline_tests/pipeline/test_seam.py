"""A process that dies between the store's commit and Dagster's event: the retry or the sensor reports the bundle, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.defs import managed, seam
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.resources import CHECKS_JOB_NAME, REPORT_ASSET
from ao_pipeline_tests.pipeline.plant import FIRST, QUIET, SECOND, THIRD, Plant

CAPACITY = "truth/capacity"
CHECK = dg.AssetCheckKey(REPORT_ASSET, "every_bundle_has_its_event")


def cycle_job() -> dg.JobDefinition:
    """Build the job of a cycle, where a re-execution can find it."""
    return build_definitions().resolve_job_def(CYCLE_JOB_NAME)


@contextmanager
def dying_before_the_event(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail every step after its commit and before its event; yields the bundles that this happened to."""
    died: list[str] = []

    def die(receipt: managed.Receipt, *_: object) -> None:
        died.append(receipt.header.bundle_id)
        raise dg.Failure("the process died", allow_retries=False)

    with monkeypatch.context() as patch:
        patch.setattr(managed, "materialize_result", die)
        yield died


class Sensor:
    """The sensor as the daemon runs it: its events are stored, then its cursor; `later` is how long after now."""

    def __init__(self, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plant, self.monkeypatch, self.cursor = plant, monkeypatch, None

    def tick(self, *, later: timedelta = seam.GRACE + timedelta(minutes=1)) -> list[dg.AssetMaterialization]:
        now = clock.utc_now() + later
        with self.monkeypatch.context() as patch:
            patch.setattr(clock, "utc_now", lambda: now)
            context = dg.build_sensor_context(instance=self.plant.instance, cursor=self.cursor)
            result = seam.report_lost_events(context)
        if isinstance(result, dg.SkipReason):
            return []
        assert isinstance(result, dg.SensorResult)
        reported = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
        for event in reported:
            self.plant.instance.report_runless_asset_event(event)
        self.cursor = result.cursor
        return reported


@pytest.fixture
def sensor(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    return Sensor(plant, monkeypatch)


def passes(plant: Plant) -> bool:
    """Evaluate the check that compares the store with Dagster's log."""
    job = build_definitions().resolve_job_def(CHECKS_JOB_NAME).get_subset(asset_check_selection=frozenset({CHECK}))
    result = job.execute_in_process(instance=plant.instance, run_config=QUIET)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation.passed


def newest(plant: Plant, asset: str) -> BundleHeader:
    with plant.store() as store:
        return store.bundles(asset=asset, limit=1)[0]


def bundle_of(event: dg.AssetMaterialization) -> str:
    return str(event.metadata["ao/bundle"].value)


def test_everything_that_dagster_does_not_know_is_reported_once(plant: Plant, sensor: Sensor) -> None:
    with plant.store() as store:
        stored = Counter(header.bundle_id for header in store.bundles(limit=1_000))
    before = passes(plant)

    first, second = sensor.tick(), sensor.tick()
    sensor.cursor = None  # As when the daemon stopped before it stored the cursor.
    third = sensor.tick()

    assert (before, passes(plant)) == (False, True)
    assert Counter(map(bundle_of, first)) == stored
    assert (second, third) == ([], [])


def test_a_lost_event_is_reported_with_all_that_it_would_have_said(
    plant: Plant, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.tick()
    with dying_before_the_event(monkeypatch) as died:
        result = plant.execute(SECOND, CAPACITY)
    assert (result.success, len(died), passes(plant)) == (False, 1, False)

    (event,) = sensor.tick()

    header = newest(plant, CAPACITY)
    assert (event.asset_key.path, event.partition) == (CAPACITY.split("/"), SECOND.key)
    assert event.tags == {
        "dagster/data_version": header.state_hash_after,
        "ao/bundle": header.bundle_id,
        "ao/kind": "materialize",
    }
    assert event.metadata["dagster/row_count"].value == header.row_count_after
    assert (bundle_of(event), event.description) == (died[0], seam.LATE)
    assert plant.facts(CAPACITY)["ao/bundle"] == header.bundle_id
    assert (sensor.tick(), passes(plant)) == ([], True)


def test_a_young_bundle_is_left_to_its_retry(plant: Plant, sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor.tick()
    with dying_before_the_event(monkeypatch) as died:
        plant.execute(SECOND, CAPACITY)

    early, late = sensor.tick(later=seam.GRACE - timedelta(minutes=1)), sensor.tick()

    assert (early, list(map(bundle_of, late))) == ([], died)


def test_a_retry_finds_and_reports_its_own_bundle(
    plant: Plant, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.tick()
    with dying_before_the_event(monkeypatch) as died:
        failed = plant.execute(SECOND, CAPACITY)

    retry = dg.execute_job(
        dg.reconstructable(cycle_job),
        plant.instance,
        run_config=QUIET,
        tags={"dagster/partition": SECOND.key},
        reexecution_options=dg.ReexecutionOptions(failed.run_id, step_selection=[CAPACITY.replace("/", "__")]),
    )

    facts = plant.facts(CAPACITY)
    assert (retry.success, facts["ao/replayed"], facts["ao/bundle"]) == (True, True, died[0])
    with plant.store() as store:
        assert [header.cycle for header in store.bundles(asset=CAPACITY)] == [SECOND.key, FIRST.key]
    assert (sensor.tick(), passes(plant)) == ([], True)


def test_a_bundle_of_several_cycles_is_reported_for_the_one_that_was_computed(plant: Plant, sensor: Sensor) -> None:
    sensor.tick()
    with plant.store() as store:
        spec = store.spec(CAPACITY)
        intent = Intent(spec, cycle=THIRD, first_cycle=SECOND, name="run:caught-up")
        store.commit(store.begin(intent), Change(spec.empty(), is_full=False))

    reported = sensor.tick()

    assert [event.partition for event in reported] == [THIRD.key]
    assert sensor.tick() == []


def test_bundles_of_one_instant_are_not_lost_between_two_ticks(
    plant: Plant, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plant.store() as store:
        stored = store.bundles(limit=1_000)
        with store.database.write() as connection:
            for position, header in enumerate(stored):
                same = BUNDLE.c.bundle_id == header.bundle_id
                instant = stored[0].started_at_us - position // 2
                connection.execute(sa.update(BUNDLE).where(same).values(started_at_us=instant))
    monkeypatch.setattr(seam, "MAX_BUNDLES", 3)

    reported = [bundle_of(event) for _ in range(len(stored)) for event in sensor.tick()]

    assert Counter(reported) == Counter(header.bundle_id for header in stored)
