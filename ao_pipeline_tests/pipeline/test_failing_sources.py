"""A source that refuses, is away, or sends rubbish: the rest goes on, and the snapshot says what is stale."""

from __future__ import annotations

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.defs.failures import STEP_RETRY
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant, errors_of

ASANA = {spec.asset for spec in RAW_TABLES if spec.asset.startswith("raw/asana_")}


def test_a_refusing_source_fails_its_assets_alone_and_without_retry(plant: Plant) -> None:
    plant.box.fault("asana", "status", status=401)

    outcome = plant.cycle(SECOND)

    assert set(errors_of(outcome)) == ASANA
    assert all("asana" in text and "401" in text for text in errors_of(outcome).values())
    assert outcome.duration_ms < 1000 * STEP_RETRY.delay, "a refusal was retried"
    retries = [r for r in plant.instance.get_runs() if plant.instance.get_run_stats(r.run_id).steps_failed > len(ASANA)]
    assert retries == []


def test_the_rest_of_the_cycle_runs_on_the_last_good_data(plant: Plant) -> None:
    before = plant.state_hashes()
    plant.box.fault("asana", "status", status=401)

    outcome = plant.cycle(SECOND)

    assert outcome.status == "degraded"
    done = {item.asset for item in outcome.assets if item.status == "ok"}
    assert done == {spec.asset for spec in ALL_SPECS} - ASANA | {"ops/cycle_report"}
    report = plant.report(SECOND)
    assert (report["recorded"], set(report["missing"])) == ("degraded", ASANA)
    assert "asana" in report["stale"]
    assert {asset: plant.state_hashes()[asset] == before[asset] for asset in ASANA} == dict.fromkeys(ASANA, True)
    runs = [run.tags["ao/purpose"] for run in plant.instance.get_runs()]
    assert sorted(runs) == ["cycle", "follow-up"]


def test_the_snapshot_names_the_stale_source_and_its_cycle(plant: Plant) -> None:
    assert plant.trust()["stale_sources"] == []
    plant.box.fault("asana", "status", status=401)

    plant.cycle(SECOND)

    strip = plant.trust()
    assert strip["stale_sources"] == ["asana"]
    assert strip["sources"]["asana"]["as_of_cycle"] == FIRST.key


def test_the_cycle_after_the_fault_is_fresh_again(plant: Plant) -> None:
    plant.box.fault("asana", "status", status=401)
    plant.cycle(SECOND)
    plant.box.clear_faults()

    outcome = plant.cycle(THIRD)

    assert outcome.status == "success"
    assert plant.trust()["stale_sources"] == []
    assert plant.report(THIRD)["missing"] == []


def test_a_malformed_record_is_set_aside_counted_and_shown(plant: Plant) -> None:
    before = plant.table("raw/asana_projects")
    plant.box.fault("asana", "malformed_record", path_contains="/projects", count=1)

    outcome = plant.cycle(SECOND)

    facts = plant.facts("raw/asana_projects")
    assert errors_of(outcome) == {}
    assert facts["ao/quarantined"] == 1
    with plant.store() as store:
        (record,) = store.quarantine(asset="raw/asana_projects")
    assert record["record_key"]
    assert plant.table("raw/asana_projects").equals(before), "the row of the refused record was touched"


def test_a_record_that_comes_right_leaves_quarantine(plant: Plant) -> None:
    plant.box.fault("asana", "malformed_record", path_contains="/projects", count=1)
    plant.cycle(SECOND)

    plant.cycle(THIRD)

    with plant.store() as store:
        assert store.quarantine(asset="raw/asana_projects") == []
        assert len(store.quarantine(asset="raw/asana_projects", status="resolved")) == 1


def test_an_unknown_upstream_field_is_drift_and_no_failure(plant: Plant) -> None:
    plant.box.fault("asana", "unknown_field", path_contains="/projects")

    outcome = plant.cycle(SECOND)

    assert errors_of(outcome) == {}
    assert "x_new_vendor_field" in plant.facts("raw/asana_projects")["ao/drift"]
    assert outcome.status == "success"
