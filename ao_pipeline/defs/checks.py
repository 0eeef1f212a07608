"""Asset checks: sentences about each table that can be false. They read; they never write or repair."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import dagster as dg
import pyarrow.compute as pc

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.defs import collapse
from ao_pipeline.defs.blocking import BLOCKING_CHECKS, IN_CYCLE_CHECKS
from ao_pipeline.defs.links import REFERENCES, Reference
from ao_pipeline.defs.resources import CHECKS_JOB_NAME, StateResource
from ao_pipeline.defs.retries import nothing_retries_for_ever
from ao_pipeline.defs.seam import every_bundle_has_its_event

KEYS: Final = "keys_are_unique"
CHAIN: Final = "bundle_chain_is_intact"
SHOWN_CULPRITS: Final = 5

_Result = tuple[bool, dict[str, Any]]


def keys_are_unique(store: StateStore, spec: TableSpec) -> _Result:
    """Tell whether every key occurs once and is complete."""
    keys = store.read_keys(spec.asset)
    distinct = keys.group_by(list(spec.key_names)).aggregate([]).num_rows
    nulls = sum(keys.column(name).null_count for name in spec.key_names)
    return distinct == keys.num_rows and not nulls, {
        "rows": keys.num_rows,
        "repeated": keys.num_rows - distinct,
        "null": nulls,
    }


def bundle_chain_is_intact(store: StateStore, spec: TableSpec) -> _Result:
    """Tell whether table, head and every sealed bundle agree."""
    findings = store.verify(spec.asset)
    shown = "; ".join(f"{f.bundle_id} {f.problem}" for f in findings[:SHOWN_CULPRITS])
    return not findings, {"findings": len(findings), "first": shown or "none"}


def references_resolve(store: StateStore, reference: Reference) -> _Result:
    """Tell whether every value that is there is also a key of the table that it names."""
    values = pc.drop_null(store.read(reference.table.asset).column(reference.column)).unique()
    targets = store.read_keys(reference.target.asset).column(reference.target.key_names[0])
    lost = values.filter(pc.invert(pc.is_in(values, value_set=targets.combine_chunks())))
    return not len(lost), {
        "values": len(values),
        "unresolved": len(lost),
        "first": ", ".join(lost.slice(0, SHOWN_CULPRITS).to_pylist()) or "none",
    }


_RULES: Final[dict[str, Callable[[StateStore, TableSpec], _Result]]] = {
    KEYS: keys_are_unique,
    CHAIN: bundle_chain_is_intact,
    collapse.NAME: collapse.measure_collapse,
}


def _references_of(spec: TableSpec) -> dict[str, Reference]:
    return {reference.name: reference for reference in REFERENCES if reference.table == spec}


def _declare(stage: str, specs: Sequence[TableSpec]) -> dg.AssetChecksDefinition:
    by_key = {dg.AssetKey(spec.asset.split("/")): spec for spec in specs}
    check_specs = [
        dg.AssetCheckSpec(name, asset=key, description=description)
        for key, spec in by_key.items()
        for name, description in [
            *((name, (rule.__doc__ or "").strip()) for name, rule in _RULES.items()),
            *((name, f"{ref.column} names a row of {ref.target.asset}.") for name, ref in _references_of(spec).items()),
        ]
        if dg.AssetCheckKey(key, name) not in IN_CYCLE_CHECKS
    ]

    @dg.multi_asset_check(name=f"{stage}_checks", specs=check_specs, can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, state: StateResource) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys, key=lambda key: (key.asset_key.path, key.name)):
            spec = by_key[key.asset_key]
            if key.name in _RULES:
                passed, facts = _RULES[key.name](state.store, spec)
            else:
                passed, facts = references_resolve(state.store, _references_of(spec)[key.name])
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=passed,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata=facts,
            )

    return run_checks


def _by_stage() -> dict[str, list[TableSpec]]:
    stages: dict[str, list[TableSpec]] = {}
    for spec in ALL_SPECS:
        stages.setdefault(spec.asset.split("/", 1)[0], []).append(spec)
    return stages


CHECKS: Final = tuple(_declare(stage, specs) for stage, specs in _by_stage().items())

checks_job: Final = dg.define_asset_job(
    CHECKS_JOB_NAME,
    selection=dg.AssetSelection.checks(*CHECKS, *BLOCKING_CHECKS, every_bundle_has_its_event, nothing_retries_for_ever),
    description="Every asset check against the store as it is.",
    executor_def=dg.in_process_executor,
)


@dg.schedule(
    job=checks_job,
    cron_schedule="50 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def checks_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Run every check once an hour, between two cycles."""
    return dg.RunRequest(
        run_key=f"checks:{context.scheduled_execution_time.isoformat()}", tags={"ao/purpose": "checks"}
    )
