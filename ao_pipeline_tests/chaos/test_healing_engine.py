"""A real engine is struck where it hurts and is well again without a touch. Slow: `make chaos-short`; `make chaos` is the long form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ao_pipeline_tests.chaos.controls import wrongly_ended
from ao_pipeline_tests.chaos.cycles import instance_of
from ao_pipeline_tests.chaos.faults import Fault
from ao_pipeline_tests.chaos.play import Play, playing
from ao_pipeline_tests.chaos.recovery_judge import judge_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT_SECONDS = 150.0
"""The promise is a minute on a machine of one's own, which `make chaos` measures; tests share theirs."""


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    with playing(seed=5, database="sqlite") as engine_in_play:
        yield engine_in_play


def strike(play: Play, *names: str) -> list[Fault]:
    """Do faults such as `run/kill` at once; they must be healed in time, and nothing else be ended by mistake."""
    faults = [Fault(*name.split("/")) for name in names]
    seconds = play.strike(faults)
    assert seconds is not None, "there was nothing to hit"
    assert seconds < LIMIT_SECONDS, play.rows[-1]
    assert play.false_kills == []
    return faults


def was_retried(play: Play, run_id: str) -> bool:
    """Tell whether Dagster executed a run again."""
    with instance_of(play.engine) as instance:
        group = instance.get_run_group(run_id)
        return group is not None and any(run.parent_run_id == run_id for run in group[1])


@pytest.mark.parametrize("name", ["run/kill", "run/stop", "step/kill", "oom/kill"])
def test_the_runs_process_is_killed_and_the_run_is_executed_again(play: Play, name: str) -> None:
    [fault] = strike(play, name)

    assert was_retried(play, fault.run_id)


def test_the_runs_process_is_killed_together_with_the_code_server(play: Play) -> None:
    faults = strike(play, "run/kill", "code-server/kill")

    assert was_retried(play, faults[0].run_id)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *[(name, how) for name in ("daemon", "code-server", "exporter") for how in ("kill", "stop")],
        *(("webserver", "stop"), ("sandbox", "kill")),
    ],
)
def test_the_daemon_code_server_or_exporter_dies_or_hangs(play: Play, name: str, how: str) -> None:
    before = play.engine.processes()[name].pid

    strike(play, f"{name}/{how}")

    assert play.engine.processes()[name].pid != before


def test_nothing_was_lost_or_doubled(play: Play) -> None:
    play.cadence.stop()

    verdict = judge_store(play.engine, play.cadence)

    assert verdict["problems"] == []
    assert (verdict["lost"], verdict["doubled"], verdict["leaked_slots"], verdict["wrongly_ended"]) == (0, 0, 0, 0)


def test_slow_and_healthy_runs_are_not_ended() -> None:
    assert wrongly_ended(20) == []
