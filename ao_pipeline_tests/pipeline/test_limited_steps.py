"""Steps over their limits, in real cycles: each fails alone, the rest goes on, and the next cycle is good."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ao_pipeline.adapters.stuck_steps import MAX_MARKS, is_stuck, mark_stuck
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.defs import collect, limits
from ao_pipeline.defs.limits import STUCK_EXIT_CODE
from ao_pipeline.errors import StepLimitError, StepStalledError
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline.resilience.progress import beat
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.doomed import whole_cycle
from ao_pipeline_tests.pipeline.plant import QUIET, SECOND, THIRD, Plant, errors_of

HINDERED = "raw/chat_messages"


@pytest.fixture
def hinder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[str]]:
    """Let the collector of chat messages do something first; return what it then did, one entry an attempt."""

    def plant_it(body: Callable[[], Any]) -> list[str]:
        attempts: list[str] = []
        collect_as_always = collect.collect_from_origin

        def hindered(spec: TableSpec, **named: Any) -> Any:
            if spec.asset == HINDERED:
                attempts.append("began")
                body()
                attempts.append("went on")
            return collect_as_always(spec, **named)

        monkeypatch.setattr(collect, "collect_from_origin", hindered)
        return attempts

    return plant_it


def fails_alone(plant: Plant, attempts: list[str], message: str, *, undo: Callable[[], None]) -> None:
    """Run a cycle in which the hindered step must fail alone, once, and one after it that must be good."""
    before = plant.state_hashes()[HINDERED]

    outcome = plant.cycle(SECOND)

    assert attempts == ["began"], "it is not tried again in the same run"
    assert list(errors_of(outcome)) == [HINDERED], outcome
    assert message in errors_of(outcome)[HINDERED]
    assert outcome.status == "degraded"
    assert plant.state_hashes()[HINDERED] == before
    with plant.store() as store:
        assert {head.computed_cycle for head in store.heads().values() if head.asset != HINDERED} >= {SECOND.key}
    assert plant.trust()["stale_sources"] == ["chat"]
    undo()
    after = plant.cycle(THIRD)
    assert after.status == "success", after
    assert plant.findings() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_a_step_needs_more_memory_than_its_limit_it_alone_fails_and_the_rest_of_the_run_goes_on(
    plant: Plant, hinder: Callable[[Callable[[], Any]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with plant.with_environment(AO_STEP_MEMORY_MIB="384") as small:
        attempts = hinder(lambda: [b"x" * 2**20 for _ in range(2_000)])
        fails_alone(small, attempts, "raise AO_STEP_MEMORY_MIB", undo=monkeypatch.undo)


def test_a_step_makes_no_progress_it_alone_fails_and_the_rest_of_the_run_goes_on(
    plant: Plant, hinder: Callable[[Callable[[], Any]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "Allowance", partial(Allowance, stall_seconds=2.0))
    attempts = hinder(lambda: time.sleep(60))

    fails_alone(plant, attempts, "made no progress for 2 s", undo=monkeypatch.undo)


def test_a_step_that_takes_too_long_fails_alone_however_busy_it_is(
    plant: Plant, hinder: Callable[[Callable[[], Any]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ao_pipeline.resilience.limits.TIMEOUT_SECONDS", {HINDERED: 6.0})

    def busy() -> None:
        while True:
            time.sleep(0.01)
            beat()

    attempts = hinder(busy)

    fails_alone(plant, attempts, "took longer than the 6 s", undo=monkeypatch.undo)


def test_a_slow_but_healthy_step_is_left_alone(
    plant: Plant, hinder: Callable[[Callable[[], Any]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "Allowance", partial(Allowance, stall_seconds=1.5))

    def slow() -> None:
        for _ in range(40):
            time.sleep(0.1)
            beat()

    attempts = hinder(slow)

    outcome = plant.cycle(SECOND)

    assert outcome.status == "success", outcome
    assert attempts == ["began", "went on"]


def test_a_step_that_cannot_be_interrupted_costs_its_run_one_process_and_is_then_left_out(
    plant: Plant, tmp_path: Path
) -> None:
    """A real process that hangs where no signal reaches it ends itself; the run's retry leaves that step out."""
    history = tmp_path / "history"
    history.mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "ao_pipeline_tests.pipeline.stuck", SECOND.key, str(history)]

    died = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=200, check=False)

    assert died.returncode == STUCK_EXIT_CODE, died.stderr[-2_000:]
    assert "raw/chat_messages made no progress" in died.stderr
    with dg.DagsterInstance.local_temp(str(history)) as instance:
        (killed,) = instance.get_runs()
        result = dg.execute_job(
            dg.reconstructable(whole_cycle),
            instance=instance,
            run_config=QUIET,
            tags=dict(killed.tags),
            reexecution_options=dg.ReexecutionOptions(parent_run_id=killed.run_id),
            raise_on_error=False,
        )
        failed = {event.step_key: event for event in result.all_events if event.is_step_failure}
    assert list(failed) == ["raw__chat_messages"]
    assert "hung where nothing could interrupt it" in str(failed["raw__chat_messages"].step_failure_data)
    assert plant.cycle(THIRD).status == "success"
    assert plant.findings() == []


def test_a_step_that_kills_its_process_twice_is_left_out_and_the_rest_of_the_cycle_goes_on(
    plant: Plant, tmp_path: Path
) -> None:
    """Nothing is written of a step that dies with its process, so no failure and no breaker would ever stop it."""
    history = tmp_path / "history"
    history.mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "ao_pipeline_tests.pipeline.crashing", SECOND.key, str(history)]

    codes = [
        subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, timeout=200, check=False).returncode
        for _ in range(3)
    ]

    assert codes == [-9, -9, 0]
    with dg.DagsterInstance.local_temp(str(history)) as instance:
        (last,) = instance.get_runs(limit=1)
        failures = instance.get_records_for_run(last.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    assert last.status is dg.DagsterRunStatus.FAILURE
    (failed,) = [record.event_log_entry.dagster_event for record in failures]
    assert failed is not None
    assert failed.step_key == "raw__chat_messages"
    with plant.store() as store:
        assert [item.asset for item in store.failures.latest()] == ["raw/chat_messages"], "it feeds no breaker"
    marks = [mark.name for mark in (plant.settings.data_path / "stuck_steps").iterdir()]
    assert [name for name in marks if "chat_messages" not in name] == []


def test_a_step_that_cannot_be_interrupted_ends_its_process_on_a_full_disk_too(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []

    @contextmanager
    def give_up_at_once(
        _allowance: Allowance, *, abort: Callable[[], None], die: Callable[[StepLimitError], None]
    ) -> Iterator[None]:
        del abort
        die(StepStalledError("truth/capacity made no progress for 60 s"))
        yield

    monkeypatch.setattr(limits.WATCHDOG, "watching", give_up_at_once)
    monkeypatch.setattr(limits, "os", SimpleNamespace(write=os.write, _exit=exits.append))
    (plant.settings.data_path / "stuck_steps").write_text("where the folder should be: nothing can be made in it")

    @dg.asset
    def hopeless(context):  # type: ignore[no-untyped-def]  # Dagster reads annotations as they stand, and here they are text.
        with limits.step_limits(context, "truth/capacity", plant.settings, abort=lambda: None):
            pass

    dg.materialize([hopeless], instance=plant.instance, run_config=QUIET, raise_on_error=False)

    assert exits == [STUCK_EXIT_CODE]


def test_marks_of_stuck_steps_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(MAX_MARKS + 20):
        mark_stuck(tmp_path / "marks", root_run=f"run-{number}", asset="truth/capacity")

    assert len(list((tmp_path / "marks").iterdir())) == MAX_MARKS
    assert is_stuck(tmp_path / "marks", root_run=f"run-{MAX_MARKS + 19}", asset="truth/capacity")
    assert not is_stuck(tmp_path / "marks", root_run="run-0", asset="truth/capacity")


def test_the_limits_cost_a_step_less_than_a_millisecond(plant: Plant) -> None:
    """Everything that a healthy step pays: the budget, both limits, the watch, and giving them back."""

    @dg.asset
    def measured(context):  # type: ignore[no-untyped-def]  # Dagster reads annotations as they stand, and here they are text.
        def once() -> None:
            with limits.step_limits(context, "truth/capacity", plant.settings, abort=lambda: None):
                pass

        for _ in range(50):
            once()
        began = time.process_time()
        for _ in range(300):
            once()
        return dg.MaterializeResult(metadata={"seconds": (time.process_time() - began) / 300})

    result = dg.materialize([measured], instance=plant.instance, run_config=QUIET)

    (event,) = result.asset_materializations_for_node("measured")
    assert event.metadata["seconds"].value < 0.001
