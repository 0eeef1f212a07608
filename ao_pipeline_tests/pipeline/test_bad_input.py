"""Wrong files, wrong settings, wrong cycles, contradicting tables: what stops, what goes on, and what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.clock import utc_now
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConfigError, UnknownNameError
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, environment, errors_of

TRUTH = {spec.asset for spec in ALL_SPECS if spec.asset.startswith("truth/")}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A copy of the reference files that a test may spoil."""
    folder = tmp_path / "reference"
    shutil.copytree(PROJECT_DIR / "deploy" / "reference", folder)
    return folder


def spoil_with_rubbish(path: Path) -> None:
    path.write_text("- client_id: [unclosed\n", encoding="utf-8")


def remove(path: Path) -> None:
    path.unlink()


def spoil_with_latin(path: Path) -> None:
    path.write_bytes("- client_id: caf\xe9\n".encode("latin-1"))


@pytest.mark.parametrize("spoil", [spoil_with_rubbish, remove, spoil_with_latin])
def test_an_unreadable_reference_file_fails_its_own_asset_by_name(plant: Plant, reference: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    before = plant.state_hashes()["ref/clients"]
    spoil(reference / "clients.yaml")

    with plant.with_environment(AO_REFERENCE_DIR=str(reference)) as spoiled:
        outcome = spoiled.cycle(SECOND)

    errors = errors_of(outcome)
    assert set(errors) == {"ref/clients"}
    assert "clients.yaml" in errors["ref/clients"]
    assert outcome.status == "degraded"
    assert plant.state_hashes()["ref/clients"] == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AO_WEBSERVER_PROT", "3000"),
        ("AO_EXPORTER_PORT", "seventy"),
        ("AO_ORG_TIME_ZONE", "Mars/Olympus"),
        ("AO_STATE_URL", "mysql://nowhere/db"),
        ("AO_FIRST_CYCLE", "2026-10-01 00:07"),
    ],
)
def test_a_wrong_setting_stops_with_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name), environment(**{name: value}):
        pass


@pytest.mark.parametrize(
    ("cycle", "says"),
    [
        (Cycle.last_closed(utc_now()).shift(96), "has not closed yet"),
        (Cycle.from_key("2020-01-01-00:00"), "lies before the first one"),
    ],
)
def test_a_cycle_that_is_no_partition_is_refused_before_anything_runs(plant: Plant, cycle: Cycle, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        plant.cycle(cycle)

    assert plant.instance.get_runs() == []


def test_a_blocking_gate_stops_truth_and_the_snapshot_stands_on_the_last_good_one(plant: Plant) -> None:
    before = plant.state_hashes()
    with plant.store() as store:
        store.hold("norm/task_links", reason="rule under repair", actor="amal")
    plant.box.advance(60)
    plant.box.mutate("task", "create", name="Has no link row")

    outcome = plant.cycle(SECOND)

    gates = {row["gate"]: row["is_passed"] for row in plant.table("norm/gates").to_pylist()}
    assert gates["data_integrity"] is False
    assert outcome.status == "degraded"
    by_asset = {item.asset: item for item in outcome.assets}
    assert {asset: by_asset[asset].status for asset in TRUTH} == dict.fromkeys(TRUTH, "skipped")
    assert {asset: plant.state_hashes()[asset] for asset in TRUTH} == {asset: before[asset] for asset in TRUTH}
    assert by_asset["snapshot/agency"].status == "ok"
    assert plant.trust()["confidence_level"] != "healthy"
    assert plant.report(SECOND)["recorded"] == "degraded"


def test_the_cycle_after_the_gate_holds_again_computes_truth(plant: Plant) -> None:
    with plant.store() as store:
        store.hold("norm/task_links", reason="rule under repair", actor="amal")
    plant.box.advance(60)
    plant.box.mutate("task", "create", name="Has no link row")
    plant.cycle(SECOND)
    with plant.store() as store:
        store.release("norm/task_links")

    outcome = plant.cycle(SECOND.shift(1))

    assert outcome.status == "success"
    with plant.store() as store:
        assert {store.heads()[asset].state_cycle for asset in TRUTH} == {SECOND.shift(1).key}


def test_a_range_is_computed_once_with_one_bundle_an_asset(plant: Plant) -> None:
    last = SECOND.shift(4)
    request_tags = {
        "dagster/asset_partition_range_start": SECOND.key,
        "dagster/asset_partition_range_end": last.key,
        "ao/purpose": "catch-up",
        "ao/cycle": last.key,
    }

    result = plant.execute_tagged(request_tags)

    assert result.success
    with plant.store() as store:
        newest = {spec.asset: store.bundles(asset=spec.asset, limit=1)[0] for spec in ALL_SPECS}
        counts = {asset: len(store.bundles(asset=asset, cycle=SECOND, limit=9)) for asset in newest}
        record = store.cycles.get(last)
        assert [r.cycle for r in store.cycles.latest(limit=9)] == [last.key, FIRST.key]
    assert {(header.first_cycle, header.cycle) for header in newest.values()} == {(SECOND.key, last.key)}
    assert set(counts.values()) == {1}
    assert record is not None
    assert (record.first_cycle, record.status) == (SECOND.key, "success")
