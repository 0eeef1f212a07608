"""Two engines on one state store: one acts, the other stands by, says so, and takes over when the first is silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest

from ao_pipeline.adapters.dagster_home import prepare_dagster_home
from ao_pipeline.adapters.engine_identity import engine_identity
from ao_pipeline.adapters.state.leases import Leases
from ao_pipeline.defs import tags
from ao_pipeline.defs.catch_up import catch_up
from ao_pipeline.defs.jobs import cycle_request, cycle_schedule
from ao_pipeline.defs.operate import request_revert
from ao_pipeline.errors import StandbyError
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, environment, errors_in

OTHER = "other-machine:00000000"


@contextmanager
def held_by_another(plant: Plant) -> Iterator[int]:
    """Let another engine hold the lease; yield its token."""
    with plant.store() as store:
        yield store.leases.take(OTHER).token


def skip_message(plant: Plant, evaluate: str) -> str:
    """Return why the sensor or the schedule asked for nothing."""
    if evaluate == "sensor":
        said = catch_up(dg.build_sensor_context(instance=plant.instance))
    else:
        said = cycle_schedule(dg.build_schedule_context(instance=plant.instance, scheduled_execution_time=SECOND.end))
    assert isinstance(said, dg.SkipReason), said
    return str(said.skip_message)


@pytest.mark.parametrize("evaluate", ["sensor", "schedule"])
def test_a_second_engine_stands_by_and_says_who_acts(plant: Plant, evaluate: str) -> None:
    with held_by_another(plant):
        said = skip_message(plant, evaluate)

    assert said.startswith(f"standby: engine {OTHER} holds the lease")
    assert "ao engine take --yes" in said


def test_commands_on_a_standby_are_refused_and_name_the_engine_that_acts(plant: Plant) -> None:
    before = plant.state_hashes()

    with held_by_another(plant):
        with pytest.raises(StandbyError, match=OTHER):
            plant.cycle(SECOND)
        with pytest.raises(StandbyError, match=OTHER):
            request_revert(
                plant.settings, ["truth/capacity"], FIRST, reason="", actor="", hold=False, instance=plant.instance
            )
        by_hand = plant.execute(SECOND, "raw/chat_messages")

    assert not by_hand.success
    assert plant.state_hashes() == before


def test_a_run_that_was_asked_for_before_a_takeover_commits_nothing(plant: Plant) -> None:
    request = cycle_request(SECOND, SECOND, purpose="cycle", run_key=None)
    assert request.tags[tags.ENGINE_LEASE]
    before = plant.state_hashes()

    with held_by_another(plant):
        result = plant.execute_request(request)

    assert not result.success
    errors = errors_in(result)
    assert errors, "no step failed by itself"
    assert all("has taken over since" in text for text in errors.values()), errors
    assert plant.state_hashes() == before
    assert plant.findings() == []


def test_the_standby_takes_over_when_the_other_engine_is_silent(plant: Plant) -> None:
    with plant.store() as store:
        long_ago = Leases(store.database, now_us=lambda: 1_000_000)
        long_ago.acquire(OTHER)

    assert plant.cycle(SECOND).status == "success"
    with plant.store() as store:
        lease = store.leases.current()
    assert lease is not None
    assert lease.holder == engine_identity(plant.settings)


def test_a_command_gives_the_lease_back_when_no_engine_runs(plant: Plant) -> None:
    plant.cycle(SECOND)

    with plant.store() as store:
        assert store.leases.acquire(OTHER).holder == OTHER


def test_a_command_beside_the_running_engine_leaves_it_the_lease(plant: Plant) -> None:
    with plant.store() as store:
        token = store.leases.acquire(engine_identity(plant.settings)).token
    plant.cycle(SECOND)

    with plant.store() as store:
        lease = store.leases.acquire(OTHER)
    assert (lease.holder, lease.token) == (engine_identity(plant.settings), token)


def test_engines_are_told_apart_by_machine_and_folders_and_the_name_holds_no_secret(tmp_path: Path) -> None:
    names = set()
    with ExitStack() as stack:
        for folder in ("a", "b"):
            settings = stack.enter_context(
                environment(
                    AO_DATA_DIR=str(tmp_path / folder), AO_STATE_URL="postgresql+psycopg2://u:secret-word@127.0.0.1/x"
                )
            )
            names.add(engine_identity(settings))
            names.add(engine_identity(settings))

    assert len(names) == 2
    assert not any("secret-word" in name or "u:" in name for name in names)


def test_a_terminal_is_the_same_engine_as_the_processes_that_ao_up_starts(tmp_path: Path) -> None:
    with environment(AO_DATA_DIR=str(tmp_path)) as settings:
        in_the_terminal = engine_identity(settings)
        home = prepare_dagster_home(settings)

    with environment(AO_DATA_DIR=str(tmp_path), DAGSTER_HOME=str(home)) as settings:
        assert engine_identity(settings) == in_the_terminal
