"""Healing: what was missed is caught up, what was skipped runs on the last good data. Not part of the healthy path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.cycles import OPEN
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.blocking import GATE_CHECK
from ao_pipeline.defs.gated import without_gated
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, CYCLE_LANE, cycle_job, cycle_request, in_cycle_checks
from ao_pipeline.defs.live import LIVE
from ao_pipeline.defs.operations import close_cycle, root_runs
from ao_pipeline.defs.seam import report_lost_events
from ao_pipeline.resilience.catch_up import plan_catch_up
from ao_pipeline.resilience.outcome import CycleStatus
from ao_pipeline.settings import current_settings

MAX_ATTEMPTS: Final = 6
"""Runs for one cycle, retries and follow-ups included, before catching up waits for the next cycle: nothing retries for ever."""

ENGINE: Final = "engine"
"""Actor of what no human asked for."""

LOOK_BACK_BUNDLES: Final = 200
"""Bundles searched for the last good state: two days of cycles."""

_RANGE_START: Final = "dagster/asset_partition_range_start"


@dg.sensor(job=cycle_job, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the cycles that nothing has opened: the very first one at once, missed ones as one range."""
    settings = current_settings()
    runs = context.instance.get_runs(dg.RunsFilter(job_name=CYCLE_JOB_NAME, statuses=LIVE), limit=20)
    live = {run.tags[tags.CYCLE] for run in runs if tags.CYCLE in run.tags}
    with opened_store() as store:
        records = store.cycles.latest(limit=1)
        close_interrupted(store, Cycle.last_closed(clock.utc_now()), live)
    newest = Cycle.from_key(records[0].cycle) if records else None
    missed = plan_catch_up(
        now=clock.utc_now(), first_cycle=Cycle.from_key(settings.first_cycle), newest_recorded=newest, live=live
    )
    if missed is None:
        return dg.SkipReason("no cycle was missed")
    attempt = context.instance.get_runs_count(dg.RunsFilter(tags={tags.CYCLE: missed.last.key})) + 1
    if attempt > MAX_ATTEMPTS:
        return dg.SkipReason(
            f"{attempt - 1} runs could not open cycle {missed.last}; it is asked for again with the next one"
        )
    return cycle_request(
        missed.first,
        missed.last,
        purpose="catch-up",
        run_key=f"catch-up:{missed.first}:{missed.last}:{attempt}",
        reason=f"nothing had opened {missed.first}" + ("" if missed.first == missed.last else f" to {missed.last}"),
    )


def close_interrupted(store: StateStore, newest: Cycle, live: Collection[str]) -> list[str]:
    """Close the cycles before the newest one that a run opened and nothing works on any more; return their keys."""
    interrupted = [record for record in store.cycles.open_before(newest) if record.cycle not in live]
    for record in interrupted:
        store.cycles.close(
            Cycle.from_key(record.cycle),
            status=CycleStatus.INTERRUPTED.value,
            report={**record.report, "status": CycleStatus.INTERRUPTED.value, "degraded": True},
            run_id=record.run_id,
        )
    return [record.cycle for record in interrupted]


@dg.run_failure_sensor(
    monitored_jobs=[cycle_job],
    request_job=cycle_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def follow_up(context: dg.RunFailureSensorContext) -> list[dg.RunRequest] | dg.SkipReason:
    """After a failed cycle: take back what a blocking check refused, then run what was left out on the last good data.

    Once a cycle, and in the open. A failed follow-up is not followed up: it closes the cycle as what it then is.
    """
    run = context.dagster_run
    cycle_key = run.tags.get(tags.CYCLE) or run.tags.get("dagster/partition")
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("Dagster runs it again")
    if cycle_key is None or run.tags.get(tags.PURPOSE) in ("revert", "recompute"):
        return dg.SkipReason("not a cycle")
    last = Cycle.from_key(cycle_key)
    first = Cycle.from_key(run.tags.get(_RANGE_START, cycle_key))
    if run.tags.get(tags.PURPOSE) == "follow-up":
        return dg.SkipReason(f"the follow-up failed too; cycle {last} is {_close(run, first, last)}")
    reverts = revert_requests(context.instance, run)
    skipped = without_gated(context.instance, run, skipped_assets(context.instance, run))
    if is_overtaken(last):
        return reverts or dg.SkipReason(f"a newer cycle is computed; cycle {last} is {_close(run, first, last)}")
    if not skipped:
        return reverts or dg.SkipReason(f"nothing was left out; cycle {last} is {_close(run, first, last)}")
    request = cycle_request(
        first,
        last,
        purpose="follow-up",
        run_key=f"follow-up:{run.root_run_id or run.run_id}",
        reason=f"left out by run {run.run_id[:8]}",
    )
    return [
        *reverts,
        dg.RunRequest(
            run_key=request.run_key,
            partition_key=request.partition_key,
            asset_selection=skipped,
            asset_check_keys=in_cycle_checks(skipped),
            tags={**request.tags, tags.FOLLOWS: run.root_run_id or run.run_id, "dagster/priority": "5"},
        ),
    ]


def is_overtaken(cycle: Cycle) -> bool:
    """Tell whether a newer cycle is computed already: then this one is history, and nothing may be computed for it."""
    with opened_store() as store:
        return any(head.computed_cycle > cycle.key for head in store.heads().values())


def _close(run: dg.DagsterRun, first: Cycle, last: Cycle) -> str:
    """Close the cycle's record if nothing has; return its status."""
    with opened_store() as store:
        record = store.cycles.get(last)
        if record is not None and record.status != OPEN:
            return record.status
        report = close_cycle(store, current_settings(), first=first, last=last, run_id=run.run_id, runs=root_runs(run))
        return str(report["status"])


@contextmanager
def opened_store() -> Iterator[StateStore]:
    """Open the settings' store for one evaluation."""
    store = open_store(current_settings())
    try:
        yield store
    finally:
        store.close()


def refused_assets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    """Return the assets of a run whose blocking check failed after the commit, with the check's name.

    The gate is left out: it measures other tables, and taking the measurement back would hide what it found.
    """
    refused: dict[str, str] = {}
    for record in instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, limit=1_000
    ).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        evaluation = event.asset_check_evaluation_data
        if evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR or not evaluation.blocking:
            continue
        if evaluation.asset_check_key != GATE_CHECK:
            refused["/".join(evaluation.asset_key.path)] = evaluation.check_name
    return refused


def revert_requests(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.RunRequest]:
    """Return one revert a refused asset: to the state before the bundle that this run committed, and on hold after it."""
    requests: list[dg.RunRequest] = []
    root = run.root_run_id or run.run_id
    with opened_store() as store:
        for asset, check in sorted(refused_assets(instance, run).items()):
            history = store.bundles(asset=asset, limit=LOOK_BACK_BUNDLES)
            refused = next((header for header in history if header.intent == f"run:{root}"), None)
            if refused is None:
                continue  # The check failed over a state that this run did not write.
            good = last_good(history, refused)
            reason = f"check {check} failed in run {run.run_id[:8]}"
            if good is None:
                store.hold(asset, reason=f"{reason}; there is no earlier state to return to", actor=ENGINE)
                continue
            requests.append(
                dg.RunRequest(
                    run_key=f"revert:{asset}:{root}",
                    partition_key=good.cycle,
                    asset_selection=[dg.AssetKey(asset.split("/"))],
                    asset_check_keys=[],
                    tags={
                        tags.PURPOSE: "revert",
                        tags.REASON: reason,
                        tags.ACTOR: ENGINE,
                        tags.HOLD: "true",
                        tags.CYCLE: good.cycle,
                        "dagster/priority": "10",
                        **CYCLE_LANE,
                    },
                )
            )
    return requests


def last_good(history: Sequence[BundleHeader], refused: BundleHeader) -> BundleHeader | None:
    """Return the computation whose state stood before the refused one.

    After an earlier automatic revert that is not the computation before it, which was refused as well, but the one that was
    restored. Its cycle must be an earlier one: a cycle's name stands for its newest computation.

    Args:
        history: The asset's bundles, the newest first.
        refused: The one to take back.
    """
    older = [header for header in history if header.seq < refused.seq]
    taken_back = {after.seq - 1 for after in older if after.kind == BundleKind.REVERT and after.actor == ENGINE}
    candidates = [
        header
        for header in older
        if header.kind == BundleKind.MATERIALIZE and header.cycle < refused.first_cycle and header.seq not in taken_back
    ]
    same = (header for header in candidates if header.state_hash_after == refused.state_hash_before)
    return next(same, None) or next(iter(candidates), None)


def skipped_assets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.AssetKey]:
    """Return the assets of a run that never started: neither materialized nor failed."""
    planned: set[dg.AssetKey] = set()
    started: set[dg.AssetKey] = set()
    failed_steps: set[str] = set()
    step_assets: dict[str, set[dg.AssetKey]] = {}
    kinds = {
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
    }
    for record in instance.get_records_for_run(run.run_id, of_type=kinds, limit=100_000).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED and event.asset_key:
            planned.add(event.asset_key)
            step_assets.setdefault(event.step_key or "", set()).add(event.asset_key)
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            started.add(event.asset_key)
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key:
            failed_steps.add(event.step_key)
    for step in failed_steps:
        started |= step_assets.get(step, set())
    return sorted(planned - started)


SENSORS: Final = (catch_up, follow_up, report_lost_events)
