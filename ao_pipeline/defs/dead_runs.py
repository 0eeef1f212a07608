"""Runs whose process is dead or hung, or that no process ever took up: ended for certain, so that Dagster runs them again.

Dagster's own launcher does not look after its processes: when a run's process and the code server die together, only
`max_runtime_seconds` frees the run, ten minutes later.
"""

from __future__ import annotations

import json
import socket
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters import processes
from ao_pipeline.adapters.run_beats import Beat, read_beat, remove_beat, subjects
from ao_pipeline.adapters.run_workers import observe
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.follow_up import is_overtaken
from ao_pipeline.defs.healing import Healing
from ao_pipeline.defs.jobs import cycle_request
from ao_pipeline.defs.live import LIVE
from ao_pipeline.resilience.run_recovery import Verdict, Worker, judge_waiting, judge_worker

MAX_RUNS: Final = 50
"""Runs looked at in one evaluation, and queued ones beside them; the queue lets four run at once."""

MAX_EVENTS: Final = 500
"""Events of a run searched for its process. One that waits for the code server has two for each try."""

STALE_SECONDS: Final = 60.0
"""Age from which the beat of an ended run is removed even if its process cannot be seen."""

KILL_SECONDS: Final = 5.0

_UNTOUCHED: Final = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
"""Nobody has taken the run up: who asked for it asks again, as the catch-up does. Only a retry is nobody else's to ask for."""

_GRPC_INFO: Final = ".dagster/grpc_info"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_STARTED_PROCESS: Final = "Started process for run"


def end_dead_runs(healing: Healing) -> None:
    """Look at every live run; end what is dead, hung or stuck, and remove the beats of runs that are over."""
    runs = _live_runs(healing.instance)
    for run in runs:
        verdict = _judge(healing, run, is_alone=len(runs) == _queued(runs))
        if verdict is not None and healing.may_act:
            _end(healing, run, verdict)
    _remove_stale_beats(healing, {run.run_id for run in runs})


def _live_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the oldest of the runs that somebody works on, and of those in the queue: a long queue hides none that is dead."""
    waiting = dg.DagsterRunStatus.QUEUED
    kinds = ([status for status in LIVE if status != waiting], [waiting])
    return [
        record.dagster_run
        for statuses in kinds
        for record in instance.get_run_records(dg.RunsFilter(statuses=statuses), limit=MAX_RUNS, ascending=True)
    ]


def _queued(runs: list[dg.DagsterRun]) -> int:
    return sum(run.status == dg.DagsterRunStatus.QUEUED for run in runs)


def _judge(healing: Healing, run: dg.DagsterRun, *, is_alone: bool) -> Verdict | None:
    waiting = healing.sightings.seconds(run.run_id, run.status.value)
    if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
        return judge_waiting(run.status.value, waiting, is_alone=is_alone, policy=healing.policy)
    worker = worker_of(healing, run)
    if worker is not None:
        verdict = judge_worker(worker, healing.policy)
        if verdict is not None or run.status == dg.DagsterRunStatus.STARTING:
            return verdict
    return judge_waiting(run.status.value, waiting, is_alone=is_alone, policy=healing.policy)


def worker_of(healing: Healing, run: dg.DagsterRun) -> Worker | None:
    """Return what is known of the process behind a run; None when it has left no trace yet."""
    beat = read_beat(healing.data_path, run.run_id)
    if beat is None:
        found = _launched_process(healing.instance, run)
        if found is None:
            return None
        state = processes.state_of(found[0], started=found[1])
        # Without a beat the age is that of the state itself; a process that runs is not silent but has not begun to beat.
        age = healing.sightings.seconds(f"process:{run.run_id}", state.value)
        return Worker(is_here=True, seen=state.value, beat_age=age if state is processes.ProcessState.STOPPED else 0.0)
    return observe(healing.data_path, beat, policy=healing.policy)


def _launched_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """Return pid and start of the process that a code server on this machine started for a run, from the run's events."""
    try:
        host = json.loads(run.tags.get(_GRPC_INFO, "{}")).get("host")
    except ValueError:
        return None
    if host not in _LOOPBACK | {socket.gethostname()}:
        return None
    kinds = {dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_STARTING}
    for record in reversed(instance.get_records_for_run(run.run_id, of_type=kinds, limit=MAX_EVENTS).records):
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.RUN_STARTING:
            return None  # Launched once more; the process of this launch has not reported yet.
        if (event.message or "").startswith(_STARTED_PROCESS):
            pid = event.engine_event_data.metadata.get("pid")
            return None if pid is None else _process_of(int(str(pid.value)))
    return None


def _process_of(pid: int) -> tuple[int, float]:
    """Return a worker's pid with the start of its process; when no worker has the pid, a start that never fits."""
    started = processes.started_at(pid)
    return pid, started if started is not None and processes.is_worker(pid) else -1.0


def _end(healing: Healing, run: dg.DagsterRun, verdict: Verdict) -> None:
    if verdict.kind == "process_gone" and _is_over_soon(healing, run):
        return
    if verdict.must_kill and not _kill(healing, run):
        healing.log.error(f"recovery.not_killed run={run.run_id}: its process does not end; the run is left as it is")
        return
    if verdict.must_kill and _is_over_soon(healing, run):
        healing.tell(verdict.kind, run.run_id, verdict.reason)
        return
    current = healing.instance.get_run_by_id(run.run_id)
    if current is None or current.is_finished or current.status != run.status:
        return  # It moved on by itself while it was looked at.
    healing.tell(verdict.kind, run.run_id, verdict.reason, run=run)
    _close(healing, current, f"Ended by recovery: {verdict.reason}.")
    healing.instance.event_log_storage.free_concurrency_slots_for_run(current.run_id)
    remove_beat(healing.data_path, current.run_id)


def _close(healing: Healing, run: dg.DagsterRun, message: str) -> None:
    """Mark a run as over, so that what follows is right: a retry, none, or its cycle asked for."""
    is_untouched = run.status in _UNTOUCHED and run.parent_run_id is None
    if is_untouched or run.status == dg.DagsterRunStatus.CANCELING:
        healing.instance.report_run_canceled(run, message)
    elif run.remote_job_origin is not None:
        healing.instance.report_run_failed(run, message)
    else:  # Of the command line: Dagster cannot run it again.
        healing.instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})
        healing.instance.report_run_failed(run, message)
        _ask_for_its_cycle(healing, run)


def _kill(healing: Healing, run: dg.DagsterRun) -> bool:
    beat = read_beat(healing.data_path, run.run_id)
    found = (beat.pid, beat.started) if beat is not None else _launched_process(healing.instance, run)
    return found is None or processes.end_for_certain(found[0], started=found[1], wait_seconds=KILL_SECONDS)


def _is_over_soon(healing: Healing, run: dg.DagsterRun) -> bool:
    """Wait for the code server to report the death by itself; tell whether it did."""
    limit = clock.monotonic_seconds() + healing.policy.report
    while True:
        current = healing.instance.get_run_by_id(run.run_id)
        if current is None or current.is_finished:
            return True
        if clock.monotonic_seconds() >= limit:
            return False
        clock.sleep(0.25)


def _ask_for_its_cycle(healing: Healing, run: dg.DagsterRun) -> None:
    cycle_key = run.tags.get(tags.CYCLE)
    if cycle_key is None or run.tags.get(tags.PURPOSE) not in tags.AUTOMATIC or is_overtaken(Cycle.from_key(cycle_key)):
        return
    healing.requests.append(
        cycle_request(
            Cycle.from_key(run.tags.get(tags.FIRST_CYCLE, cycle_key)),
            Cycle.from_key(cycle_key),
            purpose="catch-up",
            run_key=f"recover:{run.run_id}",
            reason=f"the process of run {run.run_id[:8]} died",
        )
    )


def _remove_stale_beats(healing: Healing, live: set[str]) -> None:
    """Remove the beats of runs that are over or unknown, once nobody writes them any more."""
    for run_id in subjects(healing.data_path)[:MAX_RUNS]:
        if run_id in live:
            continue
        run = healing.instance.get_run_by_id(run_id)
        beat = read_beat(healing.data_path, run_id)
        if run is not None and not run.is_finished:
            continue  # It has just begun.
        if beat is None or beat.age_seconds > STALE_SECONDS or _is_gone(beat):
            remove_beat(healing.data_path, run_id)


def _is_gone(beat: Beat) -> bool:
    is_visible = beat.is_of_this_host and beat.is_of_this_namespace
    return is_visible and processes.state_of(beat.pid, started=beat.started) is processes.ProcessState.GONE
