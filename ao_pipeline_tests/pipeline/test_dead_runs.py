"""The recovery sensor over a real Dagster instance and real processes: what is dead, hung or stuck ends, what is slow goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from ao_pipeline.adapters.run_beats import Beat, BeatFile, beat_once, beating, read_beat, remove_beat, subjects
from ao_pipeline.adapters.state.recoveries import RecoveryLog
from ao_pipeline.clock import monotonic_seconds, sleep
from ao_pipeline.defs import dead_runs
from ao_pipeline.defs.healing import Healing, Sightings
from ao_pipeline.defs.lost_retries import MAX_REQUESTS, ask_for_lost_retries
from ao_pipeline.defs.pool_slots import free_leaked_slots, leaked_slots
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.resilience.run_recovery import RunPolicy
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.plant import environment

QUICK = RunPolicy(
    silent=0.6,
    stopped=0.3,
    unseen=0.6,
    unstarted=0.0,
    unsubmitted=0.0,
    canceling=0.0,
    queued=0.0,
    lost_retry=0.0,
    leaked=0.0,
    report=0.0,
)
"""Limits that a test can wait for; workers in it beat ten times as often."""

WORKER = """
import sys, signal
from pathlib import Path
from ao_pipeline.adapters.run_beats import beating
with beating(Path(sys.argv[1]), sys.argv[2], every_seconds=float(sys.argv[3])):
    print("beats", flush=True)
    signal.pause()
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    with environment(AO_DATA_DIR=str(tmp_path / "data")) as settings:
        yield settings.data_path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    retries = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}
    with dg.DagsterInstance.ephemeral(settings=retries) as opened:
        yield opened


@pytest.fixture
def worker(data: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start the process of a run: it beats and does nothing."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run_id: str, every_seconds: float = 0.05) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER, str(data), run_id, str(every_seconds)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_DIR))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == b"beats\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def empty_job() -> None:
    """Hold one step."""
    nothing()


LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="ao_pipeline")
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), "empty_job")


def started_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> dg.DagsterRun:
    return instance.create_run_for_job(empty_job, status=status, remote_job_origin=ORIGIN)


def evaluate(instance: dg.DagsterInstance, data: Path, before: Healing | None = None) -> Healing:
    """Let every healer have one look."""
    sightings = Sightings.from_cursor(before.sightings.as_cursor() if before else None)
    healing = Healing(instance, data, sightings, dg.get_dagster_logger(), QUICK)
    dead_runs.end_dead_runs(healing)
    ask_for_lost_retries(healing)
    free_leaked_slots(healing)
    return healing


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def until_silent(data: Path, run_id: str, seconds: float) -> None:
    limit = monotonic_seconds() + 10
    while True:
        beat = read_beat(data, run_id)
        if beat is not None and beat.age_seconds > seconds:
            return
        assert monotonic_seconds() < limit, "the beats do not stop"
        sleep(0.02)


def recoveries() -> dict[str, int]:
    with opened_store() as store:
        return {item.kind: item.count for item in RecoveryLog(store.database).all()}


def engine_events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    return [
        record.event_log_entry.dagster_event.message or "" for record in records if record.event_log_entry.dagster_event
    ]


def test_the_runs_process_is_killed_and_the_run_fails_with_the_reason(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance)
    process = worker(run.run_id)
    assert evaluate(instance, data).done == []

    process.kill()
    process.wait()
    evaluate(instance, data)

    assert status_of(instance, run) == "FAILURE"
    assert engine_events(instance, run) == ["Recovery: its process is gone"]
    assert recoveries() == {"process_gone": 1}
    assert subjects(data) == []


def test_the_runs_process_hangs_and_is_ended_for_certain(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance)
    process = worker(run.run_id)

    process.send_signal(signal.SIGSTOP)
    until_silent(data, run.run_id, QUICK.stopped)
    evaluate(instance, data)

    assert process.wait(timeout=5) == -signal.SIGKILL
    assert status_of(instance, run) == "FAILURE"
    assert recoveries() == {"process_stopped": 1}


def test_a_silent_process_that_does_nothing_is_ended(
    instance: dg.DagsterInstance, data: Path, worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance)
    process = worker("another-run", 60.0)  # Twenty beats a second might be taken for computing.
    beat = read_beat(data, "another-run")
    assert beat is not None
    stale = Beat(**{**vars(beat), "subject": run.run_id, "at": beat.at - 10})
    (data / "run" / f"{run.run_id}.beat").write_text(json.dumps(vars(stale)))

    evaluate(instance, data)

    # The process beats for another run; what it was said to do for this one, it does not.
    assert status_of(instance, run) == "FAILURE"
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_slow_runs_that_beat_are_left_alone(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    runs = [started_run(instance) for _ in range(5)]
    processes = [worker(run.run_id) for run in runs]

    before: Healing | None = None
    limit = monotonic_seconds() + 4 * QUICK.silent
    while monotonic_seconds() < limit:
        before = evaluate(instance, data, before)
        assert before.done == []

    assert [process.poll() for process in processes] == [None] * 5
    assert {status_of(instance, run) for run in runs} == {"STARTED"}


def test_a_pid_that_was_used_again_is_not_killed(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance)
    process = worker("bystander")
    beat = read_beat(data, "bystander")
    assert beat is not None
    older = Beat(**{**vars(beat), "subject": run.run_id, "started": beat.started - 60, "at": beat.at - 10})
    (data / "run" / f"{run.run_id}.beat").write_text(json.dumps(vars(older)))

    evaluate(instance, data)

    assert status_of(instance, run) == "FAILURE"
    assert process.poll() is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"host": "elsewhere"}, "STARTED"),
        ({"boot": "the one before"}, "FAILURE"),
        ({"namespace": "pid:[1]"}, "FAILURE"),
    ],
)
def test_a_beat_counts_only_where_its_pid_means_something(
    instance: dg.DagsterInstance, data: Path, change: dict[str, str], status: str
) -> None:
    run = started_run(instance)
    file = BeatFile(data / "run", run.run_id)
    file.write()
    beat = read_beat(data, run.run_id)
    assert beat is not None
    file.close()
    changed = {**vars(beat), "at": beat.at - 10, **change}
    (data / "run" / f"{run.run_id}.beat").write_text(json.dumps(changed))

    evaluate(instance, data)

    assert status_of(instance, run) == status


def test_a_half_written_beat_is_no_sign_of_death(instance: dg.DagsterInstance, data: Path) -> None:
    run = started_run(instance)
    (data / "run").mkdir(parents=True)
    (data / "run" / f"{run.run_id}.beat").write_text('{"subject": "x", "pi')

    assert evaluate(instance, data).done == []
    assert status_of(instance, run) == "STARTED"


@pytest.mark.parametrize(
    ("stuck", "ended"),
    [("STARTING", "FAILURE"), ("CANCELING", "CANCELED"), ("NOT_STARTED", "CANCELED"), ("QUEUED", "CANCELED")],
)
def test_a_run_that_is_stuck_is_resolved(instance: dg.DagsterInstance, data: Path, stuck: str, ended: str) -> None:
    run = started_run(instance, dg.DagsterRunStatus[stuck])

    evaluate(instance, data, evaluate(instance, data))

    assert status_of(instance, run) == ended
    assert recoveries() == {f"stuck_{stuck.lower()}": 1}


def test_a_queued_run_is_left_alone_while_another_one_runs(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    queued, running = started_run(instance, dg.DagsterRunStatus.QUEUED), started_run(instance)
    worker(running.run_id)

    assert evaluate(instance, data, evaluate(instance, data)).done == []
    assert status_of(instance, queued) == "QUEUED"


def test_a_dead_run_is_found_behind_a_long_queue(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance)
    process = worker(run.run_id)
    queue = [started_run(instance, dg.DagsterRunStatus.QUEUED) for _ in range(dead_runs.MAX_RUNS + 5)]
    assert evaluate(instance, data, evaluate(instance, data)).done == [], "what waits for a running run was ended"

    process.kill()
    process.wait()
    evaluate(instance, data)

    assert status_of(instance, run) == "FAILURE"
    assert {status_of(instance, waiting) for waiting in queue} == {"QUEUED"}


def test_a_retry_that_was_never_submitted_fails_and_so_is_tried_again(instance: dg.DagsterInstance, data: Path) -> None:
    first = started_run(instance, dg.DagsterRunStatus.FAILURE)
    retry = instance.create_run_for_job(
        empty_job,
        status=dg.DagsterRunStatus.NOT_STARTED,
        remote_job_origin=ORIGIN,
        parent_run_id=first.run_id,
        root_run_id=first.run_id,
    )

    evaluate(instance, data, evaluate(instance, data))

    assert status_of(instance, retry) == "FAILURE"


def launched(instance: dg.DagsterInstance, pid: int, *, again: bool) -> dg.DagsterRun:
    """Return a run that a code server has started in process `pid`, and, asked once more, is starting again."""
    run = instance.create_run_for_job(
        empty_job, remote_job_origin=ORIGIN, tags={".dagster/grpc_info": json.dumps({"host": "127.0.0.1"})}
    )
    for number in range(2 if again else 1):
        instance.report_dagster_event(
            DagsterEvent(DagsterEventType.RUN_STARTING.value, "empty_job", message="starts"), run.run_id
        )
        if number == 0:
            data = EngineEventData.in_process(pid)
            instance.report_engine_event(f"Started process for run (pid: {pid}).", run, data)
    return run


def test_a_run_whose_process_died_before_its_first_beat_is_found(instance: dg.DagsterInstance, data: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    run = launched(instance, process.pid, again=False)
    process.wait()

    evaluate(instance, data)

    assert status_of(instance, run) == "FAILURE"
    assert recoveries() == {"process_gone": 1}


def test_a_run_whose_process_has_not_begun_to_beat_is_left_alone(instance: dg.DagsterInstance, data: Path) -> None:
    code = "import time; 'multiprocessing'; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        run = launched(instance, process.pid, again=False)

        done = evaluate(instance, data, evaluate(instance, data)).done

        process.kill()
    assert done == []
    assert status_of(instance, run) == "STARTING"


def test_the_process_of_an_earlier_launch_says_nothing_of_this_one(instance: dg.DagsterInstance, data: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    run = launched(instance, process.pid, again=True)
    process.wait()

    assert evaluate(instance, data).done == []
    assert status_of(instance, run) == "STARTING"


def test_a_canceled_run_whose_process_is_gone_is_canceled(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    run = started_run(instance, dg.DagsterRunStatus.CANCELING)
    process = worker(run.run_id)
    process.kill()
    process.wait()

    evaluate(instance, data)

    assert status_of(instance, run) == "CANCELED"


def test_leaked_slots_are_freed_and_held_ones_are_not(instance: dg.DagsterInstance, data: Path) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("source", 3)
    ended, running = started_run(instance, dg.DagsterRunStatus.FAILURE), started_run(instance)
    for run_id in (ended.run_id, running.run_id, "unknown"):
        assert storage.claim_concurrency_slot("source", run_id, "nothing").is_claimed
    assert set(leaked_slots(instance)) == {ended.run_id, "unknown"}

    evaluate(instance, data, evaluate(instance, data))

    info = storage.get_concurrency_info("source")
    assert set(info.active_run_ids) == {running.run_id}
    assert recoveries() == {"slot_leaked": 2}


def test_beats_of_ended_runs_are_removed_and_others_kept(instance: dg.DagsterInstance, data: Path) -> None:
    ended = started_run(instance, dg.DagsterRunStatus.SUCCESS)
    with beating(data, "a-run-of-another-history"):
        beat_once(data, ended.run_id)
        beat = read_beat(data, ended.run_id)
        assert beat is not None
        (data / "run" / f"{ended.run_id}.beat").write_text(json.dumps({**vars(beat), "at": beat.at - 120}))

        evaluate(instance, data)

        assert subjects(data) == ["a-run-of-another-history"]
    assert subjects(data) == []
    remove_beat(data, "nothing")  # Removing what is not there is no error.


def test_sightings_survive_a_restart_and_not_a_machine_start() -> None:
    first = Sightings.from_cursor(None)
    assert first.seconds("run", "QUEUED") == 0
    cursor = json.loads(first.as_cursor())
    cursor["run"][1] -= 50

    again = Sightings.from_cursor(json.dumps(cursor))
    assert again.seconds("run", "QUEUED") >= 50
    assert Sightings.from_cursor(json.dumps(cursor)).seconds("run", "STARTING") == 0
    cursor["run"][1] = monotonic_seconds() + 1_000  # The clock of a longer uptime.
    assert Sightings.from_cursor(json.dumps(cursor)).seconds("run", "QUEUED") == 0
    with suppress(KeyError):
        assert Sightings.from_cursor("[not a map").seconds("run", "QUEUED") == 0


def failed_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return a run that failed as a killed one does: Dagster promises a retry."""
    run = started_run(instance)
    instance.report_run_failed(run)
    return reloaded(instance, run)


def reloaded(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def failures_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    return len(instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records)


def test_a_lost_retry_is_asked_for_again_and_not_for_ever(instance: dg.DagsterInstance, data: Path) -> None:
    run = failed_run(instance)
    assert run.tags["dagster/will_retry"] == "true"

    before: Healing | None = None
    for _ in range(3 * MAX_REQUESTS):
        before = evaluate(instance, data, before)

    assert failures_of(instance, run) == 1 + MAX_REQUESTS
    assert reloaded(instance, run).tags["dagster/will_retry"] == "true"
    assert recoveries() == {"retry_lost": MAX_REQUESTS}


def test_a_retry_that_could_not_be_started_is_asked_for_again(instance: dg.DagsterInstance, data: Path) -> None:
    run = failed_run(instance)
    instance.report_engine_event("Failed to retry run", run)
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})

    evaluate(instance, data, evaluate(instance, data))

    assert failures_of(instance, run) == 2
    assert reloaded(instance, run).tags["dagster/will_retry"] == "true"


@pytest.mark.parametrize(
    "change",
    [
        {"dagster/auto_retry_run_id": "its-retry"},
        {"dagster/will_retry": "false"},
        {"dagster/failure_reason": "STEP_FAILURE"},
    ],
)
def test_a_retry_that_runs_or_is_not_due_is_not_asked_for(
    instance: dg.DagsterInstance, data: Path, change: dict[str, str]
) -> None:
    run = failed_run(instance)
    instance.add_run_tags(run.run_id, change)

    evaluate(instance, data, evaluate(instance, data))

    assert failures_of(instance, run) == 1
    assert recoveries() == {}


def test_a_killed_run_of_the_command_line_has_its_cycle_asked_for(
    instance: dg.DagsterInstance, data: Path, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    tags = {"ao/cycle": "2026-11-20-10:00", "ao/purpose": "cycle"}
    run = instance.create_run_for_job(empty_job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    process = worker(run.run_id)
    process.kill()
    process.wait()

    healing = evaluate(instance, data)

    assert [request.run_key for request in healing.requests] == [f"recover:{run.run_id}"]
    assert healing.requests[0].partition_key == "2026-11-20-10:00"
    assert status_of(instance, run) == "FAILURE"
    assert reloaded(instance, run).tags["dagster/will_retry"] == "false"
