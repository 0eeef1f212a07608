"""Materializing an earlier partition restores it, through the job as the UI does, and through the command line's door."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pytest

from ao_pipeline.defs.operate import request_revert
from ao_pipeline.errors import PermanentError
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, errors_in

HEALTH = "truth/client_health"
TASKS = "raw/asana_tasks"


@dataclass
class Moved:
    """A pipeline after a second cycle that changed what the first one had computed."""

    plant: Plant
    then: dict[str, pa.Table]
    """Tables as the first cycle left them."""
    bundle_then: dict[str, str]
    hash_then: dict[str, str]
    cursor_then: dict[str, object]


@pytest.fixture
def moved(plant: Plant) -> Moved:
    assets = (HEALTH, TASKS, "snapshot/agency", "notify/deliveries")
    with plant.store() as store:
        bundles = {asset: store.bundles(asset=asset, limit=1)[0].bundle_id for asset in assets}
        cursors: dict[str, object] = {asset: store.cursor(asset) for asset in assets}
    was = Moved(plant, {a: plant.table(a) for a in assets}, bundles, plant.state_hashes(), cursors)
    plant.box.advance(60)
    for row in was.then[TASKS].to_pylist():
        if not row["is_completed"]:
            plant.box.mutate("task", "update", key=row["task_gid"], completed=True)
    assert plant.cycle(SECOND).is_good
    assert not plant.table(HEALTH).equals(was.then[HEALTH]), "the world did not move: there is nothing to revert"
    return was


def test_an_earlier_partition_restores_the_table_and_says_so(moved: Moved) -> None:
    plant = moved.plant

    result = plant.execute(FIRST, HEALTH)

    assert result.success
    assert plant.table(HEALTH).equals(moved.then[HEALTH])
    event, facts = plant.materialization(HEALTH), plant.facts(HEALTH)
    assert (event.partition, facts["ao/kind"]) == (FIRST.key, "revert")
    assert facts["ao/restored_bundle"] == moved.bundle_then[HEALTH]
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == moved.hash_then[HEALTH] == facts["ao/state_hash"]
    with plant.store() as store:
        newest = store.bundles(asset=HEALTH, limit=1)[0]
        head = store.heads()[HEALTH]
    assert (newest.kind, newest.target_id) == ("revert", moved.bundle_then[HEALTH])
    assert (head.state_cycle, head.computed_cycle) == (FIRST.key, SECOND.key)
    assert plant.findings() == []


def test_the_same_revert_again_changes_nothing_more(moved: Moved) -> None:
    plant = moved.plant
    plant.execute(FIRST, HEALTH)

    plant.execute(FIRST, HEALTH)

    facts = plant.facts(HEALTH)
    assert facts["ao/rows_inserted"] + facts["ao/rows_updated"] + facts["ao/rows_deleted"] == 0
    assert plant.table(HEALTH).equals(moved.then[HEALTH])


def test_a_collectors_cursor_reverts_with_its_rows(moved: Moved) -> None:
    plant = moved.plant
    with plant.store() as store:
        assert store.cursor(TASKS) != moved.cursor_then[TASKS]

    plant.execute(FIRST, TASKS)

    assert plant.table(TASKS).equals(moved.then[TASKS])
    with plant.store() as store:
        assert store.cursor(TASKS) == moved.cursor_then[TASKS]


def test_the_cycle_after_a_revert_computes_the_present_again(moved: Moved) -> None:
    plant = moved.plant
    present = plant.state_hashes()
    plant.execute(FIRST, TASKS)
    plant.execute(FIRST, HEALTH)

    outcome = plant.cycle(SECOND)

    assert outcome.status == "success"
    assert {a: h for a, h in plant.state_hashes().items() if h != present[a] and a != "notify/deliveries"} == {}


def test_what_was_sent_cannot_be_taken_back(moved: Moved) -> None:
    plant = moved.plant
    before = plant.table("notify/deliveries")

    result = plant.execute(FIRST, "notify/deliveries")

    assert not result.success
    assert "cannot be taken back" in errors_in(result)["notify/deliveries"]
    assert plant.table("notify/deliveries").equals(before)


def test_a_requested_revert_names_its_actor_and_can_hold_the_asset(moved: Moved) -> None:
    plant = moved.plant

    request_revert(
        plant.settings, [HEALTH], FIRST, reason="wrong rule", actor="amal", hold=True, instance=plant.instance
    )

    assert plant.table(HEALTH).equals(moved.then[HEALTH])
    with plant.store() as store:
        newest = store.bundles(asset=HEALTH, limit=1)[0]
        assert (newest.kind, newest.actor, newest.reason) == ("revert", "amal", "wrong rule")
        assert store.holds() == {HEALTH: "wrong rule"}


def test_a_held_asset_stays_as_it_is_and_the_cycle_says_so(moved: Moved) -> None:
    plant = moved.plant
    request_revert(
        plant.settings, [HEALTH], FIRST, reason="wrong rule", actor="amal", hold=True, instance=plant.instance
    )

    outcome = plant.cycle(SECOND.shift(1))

    assert outcome.status == "degraded"
    assert plant.table(HEALTH).equals(moved.then[HEALTH])
    assert plant.report(SECOND.shift(1))["holds"] == [HEALTH]


def test_a_revert_of_what_was_never_sent_back_is_refused_by_name(moved: Moved) -> None:
    with pytest.raises(PermanentError, match="notify/deliveries cannot return to"):
        request_revert(
            moved.plant.settings,
            ["notify/deliveries"],
            FIRST,
            reason="oops",
            actor="amal",
            hold=False,
            instance=moved.plant.instance,
        )
