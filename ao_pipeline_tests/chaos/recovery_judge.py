"""Is the engine healthy again, and was anything lost or doubled? Answered from outside: probes, Dagster's history and the store."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import dagster as dg
import psutil

from ao_pipeline.adapters.run_workers import observe
from ao_pipeline.adapters.state.cycles import OPEN
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.defs.live import LIVE
from ao_pipeline.defs.pool_slots import leaked_slots
from ao_pipeline.resilience.run_recovery import judge_worker
from ao_pipeline_tests.chaos.cycles import Cadence, Requested, instance_of
from ao_pipeline_tests.chaos.engine import Engine, NoAnswerError

BEAT_SECONDS: Final = 25.0


def why_unhealthy(engine: Engine, struck: Requested | None, struck_at: float) -> str:
    """Return the first thing that is not well; empty when all is.

    Args:
        struck: The cycle that was under way when the fault was done.
        struck_at: When, by the monotonic clock.
    """
    processes = engine.processes()
    probes = engine.probes()
    for name, is_alive in probes.items():
        if name not in processes:
            return f"{name} does not run"
        with suppress(psutil.Error):
            if processes[name].status() == psutil.STATUS_STOPPED:
                return f"{name} is stopped"
        if is_alive is not True:
            return f"{name} does not answer"
    if engine.engine_beat_age() > min(BEAT_SECONDS, time.monotonic() - struck_at):
        return "no sensor was evaluated since"
    if engine.health()["status"] == "unhealthy" and "can" in str(engine.health()["reasons"]):
        return "the exporter cannot read the store"
    return _unhealthy_runs(engine, struck)


def _unhealthy_runs(engine: Engine, struck: Requested | None) -> str:
    try:
        with instance_of(engine) as instance:
            if leaked_slots(instance):
                return "a slot is leaked"
            live = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=LIVE))}
    except Exception as error:
        raise NoAnswerError(str(error)) from error
    for beat in engine.workers():
        verdict = judge_worker(observe(engine.settings.data_path, beat)) if beat.subject in live else None
        if verdict is not None:
            return f"run {beat.subject[:8]}: {verdict.reason.split(' for ')[0]}"
    if struck is None:
        return ""
    try:
        store = open_store(engine.settings)
        try:
            record = store.cycles.get(struck.cycle)
        finally:
            store.close()
    except Exception as error:
        raise NoAnswerError(str(error)) from error
    if record is None or record.status == OPEN:
        return f"cycle {struck.cycle} is not closed"
    return ""


def wrongly_ended(engine: Engine) -> list[str]:
    """Return the runs that recovery ended although their process lived on: it said something afterwards."""
    found = []
    with instance_of(engine) as instance:
        for run in instance.get_runs(dg.RunsFilter(job_name="cycle"), limit=5_000):
            ended = False
            for entry in instance.all_logs(run.run_id):
                event = entry.dagster_event
                message = (event.message if event else "") or ""
                ended = ended or message.startswith("Ended by recovery")
                if ended and event and (event.step_key or message.startswith(("Process for run", "Ignoring a run"))):
                    found.append(f"run {run.run_id} of cycle {run.tags.get('ao/cycle')}: {message[:100]}")
                    break
    return found


def judge_store(engine: Engine, cadence: Cadence) -> dict[str, Any]:
    """Return what was lost or doubled over everything that was asked for."""
    problems: list[str] = list(cadence.problems)
    lost = doubled = 0
    statuses: Counter[str] = Counter()
    store = open_store(engine.settings)
    try:
        assets = sorted(store.heads())
        for item in cadence.requested:
            record = store.cycles.get(item.cycle)
            status = "not recorded" if record is None else record.status
            statuses[status] += 1
            headers = store.bundles(cycle=item.cycle, limit=10_000)
            intents = Counter((header.asset, header.intent) for header in headers)
            twice = [key for key, count in intents.items() if count > 1]
            doubled += len(twice)
            problems += [
                f"{item.cycle}: {asset} has {intents[asset, intent]} bundles of {intent}" for asset, intent in twice
            ]
            if status in ("not recorded", OPEN):
                lost += 1
                problems.append(f"{item.cycle} is {status}")
            if status == "success" and record is not None:
                written = {header.asset for header in headers if header.kind == BundleKind.MATERIALIZE}
                missing = [
                    asset
                    for asset in assets
                    if asset.startswith(("norm/", "truth/", "snapshot/")) and asset not in written
                ]
                lost += len(missing)
                problems += [f"{item.cycle} is success without a bundle of {asset}" for asset in missing]
        findings = [f"{asset}: {found.problem}" for asset in assets for found in store.verify(asset)]
    finally:
        store.close()
    with instance_of(engine) as instance:
        slots = leaked_slots(instance)
        live = instance.get_runs_count(dg.RunsFilter(job_name="cycle", statuses=[dg.DagsterRunStatus.STARTED]))
    wrong = wrongly_ended(engine)
    problems += wrong + findings + ([f"{live} runs are still STARTED"] if live else [])
    return {
        "lost": lost + len(findings),
        "doubled": doubled,
        "leaked_slots": len(slots),
        "wrongly_ended": len(wrong),
        "cycles": len(cadence.requested),
        "cycle_statuses": dict(statuses),
        "problems": problems,
    }
