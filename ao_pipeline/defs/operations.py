"""`ops/*`: the cycle about itself."""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.journal import append_cycle
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.cycle import Cycle, cycles_between
from ao_pipeline.defs import tags
from ao_pipeline.defs.breakers import tell_breakers
from ao_pipeline.defs.failures import STEP_RETRY, mapped_failures
from ao_pipeline.defs.limits import step_limits
from ao_pipeline.defs.managed import OWNER, freshness
from ao_pipeline.defs.partitions import CYCLES, cycles_of, one_run_for_a_range
from ao_pipeline.defs.resources import StateResource
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.observability.logs import cycle_complete_fields
from ao_pipeline.resilience.outcome import Outcome, Written, judge_cycle
from ao_pipeline.resilience.staleness import staleness
from ao_pipeline.settings import Settings
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY


def due_assets(first: Cycle, last: Cycle, state_cycles: Mapping[str, str]) -> list[str]:
    """Return the assets with a table that a run over these cycles shall compute.

    Everything derived, always; a collector when a cycle of the range asks for it, or when its last turn was missed.

    Args:
        first: Oldest cycle.
        last: Newest cycle.
        state_cycles: The cycle that each asset's state is of, absent when it has none.
    """
    return [
        spec.asset
        for spec in ALL_SPECS
        if spec.asset not in CADENCE.interval_minutes
        or any(CADENCE.is_due(spec.asset, cycle) for cycle in cycles_between(first, last))
        or staleness(state_cycles.get(spec.asset), cycle=last, is_due=partial(CADENCE.is_due, spec.asset)).is_stale
    ]


def state_cycles(store: StateStore) -> dict[str, str]:
    """Return the cycle that each asset's state is of."""
    return {asset: head.state_cycle for asset, head in store.heads().items()}


def root_runs(run: dg.DagsterRun) -> frozenset[str]:
    """Return the runs whose bundles make up a cycle: this one with its retries, and the one that it follows."""
    roots = {run.root_run_id or run.run_id, run.tags.get(tags.FOLLOWS, "")}
    return frozenset(roots - {""})


def bundles_of(store: StateStore, cycle: Cycle, runs: Collection[str]) -> list[BundleHeader]:
    """Return what these runs computed in the cycle, the newest first; an earlier run of the same cycle does not count."""
    headers = store.bundles(cycle=cycle, limit=10 * len(ALL_SPECS))
    return [h for h in headers if h.kind == BundleKind.MATERIALIZE and h.intent.partition(":")[2] in runs]


def close_cycle(
    store: StateStore, settings: Settings, *, first: Cycle, last: Cycle, run_id: str, runs: Collection[str]
) -> dict[str, Any]:
    """Judge the cycle by what its runs wrote, close its record, write its one log line, and return the report."""
    written: dict[str, Written] = {}
    headers = bundles_of(store, last, runs)
    for header in headers:
        seen = written.get(header.asset)
        changed = header.rows_changed + (seen.rows_changed if seen else 0)
        duration = header.duration_ms + (seen.duration_ms if seen else 0)
        rows = seen.row_count if seen else header.row_count_after
        written[header.asset] = Written(header.asset, changed, rows, duration)
    holds, told = store.holds(), tell_breakers(store, last, runs=runs, headers=headers)
    outcome = judge_cycle(
        (asset for asset in due_assets(first, last, state_cycles(store)) if asset not in holds),
        written,
        published=SNAPSHOT_AGENCY.asset,
        stale=[*_stale_sections(store), *holds],
    )
    report = _report(store, outcome, first=first, last=last, holds=sorted(holds))
    report |= told.as_report(outcome.missing)
    store.cycles.close(last, status=outcome.status.value, report=report, run_id=run_id)
    record = store.cycles.get(last)
    if record is not None:
        append_cycle(settings.data_path / "logs", cycle_complete_fields(record))
    return report


def _stale_sections(store: StateStore) -> list[str]:
    rows = store.read(SNAPSHOT_AGENCY.asset).to_pylist()
    trust: dict[str, Any] = next((json.loads(row["body_json"]) for row in rows if row["section"] == "trust"), {})
    return list(trust.get("stale_sources", []))


def _report(store: StateStore, outcome: Outcome, *, first: Cycle, last: Cycle, holds: list[str]) -> dict[str, Any]:
    record = store.cycles.get(last)
    now_us = clock.to_micros(clock.utc_now())
    return {
        "status": outcome.status.value,
        "degraded": outcome.status.value == "degraded",
        "first_cycle": first.key if record is None else record.first_cycle,
        "duration_ms": 0 if record is None else (now_us - record.opened_at_us) // 1000,
        "stages": outcome.stages,
        "missing": list(outcome.missing),
        "stale": _stale_sections(store),
        "holds": holds,
        "rows_changed": outcome.rows_changed,
    }


with one_run_for_a_range() as range_policy:

    @dg.asset(
        key=dg.AssetKey(["ops", "cycle_report"]),
        deps=[dg.AssetKey(NOTIFY_DELIVERIES.asset.split("/"))],
        partitions_def=CYCLES,
        backfill_policy=range_policy,
        group_name="ops",
        owners=[OWNER],
        kinds={"log"},
        tags={"stage": "ops"},
        code_version="1",
        retry_policy=STEP_RETRY,
        freshness_policy=freshness(15),
        metadata={"dagster/table_name": "ao_cycle"},
        output_required=False,
    )
    def ops_cycle_report(
        context: dg.AssetExecutionContext, state: StateResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The cycle's record: its status as a function of what was written, what is missing, and time by stage."""
        if state.idle_reason is not None:
            context.log.info(state.idle_reason)
            return
        first, last = cycles_of(context)
        abort = state.store.database.abort
        with (
            mapped_failures(context, state.store),
            step_limits(context, "ops/cycle_report", state.settings, abort=abort),
        ):
            report = close_cycle(
                state.store,
                state.settings,
                first=first,
                last=last,
                run_id=context.run.run_id,
                runs=root_runs(context.run),
            )
        yield dg.MaterializeResult(
            metadata={
                "ao/status": report["status"],
                "ao/duration_ms": report["duration_ms"],
                "ao/rows_changed": report["rows_changed"],
                "ao/missing": ", ".join(report["missing"]) or "none",
                "ao/stale": ", ".join(report["stale"]) or "none",
                "ao/left_out": ", ".join(report["left_out"]) or "none",
                "ao/breakers": ", ".join(f"{name} {state}" for name, state in report["breakers"].items()) or "none",
                "ao/stages": dg.MetadataValue.json(report["stages"]),
            }
        )


OPERATIONS_ASSETS = (ops_cycle_report,)
