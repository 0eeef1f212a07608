"""A run's process dies by SIGKILL in the middle of a cycle: nothing is half applied, and the next one is good."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg

from ao_pipeline.clock import monotonic_seconds, sleep
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.doomed import whole_cycle
from ao_pipeline_tests.pipeline.plant import QUIET, SECOND, THIRD, Plant

LONGEST_WAIT_SECONDS = 60


def kill_in_the_middle(plant: Plant, history: Path, *, hangs_at: str) -> None:
    """Start a cycle, wait until it asks `hangs_at`, which never answers, and kill it there."""
    history.mkdir()
    plant.box.fault(hangs_at, "hang", count=1)
    command = [sys.executable, "-W", "ignore", "-m", "ao_pipeline_tests.pipeline.doomed", SECOND.key, str(history)]
    log = history.with_suffix(".log")
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=PROJECT_DIR, stdout=output, stderr=output)
    try:
        limit = monotonic_seconds() + LONGEST_WAIT_SECONDS
        while not plant.box.state()["fault_hits"]:
            assert child.poll() is None, f"the cycle ended before it reached the fault: {log.read_text()[-2_000:]}"
            assert monotonic_seconds() < limit, "the cycle never reached the fault"
            sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    plant.box.clear_faults()


def test_a_kill_leaves_no_half_applied_table_and_the_next_cycle_is_good(plant: Plant, tmp_path: Path) -> None:
    plant.box.advance(60)
    task = plant.table("raw/asana_tasks").to_pylist()[0]["task_gid"]
    plant.box.mutate("task", "update", key=task, name="Changed before the kill")

    kill_in_the_middle(plant, tmp_path / "history", hangs_at="xero")

    assert plant.findings() == []
    assert plant.report(SECOND)["recorded"] == "open"
    with plant.store() as store:
        done = {header.asset for header in store.bundles(cycle=SECOND, limit=1_000)}
    assert "snapshot/agency" not in done
    outcome = plant.cycle(THIRD)
    assert outcome.status == "success"
    assert plant.findings() == []
    assert "Changed before the kill" in plant.table("raw/asana_tasks").column("name").to_pylist()


def test_a_retry_of_the_killed_run_finds_the_bundles_that_it_committed(plant: Plant, tmp_path: Path) -> None:
    kill_in_the_middle(plant, tmp_path / "history", hangs_at="xero")
    with plant.store() as store:
        committed = {header.asset: header.bundle_id for header in store.bundles(cycle=SECOND, limit=1_000)}
    assert committed, "the kill came before the first commit: nothing to find again"

    with dg.DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        (killed,) = instance.get_runs()
        result = dg.execute_job(
            dg.reconstructable(whole_cycle),
            instance=instance,
            run_config=QUIET,
            tags=dict(killed.tags),
            reexecution_options=dg.ReexecutionOptions(parent_run_id=killed.run_id),
        )
        assert result.success
        again = replace(plant, instance=instance)
        facts = {asset: again.facts(asset) for asset in committed}

    assert {asset: fact["ao/bundle"] for asset, fact in facts.items()} == committed
    assert {asset: fact.get("ao/replayed") for asset, fact in facts.items()} == dict.fromkeys(committed, True)
    assert plant.report(SECOND)["recorded"] == "success"
    assert plant.findings() == []
