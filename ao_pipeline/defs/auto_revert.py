"""What a blocking check refused after its commit is taken back to the last good state, and put on hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import dagster as dg

from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.defs import tags
from ao_pipeline.defs.blocking import GATE_CHECK
from ao_pipeline.defs.jobs import CYCLE_LANE
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.resilience.breaker_state import Phase
from ao_pipeline.resilience.evidence import Category

ENGINE: Final = "engine"
"""Actor of what no human asked for."""

MAX_REVERTS: Final = 3
"""Runs that try to take one refused commit back before a person must look."""

LOOK_BACK_BUNDLES: Final = 200
"""Bundles searched for the last good state: two days of cycles."""


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
            # Without an end: its hold's release closes it again.
            store.breakers.force(asset, Phase.OPEN, reason=reason, actor=ENGINE, until_us=None)
            if good is None:
                store.hold(asset, reason=f"{reason}; there is no earlier state to return to", actor=ENGINE)
                continue
            requests.append(_request(asset, good.cycle, run_key=f"revert:{asset}:{root}", reason=reason, attempt=1))
    return requests


def revert_again(run: dg.DagsterRun) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask once more for a revert of the engine's own that failed; put the asset on hold when there is no use in it.

    Nobody else would: its breaker is open, so no cycle computes the asset, and its rows are the refused ones.
    """
    asset, attempt = run.tags[tags.TAKES_BACK], int(run.tags[tags.ATTEMPT])
    reason = run.tags[tags.REASON]
    with opened_store() as store:
        breaker = store.breakers.get(asset)
        if (breaker.forced, breaker.forced_until_us, asset in store.holds()) != ("open", None, False):
            return dg.SkipReason(f"somebody takes care of {asset} already")
        failures = store.failures.latest(asset, limit=10)
        is_refused = any(item.run_id == run.run_id and item.category == Category.PERMANENT for item in failures)
        if is_refused or attempt >= MAX_REVERTS:
            store.hold(
                asset, reason=f"{reason}; it could not be taken back: its rows are the refused ones", actor=ENGINE
            )
            return dg.SkipReason(f"{asset} could not be taken back and is on hold")
    key = f"revert:{asset}:{run.root_run_id or run.run_id}:{attempt + 1}"
    return [_request(asset, run.tags[tags.CYCLE], run_key=key, reason=reason, attempt=attempt + 1)]


def _request(asset: str, cycle: str, *, run_key: str, reason: str, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=run_key,
        partition_key=cycle,
        asset_selection=[dg.AssetKey(asset.split("/"))],
        asset_check_keys=[],
        tags={
            tags.PURPOSE: "revert",
            tags.REASON: reason,
            tags.ACTOR: ENGINE,
            tags.HOLD: "true",
            tags.CYCLE: cycle,
            tags.TAKES_BACK: asset,
            tags.ATTEMPT: str(attempt),
            "dagster/priority": "10",
            **CYCLE_LANE,
        },
    )


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
