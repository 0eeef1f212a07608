"""A blocking check that fails after the commit: taken back, put on hold, and the cycle goes on without a human."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from ao_pipeline.cli import main
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.auto_revert import last_good
from ao_pipeline.defs.follow_up import follow_up
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, cycle_request
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.plant import FIRST, QUIET, SECOND, THIRD, Plant

HEALTH = "truth/client_health"
FOURTH, FIFTH = THIRD.shift(1), THIRD.shift(2)


def run_request(plant: Plant, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Execute a request as it is, as the daemon does."""
    job = build_definitions().resolve_job_def(CYCLE_JOB_NAME)
    subset = job.get_subset(
        asset_selection=frozenset(request.asset_selection or ()),
        asset_check_selection=frozenset(request.asset_check_keys or ()),
    )
    return subset.execute_in_process(
        instance=plant.instance,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        raise_on_error=False,
        run_config=QUIET,
    )


def evaluate_follow_up(plant: Plant, failed: dg.ExecuteInProcessResult) -> list[dg.RunRequest] | dg.SkipReason:
    """Let the sensor look at a failed run."""
    context = dg.build_run_status_sensor_context(
        sensor_name=follow_up.name,
        dagster_instance=plant.instance,
        dagster_run=failed.dagster_run,
        dagster_event=failed.get_run_failure_event(),
    ).for_run_failure()
    found = follow_up(context)
    assert isinstance(found, (list, dg.SkipReason))
    return found


@dataclass
class Shrunk:
    """A pipeline whose list of clients shrinks between two cycles."""

    plant: Plant
    clients: Path

    def lose_clients(self) -> None:
        """Keep five entries of the file."""
        entries = yaml.safe_load(self.clients.read_text(encoding="utf-8"))
        self.clients.write_text(yaml.safe_dump(entries[:5], allow_unicode=True), encoding="utf-8")

    def find_clients(self) -> None:
        """Put the file back."""
        shutil.copy(PROJECT_DIR / "deploy" / "reference" / "clients.yaml", self.clients)

    def cycle(self, cycle: Cycle, *, actor: str = "") -> tuple[dg.ExecuteInProcessResult, list[dg.RunRequest]]:
        """Run a cycle as the schedule asks for it, or a person does; return what the sensor asks for when it fails."""
        request = cycle_request(cycle, cycle, purpose="cycle", run_key=f"cycle:{cycle}")
        if actor:  # Without one a cycle that is computed already is left alone.
            request = request.with_replaced_attrs(tags={**request.tags, tags.ACTOR: actor})
        result = run_request(self.plant, request)
        requests = [] if result.success else evaluate_follow_up(self.plant, result)
        assert isinstance(requests, list)
        return result, requests

    def heal(self, requests: list[dg.RunRequest]) -> list[bool]:
        """Execute what the sensor asked for."""
        return [run_request(self.plant, request).success for request in requests]


@pytest.fixture
def shrunk(plant: Plant, tmp_path: Path) -> Iterator[Shrunk]:
    folder = tmp_path / "reference"
    shutil.copytree(PROJECT_DIR / "deploy" / "reference", folder)
    with plant.with_environment(AO_REFERENCE_DIR=str(folder)) as changed:
        yield Shrunk(changed, folder / "clients.yaml")


def test_a_collapse_is_taken_back_and_held_and_the_cycle_is_published_degraded(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    before = plant.table(HEALTH)
    shrunk.lose_clients()

    result, requests = shrunk.cycle(SECOND)
    assert plant.table(HEALTH).num_rows == 5, "nothing collapsed: the rest proves nothing"
    assert [request.run_key for request in requests] == [
        f"revert:{HEALTH}:{result.run_id}",
        f"follow-up:{result.run_id}",
    ]
    healed = shrunk.heal(requests)

    assert (result.success, healed) == (False, [True, True])
    assert [request.tags["ao/purpose"] for request in requests] == ["revert", "follow-up"]
    assert plant.table(HEALTH).equals(before)
    with plant.store() as store:
        newest, refused, good = store.bundles(asset=HEALTH, limit=3)
        holds = store.holds()
        breaker = store.breakers.get(HEALTH)
    assert (newest.kind, newest.target_id, newest.actor) == ("revert", good.bundle_id, "engine")
    assert (newest.state_hash_after, refused.row_count_after) == (good.state_hash_after, 5)
    assert holds == {HEALTH: newest.reason}
    assert (breaker.state.value, breaker.forced_until_us, breaker.reason) == ("open", None, newest.reason)
    assert "row_count_has_not_collapsed failed in run" in newest.reason
    report = plant.report(SECOND)
    assert (report["recorded"], report["holds"]) == ("degraded", [HEALTH])
    assert plant.facts("snapshot/agency")["ao/bundle"]
    assert HEALTH in plant.trust()["stale_sources"]
    assert plant.findings() == []


def test_later_cycles_go_on_without_the_held_asset_until_it_is_released(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    before = plant.table(HEALTH)
    shrunk.lose_clients()
    shrunk.heal(shrunk.cycle(SECOND)[1])

    later, nothing = shrunk.cycle(THIRD)

    assert (later.success, nothing) == (True, [])
    assert dg.AssetKey(HEALTH.split("/")) not in {event.asset_key for event in later.get_asset_materialization_events()}
    assert (plant.report(THIRD)["recorded"], plant.table(HEALTH).equals(before)) == ("degraded", True)
    shrunk.find_clients()
    released = CliRunner().invoke(main, ["hold", "release", HEALTH])
    assert released.exit_code == 0, released.output
    healed, nothing = shrunk.cycle(FOURTH)
    assert (healed.success, nothing, plant.report(FOURTH)["recorded"]) == (True, [], "success")
    assert HEALTH not in plant.trust()["stale_sources"]
    with plant.store() as store:
        assert store.breakers.get(HEALTH).state.value == "closed"
        assert store.bundles(asset=HEALTH, limit=1)[0].cycle == FOURTH.key


def test_a_hold_released_too_early_ends_in_the_good_state_again(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    before = plant.table(HEALTH)
    shrunk.lose_clients()
    shrunk.heal(shrunk.cycle(SECOND)[1])
    with plant.store() as store:
        store.release(HEALTH)

    _, requests = shrunk.cycle(THIRD)
    with plant.store() as store:
        history = store.bundles(asset=HEALTH)
    healed = shrunk.heal(requests)

    assert [header.kind for header in history] == ["materialize", "revert", "materialize", "materialize"]
    assert last_good(history, history[0]) == history[3], "a computation that was refused before counts as good"
    assert (healed, plant.table(HEALTH).equals(before)) == ([True, True], True)
    with plant.store() as store:
        assert list(store.holds()) == [HEALTH]


def test_a_real_shrink_is_accepted_by_a_person_and_stays(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    shrunk.lose_clients()
    shrunk.heal(shrunk.cycle(SECOND)[1])
    with plant.store() as store:
        store.release(HEALTH)
        store.accept_size(HEALTH, actor="somebody")

    _, requests = shrunk.cycle(THIRD)

    with plant.store() as store:
        head = store.bundles(asset=HEALTH, limit=1)[0]
        assert (head.kind, store.holds()) == ("materialize", {})
    assert requests == []
    assert len(plant.table(HEALTH)) == head.row_count_after < 10


def test_the_same_partition_computed_again_and_collapsed_returns_to_an_earlier_cycle(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    shrunk.cycle(SECOND)
    before = plant.table(HEALTH)
    shrunk.lose_clients()

    _, requests = shrunk.cycle(SECOND, actor="ana")
    shrunk.heal(requests)

    assert requests[0].partition_key == FIRST.key
    assert plant.table(HEALTH).equals(before)


def test_a_cycle_from_the_terminal_takes_back_what_was_refused_as_well(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    before = plant.table(HEALTH)
    shrunk.lose_clients()

    outcome = plant.cycle(SECOND)

    assert (outcome.status, plant.table(HEALTH).equals(before)) == ("degraded", True)
    with plant.store() as store:
        assert list(store.holds()) == [HEALTH]


def test_without_an_earlier_state_the_asset_is_only_held(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    shrunk.lose_clients()

    _, requests = shrunk.cycle(
        FIRST, actor="ana"
    )  # The refused bundle has the first cycle's own name: nothing lies before it.

    assert [request.tags["ao/purpose"] for request in requests] == ["follow-up"]
    with plant.store() as store:
        assert store.holds()[HEALTH].endswith("there is no earlier state to return to")


def test_a_failed_revert_is_not_followed_up(shrunk: Shrunk) -> None:
    plant = shrunk.plant
    result = plant.execute(FIRST, "notify/deliveries", ao__purpose="revert", ao__cycle=FIRST.key)

    assert not result.success
    assert isinstance(evaluate_follow_up(plant, result), dg.SkipReason)
