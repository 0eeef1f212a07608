"""docs/retries.md against the real configuration, and the standing check that finds what is tried for ever."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
import yaml

from ao_pipeline import clock
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.defs import lost_retries
from ao_pipeline.defs.auto_revert import MAX_REVERTS
from ao_pipeline.defs.catch_up import MAX_ATTEMPTS
from ao_pipeline.defs.failures import STEP_RETRY
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.retries import nothing_retries_for_ever, read_tries
from ao_pipeline.notify.policy import DEFAULT_NOTIFY_POLICY
from ao_pipeline.resilience import retries
from ao_pipeline.resilience.breaker_state import POLICY
from ao_pipeline.resilience.conditions import Condition, IncidentKind
from ao_pipeline.resilience.incidents import DEFAULT_ALERT_POLICY
from ao_pipeline.resilience.retries import Tries, endless
from ao_pipeline.resilience.stale_states import DEFAULT_HEAL_POLICY
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline_tests.pipeline.plant import FIRST, Plant

MAP = (PROJECT_DIR / "docs" / "retries.md").read_text(encoding="utf-8")
SYSTEMS = ("call", "step", "run", "follow-up", "next cycle", "breaker", "outbox")


def rows_of_map() -> dict[str, list[str]]:
    """Return the cells of each row of the map by its failure."""
    lines = [line for line in MAP.splitlines() if line.startswith("| ") and not line.startswith("| failure")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if len(row) == len(SYSTEMS) + 1}


@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/dagster-postgres/dagster.yaml"])
def test_dagsters_run_retries_are_for_infrastructure_only(file: str) -> None:
    configured = yaml.safe_load((PROJECT_DIR / file).read_text(encoding="utf-8"))["run_retries"]

    assert configured == {
        "enabled": True,
        "max_retries": retries.RUN_RETRIES,
        "retry_on_asset_or_op_failure": False,
    }


def test_every_step_has_the_one_step_retry() -> None:
    job = build_definitions().resolve_job_def("cycle")
    policies = {node.name: node.definition.retry_policy for node in job.nodes}  # type: ignore[attr-defined]
    tables = {spec.asset.replace("/", "__") for spec in ALL_SPECS}

    assert {name for name, policy in policies.items() if policy == STEP_RETRY} >= tables
    assert {policy for policy in policies.values() if policy is not None} == {STEP_RETRY}
    assert (STEP_RETRY.max_retries + 1, STEP_RETRY.delay) == (retries.STEP_ATTEMPTS, 30)


def test_no_job_has_a_retry_of_its_own() -> None:
    for name in ("cycle", "checks"):
        job = build_definitions().resolve_job_def(name)
        assert not {"dagster/max_retries", "dagster/retry_strategy"} & set(job.tags)


def test_the_recovery_sensor_asks_as_often_as_the_map_says() -> None:
    assert lost_retries.MAX_REQUESTS == retries.LOST_RETRIES
    assert MAX_ATTEMPTS + 1 + retries.RUN_RETRIES + DEFAULT_HEAL_POLICY.per_cycle <= retries.CYCLE_RUNS


def test_the_map_names_the_numbers_in_force() -> None:
    numbers = {
        "call_attempts": Settings().call_attempts,
        "step_attempts": retries.STEP_ATTEMPTS,
        "step_delay_seconds": STEP_RETRY.delay,
        "run_retries": retries.RUN_RETRIES,
        "lost_retries": retries.LOST_RETRIES,
        "catch_up_runs": MAX_ATTEMPTS,
        "revert_runs": MAX_REVERTS,
        "failures_to_open": POLICY.failures_to_open,
        "notification_attempts": DEFAULT_NOTIFY_POLICY.max_attempts,
        "alert_attempts": DEFAULT_ALERT_POLICY.max_attempts,
        "heal_requests_per_cycle": DEFAULT_HEAL_POLICY.per_cycle,
        "heal_requests": DEFAULT_HEAL_POLICY.most,
    }

    written = {name: int(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", MAP, re.MULTILINE)}

    assert written == numbers


def test_exactly_one_system_retries_each_failure_at_each_moment() -> None:
    """A cell is a step of one ladder: two systems of the same rung would multiply their tries."""
    rows = rows_of_map()

    assert len(rows) >= 12
    for failure, cells in rows.items():
        rungs = [int(cell.split(".")[0]) for cell in cells if re.match(r"\d\.", cell)]
        assert len(rungs) == len(set(rungs)), f"{failure}: two systems try at the same time"
        assert rungs or "none" in cells, f"{failure}: say who retries, or that nobody does"


def test_a_permanent_failure_is_retried_by_no_call_step_or_run() -> None:
    rows = {failure: cells for failure, cells in rows_of_map().items() if "permanent" in failure}

    assert len(rows) >= 3
    for failure, cells in rows.items():
        assert not any(re.match(r"\d\.", cell) for cell in cells[:3]), failure


@pytest.mark.parametrize(
    ("tries", "named"),
    [
        (Tries(runs_by_cycle={"2026-11-20-10:00": retries.CYCLE_RUNS + 1}), "cycle 2026-11-20-10:00"),
        (Tries(chains={"0123456789": retries.CHAIN_RUNS + 1}), "run 01234567"),
        (Tries(steps={("raw/xero_invoices", "r"): retries.STEP_ATTEMPTS + 1}), "raw/xero_invoices"),
        (Tries(refused_cycles={"raw/xero_invoices": retries.REFUSED_CYCLES}), "failed for good"),
        (Tries(waiting_messages=8, message_attempts=8), "a message"),
        (Tries(healings={"truth/capacity": 8}, heal_attempts=8), "truth/capacity"),
        (Tries(failing_ticks={"catch_up": "boom"}), "catch_up fails at every tick"),
    ],
)
def test_whatever_is_tried_beyond_its_bound_is_found(tries: Tries, named: str) -> None:
    (found,) = endless(tries)

    assert named in found


def test_what_stays_within_its_bounds_is_not_found() -> None:
    at_bounds = Tries(
        runs_by_cycle={"c": retries.CYCLE_RUNS},
        chains={"r": retries.CHAIN_RUNS},
        steps={("a", "r"): retries.STEP_ATTEMPTS},
        refused_cycles={"a": retries.REFUSED_CYCLES - 1},
        waiting_messages=7,
        message_attempts=8,
        healings={"a": 7},
        heal_attempts=8,
    )

    assert endless(at_bounds) == []


def test_the_standing_check_reads_a_real_store_and_passes_on_a_healthy_one(plant: Plant) -> None:
    with plant.store() as store:
        tries = read_tries(store, plant.instance, now=clock.utc_now())

    assert endless(tries) == []
    assert nothing_retries_for_ever.check_key in {
        key
        for check in build_definitions().asset_checks or ()
        for key in check.check_keys  # type: ignore[union-attr]
    }


def test_the_standing_check_finds_planted_loops(plant: Plant) -> None:
    now = clock.utc_now()
    job = build_definitions().resolve_job_def("cycle")
    for _ in range(retries.CYCLE_RUNS + 1):
        tags = {"ao/cycle": FIRST.key, "ao/purpose": "catch-up"}
        plant.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    with plant.store() as store:
        for attempt in range(DEFAULT_HEAL_POLICY.most):
            at_us = clock.to_micros(now + timedelta(minutes=attempt))
            store.healing.record(FIRST, {"truth/capacity": "stale"}, attempt=attempt + 1, now_us=at_us)
        store.incidents.record([Condition(IncidentKind.CYCLE_FAILED, "cycle", "x")], now_us=clock.to_micros(now))
        (alert,) = store.incidents.due_alerts(now_us=clock.to_micros(now))
        looping = replace(alert, attempts=DEFAULT_ALERT_POLICY.max_attempts + 5)
        endless_policy = replace(DEFAULT_ALERT_POLICY, max_attempts=1_000)
        store.incidents.mark_tried(looping, now_us=0, error="TransientError", policy=endless_policy)

        found = endless(read_tries(store, plant.instance, now=now))

    assert [sentence.split()[0] for sentence in found] == ["cycle", "a", "truth/capacity"]
