"""The stale-state sensor over real stores: whom it heals, and whom it never fights."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from ao_pipeline.defs.heal_stale import heal_stale
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.resilience.breaker_state import Phase
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant

ASSET = "truth/capacity"


@pytest.fixture
def healer(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Healer:
    """The sensor over a store with two good cycles."""
    found = Healer(plant, monkeypatch)
    found.cycle(SECOND)
    return found


class Healer:
    """The sensor at chosen instants."""

    def __init__(self, plant: Plant, patch: pytest.MonkeyPatch) -> None:
        self.plant = plant
        self.patch = patch

    def set_clock(self, instant: datetime) -> None:
        """Let it be `instant`."""
        self.patch.setattr("ao_pipeline.clock.utc_now", lambda: instant)

    def cycle(self, cycle: object) -> None:
        """Run a cycle just after its window closed."""
        self.set_clock(cycle.end + timedelta(seconds=20))  # type: ignore[attr-defined]
        self.plant.cycle(cycle)  # type: ignore[arg-type]

    def ask(self, minutes: float) -> set[str]:
        """Evaluate so long after the second cycle's end; return what is asked for."""
        self.set_clock(SECOND.end + timedelta(minutes=minutes))
        answer = heal_stale(dg.build_sensor_context(instance=self.plant.instance))
        if isinstance(answer, dg.SkipReason):
            self.reason = str(answer.skip_message)
            return set()
        assert isinstance(answer, dg.RunRequest)
        self.request = answer
        return {"/".join(key.path) for key in answer.asset_selection or ()}


def make_stale(healer: Healer, asset: str) -> None:
    """Take an asset back to the first cycle as the engine does, and release the hold that came with it."""
    result = healer.plant.execute(FIRST, asset, raises=True, ao__purpose="revert", ao__actor="engine")
    assert result.success


def test_all_well_asks_for_nothing(healer: Healer) -> None:
    assert healer.ask(6) == set()
    assert "nothing is stale" in healer.reason


def test_a_state_of_an_earlier_cycle_is_computed_again_though_it_was_written_just_now(healer: Healer) -> None:
    make_stale(healer, ASSET)

    assert healer.ask(6) == {ASSET}
    assert healer.request.tags["ao/reason"] == f"stale: {ASSET}"
    result = healer.plant.execute_request(healer.request)

    assert result.success
    with healer.plant.store() as store:
        head = store.head(ASSET)
        assert head is not None
        assert head.state_cycle == SECOND.key
        assert [request.reason for request in store.healing.latest()] == [f"its state is as of {FIRST.key}"]
    assert healer.ask(8) == set()


def test_a_failed_freshness_policy_requests_the_asset_again(healer: Healer, monkeypatch: pytest.MonkeyPatch) -> None:
    late = {dg.AssetKey(["norm", "tasks"]): SimpleNamespace(freshness_state=SimpleNamespace(value="FAIL"))}
    monkeypatch.setattr(type(healer.plant.instance), "get_freshness_state_records", lambda _self, _keys: late)

    assert healer.ask(6) == {"norm/tasks"}


def test_a_human_revert_is_left_alone_until_the_next_cycle(healer: Healer) -> None:
    healer.plant.execute(FIRST, ASSET, raises=True, ao__purpose="revert", ao__actor="amal")

    assert healer.ask(6) == set()
    assert "amal reverted it" in healer.reason
    healer.cycle(THIRD)
    with healer.plant.store() as store:
        head = store.head(ASSET)
        assert head is not None
        assert head.state_cycle == THIRD.key


def test_a_revert_in_the_ui_is_left_alone_too(healer: Healer) -> None:
    healer.plant.execute(FIRST, ASSET, raises=True)

    assert healer.ask(6) == set()
    assert "dagster reverted it" in healer.reason


def test_a_held_asset_is_left_alone(healer: Healer) -> None:
    make_stale(healer, ASSET)
    with healer.plant.store() as store:
        store.hold(ASSET, reason="rule under repair", actor="amal")

    assert healer.ask(6) == set()
    assert "on hold" in healer.reason


def test_a_stale_asset_is_not_requested_while_its_breaker_is_open(healer: Healer) -> None:
    make_stale(healer, ASSET)
    with healer.plant.store() as store:
        store.breakers.force(ASSET, Phase.OPEN, reason="x", actor="amal", until_us=None)

    assert healer.ask(6) == set()
    assert "breaker" in healer.reason


def test_a_failed_asset_waits_for_its_next_cycle(healer: Healer) -> None:
    healer.plant.box.fault("asana", "status", status=401)
    healer.cycle(THIRD)

    healer.set_clock(THIRD.end + timedelta(minutes=6))
    answer = heal_stale(dg.build_sensor_context(instance=healer.plant.instance))

    assert isinstance(answer, dg.SkipReason)
    assert "it failed in this cycle" in str(answer.skip_message)


def test_nothing_is_asked_for_while_a_run_of_a_cycle_is_live(healer: Healer) -> None:
    make_stale(healer, ASSET)
    job = build_definitions().resolve_job_def("cycle")
    healer.plant.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"ao/cycle": SECOND.key})

    assert healer.ask(6) == set()


def test_a_request_that_heals_nothing_is_repeated_once_in_its_cycle(healer: Healer) -> None:
    make_stale(healer, ASSET)

    asked = [minute for minute in range(2, 12) if healer.ask(minute)]

    assert len(asked) == 2
    assert healer.request.run_key == f"heal:{SECOND.key}:2"
