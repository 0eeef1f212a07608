"""An upstream that stays down, through real cycles: three failed ones, left alone, probed, five good probes, back."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.defs.jobs import cycle_request
from ao_pipeline.defs.operate import CycleOutcome
from ao_pipeline.defs.operations import close_cycle
from ao_pipeline.defs.origin import collect_from_origin
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, errors_of

XERO = {spec.asset for spec in RAW_TABLES if spec.asset.startswith("raw/xero_")}
OTHERS = {spec.asset for spec in ALL_SPECS} - XERO

FAILING = (0, 1, 2)
FAILED_PROBE = 3
LEFT_ALONE = 4
GOOD_PROBES = (5, 6, 7, 8, 9)
BACK = 10
"""Numbers of the story's cycles; a failed probe doubles the wait, so cycle 4 has none."""


@dataclass
class Seen:
    """What one cycle left behind."""

    outcome: CycleOutcome
    report: dict[str, Any]
    stale: list[str]
    tags: dict[str, str]
    breakers: dict[str, str]
    requests: int

    @property
    def ran(self) -> set[str]:
        return {item.asset for item in self.outcome.assets}


@dataclass
class Story:
    plant: Plant
    cycles: list[Seen] = field(default_factory=list)

    def tell(self) -> None:
        """Run all cycles; Xero is down from the first one until the failed probe is over."""
        self.plant.box.fault("xero", "status", status=503)
        for number in range(BACK + 1):
            if number == GOOD_PROBES[0]:
                self.plant.box.clear_faults()
            cycle = SECOND.shift(number)
            outcome = self.plant.cycle(cycle)
            run = next(run for run in self.plant.instance.get_runs() if run.run_id == outcome.run_id)
            with self.plant.store() as store:
                stood = store.breakers.all()
                runs = [run.run_id for run in self.plant.instance.get_runs()]
                for _ in range(2):
                    close_cycle(store, self.plant.settings, first=cycle, last=cycle, run_id=outcome.run_id, runs=runs)
                assert store.breakers.all() == stood, "closing a cycle again fed its breakers again"
                breakers = {item.name: item.state.value for item in store.breakers.all()}
                failed = len(store.failures.latest(limit=1000))
                assert store.breakers.findings() == []
            self.cycles.append(
                Seen(
                    outcome,
                    self.plant.report(cycle),
                    self.plant.trust()["stale_sources"],
                    dict(run.tags),
                    breakers,
                    failed,
                )
            )


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Take the waits out of calls and steps: how often something is tried stays the same."""
    up_for_retry = ActiveExecution.mark_up_for_retry
    patch.setattr(ActiveExecution, "mark_up_for_retry", lambda self, key, _at_time=None: up_for_retry(self, key))
    patch.setattr("ao_pipeline.clock.sleep", lambda _seconds: None)


@pytest.fixture(scope="module")
def story(story_plant: Plant) -> list[Seen]:
    with pytest.MonkeyPatch.context() as patch:
        without_waiting(patch)
        told = Story(story_plant)
        told.tell()
    return told.cycles


def test_a_job_that_fails_in_three_cycles_in_a_row_is_not_selected_any_more(story: list[Seen]) -> None:
    assert [set(errors_of(story[number].outcome)) for number in FAILING] == [XERO] * 3
    assert [story[number].breakers["source:xero"] for number in FAILING] == ["closed", "closed", "open"]
    assert all(story[2].breakers[asset] == "open" for asset in XERO)
    assert not XERO & story[LEFT_ALONE].ran


def test_everything_else_runs_in_every_cycle(story: list[Seen]) -> None:
    for seen in story:
        late = {item.asset for item in seen.outcome.assets if item.status != "ok"} - XERO
        assert late == set()
        assert {asset for asset in OTHERS if not asset.startswith("raw/")} <= seen.ran


def test_what_is_left_out_is_named_in_tag_record_and_report(story: list[Seen]) -> None:
    seen = story[LEFT_ALONE]

    assert seen.report["left_out"] == dict.fromkeys(sorted(XERO), "source:xero")
    assert seen.report["breakers"]["source:xero"] == "open"
    assert seen.tags["ao/breakers"] == "source:xero"
    assert (seen.outcome.status, seen.outcome.left_out) == ("degraded", seen.report["left_out"])


def test_the_snapshot_says_that_a_source_left_out_is_stale(story: list[Seen]) -> None:
    assert [seen.stale for seen in story[:BACK]] == [["xero"]] * BACK
    assert story[BACK].stale == []


def test_one_asset_alone_probes_for_its_source(story: list[Seen]) -> None:
    probes = [XERO & story[number].ran for number in (FAILED_PROBE, *GOOD_PROBES)]

    assert [len(assets) for assets in probes] == [1] * 6
    assert story[FAILED_PROBE].tags["ao/probes"] in XERO
    assert story[FAILED_PROBE].breakers["source:xero"] == "open"
    assert set.union(*probes[1:]) == XERO, "the stale ones take turns"


def test_an_open_breaker_spares_the_upstream_its_tries(story: list[Seen]) -> None:
    tries = [later.requests - earlier.requests for earlier, later in pairwise(story)]

    assert tries[:2] == [2 * len(XERO)] * 2
    assert tries[FAILED_PROBE - 1 :] == [2] + [0] * 7


def test_it_closes_after_five_good_probes_and_everything_is_fresh_again(story: list[Seen]) -> None:
    assert [story[number].breakers["source:xero"] for number in GOOD_PROBES] == ["half_open"] * 4 + ["closed"]
    assert XERO - story[BACK].ran <= {item for item in XERO if story[BACK].breakers[item] != "closed"}
    assert (story[BACK].outcome.status, story[BACK].report["left_out"]) == ("success", {})


def xero_in(request: dg.RunRequest) -> set[str]:
    return {"/".join(key.path) for key in request.asset_selection or ()} & XERO


def test_of_two_requests_for_a_cycle_one_carries_the_probe_and_keeps_it(plant: Plant) -> None:
    due = int(FIRST.end.timestamp()) * 1_000_000
    with plant.store() as store:
        opened = BreakerEvent(EventKind.FORCED_OPEN, due, until_us=due, reason="their maintenance")
        store.breakers.record({"source:xero": opened})

    requests = [cycle_request(SECOND, SECOND, purpose="cycle", run_key=key) for key in ("a", "b", "a")]

    assert [len(xero_in(request)) for request in requests] == [1, 0, 1]
    assert xero_in(requests[0]) == xero_in(requests[2]) == {requests[0].tags["ao/probes"]}
    assert requests[1].tags["ao/breakers"] == "source:xero"
    assert {"/".join(key.path) for key in requests[1].asset_selection or ()} >= OTHERS


def test_the_outcome_of_a_run_that_died_leaves_the_probe_to_a_later_cycle(plant: Plant) -> None:
    due = int(FIRST.end.timestamp()) * 1_000_000
    with plant.store() as store:
        store.breakers.record({"source:xero": BreakerEvent(EventKind.FORCED_OPEN, due, until_us=due)})

    probes = [
        xero_in(cycle_request(cycle, cycle, purpose="cycle", run_key=cycle.key))
        for cycle in (SECOND, SECOND.shift(1), SECOND.shift(2), SECOND.shift(3))
    ]

    assert [len(assets) for assets in probes] == [1, 0, 1, 0]


def test_nothing_is_written_about_breakers_while_all_is_well(plant: Plant) -> None:
    assert plant.cycle(SECOND).status == "success"

    with plant.store() as store:
        assert (store.breakers.all(), store.failures.latest()) == ([], [])
    assert plant.report(SECOND)["breakers"] == {}


def test_refused_credentials_feed_no_breaker(plant: Plant) -> None:
    plant.box.fault("xero", "status", status=401)

    assert set(errors_of(plant.cycle(SECOND))) == XERO

    with plant.store() as store:
        assert store.breakers.all() == []
        assert {(item.error, item.category, item.attempt) for item in store.failures.latest()} == {
            ("AuthError", "permanent", 1)
        }


def test_a_bug_is_recorded_by_class_and_place_without_its_message(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: TableSpec, **others: Any) -> Collected:
        if spec.asset == "raw/people_contacts":
            raise KeyError("row of a client's secret plans")
        return collect_from_origin(spec, **others)

    without_waiting(monkeypatch)
    monkeypatch.setattr("ao_pipeline.defs.collect.collect_from_origin", broken)

    plant.cycle(SECOND)

    with plant.store() as store:
        failures = store.failures.latest("raw/people_contacts")
        state = store.breakers.get("raw/people_contacts")
    assert {(item.error, item.category) for item in failures} == {("KeyError", "bug")}
    assert [item.attempt for item in failures] == [2, 1]
    assert all("raised at ao_pipeline/defs/collect.py:" in item.message for item in failures)
    assert "secret" not in str(failures) + state.reason
    assert state.failures == 1


def test_a_store_that_cannot_record_a_failure_does_not_hide_it(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("ao_pipeline.adapters.state.failures.FailureLog.record", refuse)
    plant.box.fault("xero", "status", status=401)

    outcome = plant.cycle(SECOND)

    assert set(errors_of(outcome)) == XERO
    assert all("401" in text for text in errors_of(outcome).values())


@pytest.mark.parametrize("place", ["admit", "tell"])
def test_a_bug_in_the_breakers_does_not_stop_the_cycle_and_is_visible(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def broken(*_arguments: object, **_named: object) -> None:
        raise KeyError("a bug")

    target = "ao_pipeline.defs.breakers._admit" if place == "admit" else "ao_pipeline.defs.breakers._judge"
    monkeypatch.setattr(target, broken)

    outcome = plant.cycle(SECOND)

    assert outcome.status == "success"
    if place == "admit":
        assert plant.instance.get_runs()[0].tags["ao/breakers"] == "KeyError"
    else:
        assert plant.report(SECOND)["trouble"] == "circuit breakers were not told: KeyError"
