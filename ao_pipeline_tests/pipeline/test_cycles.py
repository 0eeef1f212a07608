"""A healthy cycle, the next one, and the same one again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, errors_in, errors_of

PROJECTS = "raw/asana_projects"
STAGES = {"ref", "raw", "norm", "truth", "snapshot", "notify", "ops"}


def test_a_first_cycle_publishes_a_snapshot_through_all_stages(empty_plant: Plant) -> None:
    outcome = empty_plant.cycle(FIRST)

    assert (outcome.status, errors_of(outcome)) == ("success", {})
    assert {item.asset.split("/")[0] for item in outcome.assets} == STAGES
    assert {item.asset: item.status for item in outcome.assets if item.status != "ok"} == {}
    with empty_plant.store() as store:
        bundles = store.bundles(cycle=FIRST, limit=1000)
        assert {header.asset for header in bundles} == {spec.asset for spec in ALL_SPECS}
        assert all(store.read(spec.asset).num_rows for spec in ALL_SPECS)
    assert empty_plant.findings() == []
    assert empty_plant.report(FIRST)["missing"] == []
    assert len(empty_plant.box.webhook_messages()) == empty_plant.table("notify/deliveries").num_rows


def test_a_bundle_is_reported_with_its_numbers_and_a_bounded_preview(empty_plant: Plant) -> None:
    empty_plant.cycle(FIRST)

    event = empty_plant.materialization("raw/asana_tasks")
    with empty_plant.store() as store:
        header = store.bundles(asset="raw/asana_tasks", limit=1)[0]
    facts = empty_plant.facts("raw/asana_tasks")
    assert event.partition == FIRST.key
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == header.state_hash_after == facts["ao/state_hash"]
    assert facts["dagster/row_count"] == facts["ao/rows_inserted"] == header.row_count_after
    assert (facts["ao/bundle"], facts["ao/kind"], facts["ao/seq"]) == (header.bundle_id, "materialize", 1)
    assert facts["ao/requests"] > 0
    preview = event.metadata["ao/changes"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert len(preview.records) == 20


def test_a_second_cycle_over_an_unchanged_world_changes_no_row(plant: Plant) -> None:
    before = plant.state_hashes()

    outcome = plant.cycle(SECOND)

    assert outcome.status == "success"
    assert {
        i.asset: (i.inserted, i.updated, i.deleted) for i in outcome.assets if i.inserted + i.updated + i.deleted
    } == {}
    assert plant.state_hashes() == before
    with plant.store() as store:
        assert {header.asset for header in store.bundles(cycle=SECOND, limit=1000)} == {
            spec.asset for spec in ALL_SPECS
        }


def test_the_same_partition_twice_gives_the_same_rows(plant: Plant) -> None:
    before, tables = plant.state_hashes(), {spec.asset: plant.table(spec.asset) for spec in ALL_SPECS}

    outcome = plant.cycle(FIRST)

    assert outcome.status == "success"
    assert plant.state_hashes() == before
    assert [spec.asset for spec in ALL_SPECS if not plant.table(spec.asset).equals(tables[spec.asset])] == []


def test_a_changed_task_arrives_in_every_stage_that_reads_it(plant: Plant) -> None:
    task = plant.table("raw/asana_tasks").to_pylist()[0]["task_gid"]
    plant.box.advance(60)
    plant.box.mutate("task", "update", key=task, name="Renamed upstream")

    outcome = plant.cycle(SECOND)

    assert outcome.status == "success"
    changed = {item.asset: item.updated for item in outcome.assets if item.updated}
    assert changed["raw/asana_tasks"] >= 1
    assert changed["norm/tasks"] >= 1
    rows = {row["task_gid"]: row["name"] for row in plant.table("raw/asana_tasks").to_pylist()}
    assert rows[task] == "Renamed upstream"


def test_messages_go_out_once_however_often_a_cycle_runs(plant: Plant) -> None:
    sent = {row["idempotency_key"]: row["status"] for row in plant.table("notify/deliveries").to_pylist()}
    assert set(sent.values()) == {"sent"}

    plant.cycle(FIRST)
    plant.cycle(SECOND)

    assert {row["idempotency_key"]: row["status"] for row in plant.table("notify/deliveries").to_pylist()} == sent
    assert plant.box.webhook_messages() == []


def test_rows_are_not_computed_from_inputs_of_two_moments(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    read, retry, taken = StateStore.read, ActiveExecution.mark_up_for_retry, list[str]()

    def take_first_project(name: str) -> str:
        with plant.store() as other:
            keys, spec = other.read_keys(PROJECTS).slice(0, 1), other.spec(PROJECTS)
            intent = Intent(spec=spec, cycle=SECOND, first_cycle=SECOND, name=name, run_id="other")
            other.commit(other.begin(intent), Change(spec.empty(), is_full=False, deleted=keys))
        return str(keys.column(0)[0])

    def read_and_change(store: StateStore, asset: str, columns: Sequence[str] = (), **more: Any) -> pa.Table:
        table = read(store, asset, columns, **more)
        if asset == PROJECTS and not taken:
            taken.append(take_first_project("meanwhile"))
        return table

    take_first_project("before")
    monkeypatch.setattr(StateStore, "read", read_and_change)
    monkeypatch.setattr(ActiveExecution, "mark_up_for_retry", lambda self, key, at_time=None: retry(self, key))

    result = plant.execute(SECOND, "norm/projects")

    assert errors_in(result) == {}
    assert result.success
    assert taken[0] not in plant.table("norm/projects").column("project_id").to_pylist()
    with plant.store() as store:
        assert [item.error for item in store.failures.latest()] == ["TransientError"]
