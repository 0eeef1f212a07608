"""Run a cycle, a revert or the checks from a terminal, in this process, on the Dagster instance that the UI shows."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.dagster_home import prepare_dagster_home
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.auto_revert import revert_requests
from ao_pipeline.defs.engine import borrowed_engine
from ao_pipeline.defs.follow_up import skipped_assets
from ao_pipeline.defs.gated import without_gated
from ao_pipeline.defs.jobs import CYCLE_JOB_NAME, cycle_request, in_cycle_checks
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.operations import bundles_of, close_cycle
from ao_pipeline.errors import PermanentError, UnknownNameError
from ao_pipeline.resilience.catch_up import first_missed
from ao_pipeline.settings import PROJECT_DIR, Settings

AT_THE_TERMINAL: Final = "ao cycle"
"""Actor of a cycle that a person asked for: it is computed although it was before."""

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class AssetOutcome:
    """One asset in one cycle: `status` is ok | failed | skipped."""

    asset: str
    status: str
    inserted: int
    updated: int
    deleted: int
    rows: int
    duration_ms: int
    note: str


@dataclass(frozen=True)
class CycleOutcome:
    """A cycle as `ao cycle` reports it; `status` is that of the cycle's record, `left_out` names what a breaker kept out."""

    cycle: str
    status: str
    run_id: str
    duration_ms: int
    assets: tuple[AssetOutcome, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.status == "success" and all(item.status != "failed" for item in self.assets)


@dataclass(frozen=True)
class CheckOutcome:
    """One evaluated asset check."""

    asset: str
    name: str
    passed: bool
    facts: dict[str, Any]


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of these settings; relative paths in its configuration start at the project."""
    os.chdir(PROJECT_DIR)
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(settings))) as instance:
        yield instance


def run_cycle(
    settings: Settings, cycle: Cycle | None = None, *, instance: dg.DagsterInstance | None = None
) -> CycleOutcome:
    """Run one cycle now: everything in it that is due, then what a failure left out, on the last good data.

    Args:
        settings: Deployment settings.
        cycle: The cycle; by default the last closed one.
        instance: Dagster instance; by default the one of the settings.

    Raises:
        StandbyError: Another engine acts on the state store.
    """
    if instance is None:
        with dagster_instance(settings) as opened:
            return run_cycle(settings, cycle, instance=opened)
    wanted = cycle or Cycle.last_closed(clock.utc_now())
    refuse_unknown_cycle(settings, wanted)
    refuse_overtaken_cycle(settings, wanted)
    with borrowed_engine(settings):
        return _run_cycle(settings, wanted, instance)


def _run_cycle(settings: Settings, wanted: Cycle, instance: dg.DagsterInstance) -> CycleOutcome:
    began = clock.monotonic_seconds()
    with closing(open_store(settings)) as store:
        first = first_missed(wanted, store.cycles.newest_before(wanted))
    request = cycle_request(first, wanted, purpose="cycle", run_key=None, reason="ao cycle")
    run_tags = {**request.tags, tags.ACTOR: AT_THE_TERMINAL}
    result = _execute(instance, CYCLE_JOB_NAME, wanted, request.asset_selection or (), run_tags)
    failures, runs = _failures(result), {result.run_id}
    if not result.success:
        for revert in revert_requests(instance, result.dagster_run):
            _execute(instance, CYCLE_JOB_NAME, _cycle_of(revert), revert.asset_selection or (), dict(revert.tags))
        skipped = without_gated(instance, result.dagster_run, skipped_assets(instance, result.dagster_run))
        if skipped:
            follow_up = run_tags | {
                tags.PURPOSE: "follow-up",
                tags.REASON: f"left out by run {result.run_id[:8]}",
                tags.FOLLOWS: result.run_id,
            }
            followed = _execute(instance, CYCLE_JOB_NAME, wanted, skipped, follow_up)
            failures |= _failures(followed)
            runs.add(followed.run_id)
    return _cycle_outcome(settings, wanted, request.asset_selection or (), failures, result.run_id, runs, began)


def request_revert(
    settings: Settings,
    assets: Sequence[str],
    cycle: Cycle,
    *,
    reason: str,
    actor: str,
    hold: bool,
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Restore the state that `assets` had in `cycle`, through Dagster, so that its UI shows it.

    Raises:
        PermanentError: A step refused; its message is the reason. Assets before it may have been reverted.
        StandbyError: Another engine acts on the state store. Nothing was reverted.
    """
    if instance is None:
        with dagster_instance(settings) as opened:
            request_revert(settings, assets, cycle, reason=reason, actor=actor, hold=hold, instance=opened)
            return
    run_tags = {tags.PURPOSE: "revert", tags.REASON: reason, tags.ACTOR: actor, tags.CYCLE: cycle.key}
    if hold:
        run_tags[tags.HOLD] = "true"
    with borrowed_engine(settings) as token:
        run_tags[tags.ENGINE_LEASE] = str(token)
        result = _execute(instance, CYCLE_JOB_NAME, cycle, [_key(asset) for asset in assets], run_tags)
    if not result.success:
        raise PermanentError("; ".join(f"{asset}: {text}" for asset, text in _failures(result).items()))


def refuse_unknown_cycle(settings: Settings, cycle: Cycle) -> None:
    """Refuse a cycle that is not a partition.

    Raises:
        UnknownNameError: It lies before the first cycle, or its window has not closed yet.
    """
    if cycle.key < settings.first_cycle:
        raise UnknownNameError(f"cycle {cycle} lies before the first one, {settings.first_cycle} (AO_FIRST_CYCLE)")
    newest = Cycle.last_closed(clock.utc_now())
    if cycle > newest:
        raise UnknownNameError(f"cycle {cycle} has not closed yet; the newest one is {newest}")


def refuse_overtaken_cycle(settings: Settings, cycle: Cycle) -> None:
    """Refuse to compute a cycle when a newer one is computed already.

    Raises:
        UnknownNameError: It was overtaken.
    """
    store = open_store(settings)
    try:
        newest = max((head.computed_cycle for head in store.heads().values()), default="")
    finally:
        store.close()
    if cycle.key < newest:
        raise UnknownNameError(
            f"cycle {cycle} was overtaken: {newest} is computed already. To return to an earlier state, use `ao revert`"
        )


def run_checks(settings: Settings, *, instance: dg.DagsterInstance | None = None) -> list[CheckOutcome]:
    """Evaluate every asset check against the store as it is."""
    if instance is None:
        with dagster_instance(settings) as opened:
            return run_checks(settings, instance=opened)
    result = (
        build_definitions()
        .resolve_job_def("checks")
        .execute_in_process(instance=instance, raise_on_error=False, tags={tags.PURPOSE: "checks"}, run_config=_QUIET)
    )
    outcomes = [
        CheckOutcome(
            "/".join(item.asset_key.path), item.check_name, item.passed, {k: v.value for k, v in item.metadata.items()}
        )
        for item in result.get_asset_check_evaluations()
    ]
    for asset, text in _failures(result).items():
        outcomes.append(CheckOutcome(asset, "runs", False, {"error": text}))
    return outcomes


def _execute(
    instance: dg.DagsterInstance,
    job: str,
    cycle: Cycle,
    assets: Sequence[dg.AssetKey],
    run_tags: dict[str, str],
) -> dg.ExecuteInProcessResult:
    # Without an explicit empty set of checks, selecting assets selects their checks too: a hundred steps and events more.
    selected = (
        build_definitions()
        .resolve_job_def(job)
        .get_subset(
            asset_selection=frozenset(assets),
            asset_check_selection=frozenset(in_cycle_checks(assets)),
        )
    )
    return selected.execute_in_process(
        instance=instance,
        partition_key=cycle.key,
        tags=run_tags,
        raise_on_error=False,
        run_config=_QUIET,
    )


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return the last error of each failed step, by asset."""
    failures: dict[str, str] = {}
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE and event.step_key:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None and not event.step_failure_data.user_failure_data:
                error = error.cause
            failure = event.step_failure_data.user_failure_data
            text = failure.description if failure and failure.description else (error.message if error else "failed")
            failures[event.step_key.replace("__", "/")] = (text or "failed").strip()
    return failures


def _cycle_outcome(
    settings: Settings,
    cycle: Cycle,
    selected: Sequence[dg.AssetKey],
    failures: dict[str, str],
    run_id: str,
    runs: Collection[str],
    began: float,
) -> CycleOutcome:
    store = open_store(settings)
    try:
        record = store.cycles.get(cycle)
        if record is None or record.status == "open":
            close_cycle(store, settings, first=cycle, last=cycle, run_id=run_id, runs=runs)
            record = store.cycles.get(cycle)
        bundles: dict[str, list[BundleHeader]] = {}
        for header in bundles_of(store, cycle, runs):
            bundles.setdefault(header.asset, []).append(header)
    finally:
        store.close()
    assets = []
    for key in selected:
        asset = "/".join(key.path)
        found = bundles.get(asset, [])
        status = "failed" if asset in failures else "ok" if found or asset == "ops/cycle_report" else "skipped"
        assets.append(
            AssetOutcome(
                asset,
                status,
                sum(h.rows_inserted for h in found),
                sum(h.rows_updated for h in found),
                sum(h.rows_deleted for h in found),
                found[0].row_count_after if found else 0,
                sum(h.duration_ms for h in found),
                failures.get(asset, ""),
            )
        )
    duration_ms = round((clock.monotonic_seconds() - began) * 1000)
    status = "failed" if record is None else record.status
    left_out = {} if record is None else dict(record.report.get("left_out", {}))
    return CycleOutcome(cycle.key, status, run_id, duration_ms, tuple(assets), left_out)


def _cycle_of(request: dg.RunRequest) -> Cycle:
    return Cycle.from_key(request.partition_key or "")


def _key(asset: str) -> dg.AssetKey:
    return dg.AssetKey(asset.split("/"))
