"""The seam between the store's commit and Dagster's event log: a process that dies in between leaves a bundle without event."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.defs.live import LIVE
from ao_pipeline.defs.metadata import materialization
from ao_pipeline.defs.resources import REPORT_ASSET, StateResource
from ao_pipeline.settings import current_settings

GRACE: Final = timedelta(minutes=12)
"""Age below which a bundle's own run, or its retry, may still report it: `max_runtime_seconds` and a little."""

LATE: Final = "reported late: the process died between its commit and its event, or the command line committed it"

MAX_BUNDLES: Final = 500
"""Bundles compared in one tick or check."""


def unreported(instance: dg.DagsterInstance, headers: Sequence[BundleHeader]) -> Iterator[BundleHeader]:
    """Yield the bundles of which Dagster's event log knows nothing."""
    known: dict[tuple[str, str], set[str]] = {}
    for header in headers:
        place = (header.asset, header.cycle)
        if place not in known:
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(header.asset.split("/")), asset_partitions=[header.cycle]),
                limit=50,
            ).records
            events = [record.asset_materialization for record in records]
            known[place] = {
                str(event.metadata["ao/bundle"].value) for event in events if event and "ao/bundle" in event.metadata
            }
        if header.bundle_id not in known[place]:
            yield header


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def report_lost_events(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Report the bundles that were committed but never got their event."""
    until = clock.to_micros(clock.utc_now() - GRACE)
    after = int(context.cursor or 0)
    store = open_store(current_settings())
    try:
        headers = store.bundles_between(after_us=after, until_us=until, limit=MAX_BUNDLES)
    finally:
        store.close()
    if not headers:
        return dg.SkipReason("no bundle to compare")
    if len(headers) == MAX_BUNDLES:  # The cursor is an instant, and a bundle left out may share that of the last one.
        headers = [header for header in headers if header.started_at_us < headers[-1].started_at_us] or headers
    lost = [materialization(header, LATE, partition=header.cycle) for header in unreported(context.instance, headers)]
    return dg.SensorResult(
        asset_events=lost,
        cursor=str(headers[-1].started_at_us),
        skip_reason=None if lost else dg.SkipReason("every bundle has its event"),
    )


@dg.asset_check(
    asset=REPORT_ASSET,
    description="Every bundle of the last day has its event in Dagster's log.",
)
def every_bundle_has_its_event(context: dg.AssetCheckExecutionContext, state: StateResource) -> dg.AssetCheckResult:
    """Compare the store's bundles with Dagster's event log; passes only when they agree."""
    store: StateStore = state.store
    now = clock.to_micros(clock.utc_now())
    day_ago = now - 24 * 3600 * 1_000_000
    headers = store.bundles_between(after_us=day_ago, until_us=now, limit=MAX_BUNDLES * 10)
    live = {run.run_id for run in context.instance.get_runs(dg.RunsFilter(statuses=LIVE))}
    lost = [header for header in unreported(context.instance, headers) if header.run_id not in live]
    shown = ", ".join(f"{header.asset}@{header.cycle} {header.bundle_id}" for header in lost[:5])
    return dg.AssetCheckResult(
        passed=not lost,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"bundles": len(headers), "without_event": len(lost), "first": shown or "none"},
    )
