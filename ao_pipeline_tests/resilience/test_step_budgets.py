"""How the steps of a run share its time: whatever hangs, the run ends in time and nobody takes another's turn."""

from __future__ import annotations

from random import Random

import pytest
import yaml

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.resilience.limits import (
    RESERVE_SECONDS,
    STAGE_SECONDS,
    RunBudget,
    Stage,
    longest_run_seconds,
    memory_mib,
    source_of,
    stage_of,
)
from ao_pipeline.settings import PROJECT_DIR, Settings

RAW = [spec.asset for spec in RAW_TABLES]
SOURCES = {source_of(asset) for asset in RAW}
BUDGET_SECONDS = Settings.model_fields["source_budget_seconds"].default


def everything_hangs(order: list[str], *, collector_seconds: float = BUDGET_SECONDS, retried: bool = True) -> float:
    """Return the time of a run in which each step takes all that it may, collectors twice."""
    budget = RunBudget(RAW, collector_seconds)
    total = 0.0
    for asset in order + ([a for a in order if source_of(a)] if retried else []):
        seconds = budget.allow(asset)
        budget.spend(asset, seconds)
        total += seconds
    return total


@pytest.mark.parametrize("path", ["dagster.yaml", "deploy/dagster-postgres/dagster.yaml"])
def test_a_run_in_which_everything_hangs_ends_before_dagster_ends_it(path: str) -> None:
    monitoring = yaml.safe_load((PROJECT_DIR / path).read_text())["run_monitoring"]

    assert longest_run_seconds() <= monitoring["max_runtime_seconds"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("collector_seconds", [20.0, BUDGET_SECONDS, 3_600.0])
def test_a_cycle_in_which_every_source_hangs_ends_in_time(seed: int, collector_seconds: float) -> None:
    """In whatever order the steps come, and whatever one collector may take by its setting."""
    order = [spec.asset for spec in ALL_SPECS] + ["ops/cycle_report"]
    Random(seed).shuffle(order)

    total = everything_hangs(order, collector_seconds=collector_seconds)

    assert total <= sum(STAGE_SECONDS.values())


@pytest.mark.parametrize("seed", range(20))
def test_hanging_sources_leave_the_others_their_time(seed: int) -> None:
    """One source works, its collectors come in any order among those that hang: each of them has its turn."""
    random = Random(seed)
    order = RAW.copy()
    random.shuffle(order)
    healthy = random.choice(sorted(SOURCES))
    budget = RunBudget(RAW, BUDGET_SECONDS)

    for asset in order:
        seconds = budget.allow(asset)
        if source_of(asset) == healthy:
            assert seconds >= RESERVE_SECONDS - 5, (seed, asset)
            seconds = 1.0
        budget.spend(asset, seconds)


def test_steps_that_end_late_do_not_take_the_turn_of_the_last_source() -> None:
    budget = RunBudget(RAW, BUDGET_SECONDS)
    for asset in RAW:
        if source_of(asset) != "xero" and (seconds := budget.allow(asset)):
            budget.spend(asset, seconds + 10)

    assert budget.allow("raw/xero_contacts") == RESERVE_SECONDS


def test_what_quick_sources_did_not_need_goes_to_whoever_comes_later() -> None:
    budget = RunBudget(RAW, BUDGET_SECONDS)
    last = "raw/xero_payments"
    for asset in RAW:
        if asset != last:
            budget.spend(asset, min(budget.allow(asset), 2.0))

    assert budget.allow(last) >= BUDGET_SECONDS


def test_a_healthy_run_gives_every_collector_its_whole_budget() -> None:
    budget = RunBudget(RAW, BUDGET_SECONDS)

    for asset in RAW:
        assert budget.allow(asset) >= BUDGET_SECONDS
        budget.spend(asset, 0.5)


def test_a_slow_stage_does_not_take_the_time_of_the_next_one() -> None:
    budget = RunBudget(RAW, BUDGET_SECONDS)
    for asset in RAW:
        budget.spend(asset, budget.allow(asset))

    assert budget.allow("raw/asana_tasks") == 0
    assert budget.allow("norm/tasks") == STAGE_SECONDS[Stage.DERIVE]
    assert budget.allow("snapshot/agency") == 30
    assert stage_of("ops/cycle_report") is Stage.PUBLISH


def test_the_cycles_report_has_its_turn_after_whatever_publishes_hangs() -> None:
    budget = RunBudget(RAW, BUDGET_SECONDS)
    for asset in ("snapshot/agency", "notify/deliveries"):
        budget.spend(asset, budget.allow(asset))

    assert budget.allow("ops/cycle_report") >= 5


def test_no_memory_limit_at_all_turns_off_those_of_single_assets_too() -> None:
    assert memory_mib("truth/commitments", default_mib=512) == 512
    assert memory_mib("truth/commitments", default_mib=0) == 0
