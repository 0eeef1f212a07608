"""Every source hangs at once: the run ends in time, publishes what it has, and says what is stale. Scaled down ten times."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from dagster._core.execution.plan.active import ActiveExecution

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.defs import limits
from ao_pipeline.resilience.limits import Stage
from ao_pipeline_tests.pipeline.plant import SECOND, THIRD, Plant, errors_of

SOURCES = sorted(set(SANDBOX_PATHS) - {"webhook", "xero_token"})
COLLECT_SECONDS = 28.0
OVERSHOOT_SECONDS = 1.5
"""From the end of a step's time to the end of the step: a look of the watchdog, and rolling back on a busy machine."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of seconds instead of minutes, and no half minute before a step's own retry."""
    stages = {Stage.COLLECT: COLLECT_SECONDS, Stage.DERIVE: 60.0, Stage.PUBLISH: 60.0}
    monkeypatch.setattr("ao_pipeline.resilience.limits.STAGE_SECONDS", MappingProxyType(stages))
    monkeypatch.setattr("ao_pipeline.resilience.limits.RESERVE_SECONDS", 2.5)
    monkeypatch.setattr("ao_pipeline.resilience.limits.SHORTEST_SECONDS", 0.2)
    monkeypatch.setattr("ao_pipeline.resilience.limits.COLLECTOR_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "COLLECTOR_GRACE_SECONDS", 0.2)
    up_for_retry = ActiveExecution.mark_up_for_retry
    monkeypatch.setattr(ActiveExecution, "mark_up_for_retry", lambda self, key, _at_time=None: up_for_retry(self, key))


@pytest.mark.usefixtures("hasty")
def test_a_cycle_in_which_every_source_hangs_publishes_in_time_and_says_what_is_stale(plant: Plant) -> None:
    with plant.with_environment(AO_READ_TIMEOUT_SECONDS="3", AO_SOURCE_BUDGET_SECONDS="30") as slow:
        for source in SOURCES:
            plant.box.fault(source, "hang")

        outcome = slow.cycle(SECOND)

    failed = set(errors_of(outcome))
    assert {asset for asset in failed if not asset.startswith("raw/")} == set()
    assert {asset.split("/")[1].split("_")[0] for asset in failed} == set(SOURCES)
    assert outcome.status == "degraded"
    assert plant.trust()["stale_sources"] == SOURCES
    assert limits.collecting_seconds(outcome.run_id) < COLLECT_SECONDS + OVERSHOOT_SECONDS * len(SOURCES)
    plant.box.clear_faults()
    assert plant.cycle(THIRD).status == "success"
    assert plant.findings() == []


@pytest.mark.usefixtures("hasty")
def test_a_source_that_works_is_collected_although_all_others_hang(plant: Plant) -> None:
    """Xero comes last, when the others have used up what they may."""
    with plant.with_environment(AO_READ_TIMEOUT_SECONDS="3", AO_SOURCE_BUDGET_SECONDS="30") as slow:
        for source in set(SOURCES) - {"xero"}:
            plant.box.fault(source, "hang")

        outcome = slow.cycle(SECOND)

    assert {a: e for a, e in errors_of(outcome).items() if "xero" in a or not a.startswith("raw/")} == {}
    assert plant.trust()["stale_sources"] == sorted(set(SOURCES) - {"xero"})
