"""How a managed asset materializes: restore an earlier cycle, or compute, commit and report.

An asset module only says what it reads and which rule it calls; everything that keeps the promises is here.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import dagster as dg
import pyarrow as pa

from ao_pipeline.adapters.state.model import Head, Intent, Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import RowSource, canonical_json, conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import CYCLE_MINUTES, Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.failures import STEP_RETRY, mapped_failures
from ao_pipeline.defs.limits import step_limits
from ao_pipeline.defs.metadata import column_schema, materialization, materialize_result
from ao_pipeline.defs.partitions import CYCLES, cycles_of, one_run_for_a_range
from ao_pipeline.defs.resources import StateResource
from ao_pipeline.errors import PermanentError, TransientError, UnknownNameError
from ao_pipeline.settings import Settings

OWNER: Final = "team:agency-operations"

Facts = Mapping[str, Any]
"""Inputs that are not tables (a file's hash, the freshness of sources): small JSON, part of the fingerprint."""


@dataclass(frozen=True)
class Work:
    """What a rule may look at in one cycle. "Now" is the cycle's end, never the clock."""

    store: StateStore
    settings: Settings
    spec: TableSpec
    first_cycle: Cycle
    cycle: Cycle
    run_id: str
    reads: tuple[TableSpec, ...]
    facts: Facts = field(default_factory=dict)
    engine_token: int = 0
    remaining_seconds: Callable[[], float] = field(default=lambda: math.inf)
    """Time until the step is interrupted: for a rule with many waits, which can stop between two of them."""

    @property
    def now(self) -> datetime:
        return self.cycle.end

    @property
    def as_of(self) -> date:
        """The organisation's calendar day."""
        return self.cycle.org_date(self.settings.zone)

    def table(self, spec: TableSpec, columns: Sequence[str] = (), *, only: Sequence[str] | None = None) -> pa.Table:
        """Return an input table, or the part that `StateStore.read` describes; only declared inputs can be read."""
        if spec not in self.reads and spec != self.spec:
            raise UnknownNameError(f"{self.spec.asset} reads {spec.asset} without declaring it")
        return self.store.read(spec.asset, columns, only=only)

    @cached_property
    def head(self) -> Head | None:
        """Where the asset itself stands."""
        return self.store.head(self.spec.asset)


Rule = Callable[[Work], RowSource | Change]
FactsRule = Callable[[Work], Facts]
CommitStep = Callable[[str, Change], Receipt]
PrepareRule = Callable[[Work, CommitStep], None]
"""Commits something of its own before the rule runs: an intent that must be durable before a side effect."""


@dataclass(frozen=True)
class _Recipe:
    """What `managed_asset` was told, for the step's body."""

    spec: TableSpec
    reads: tuple[TableSpec, ...]
    facts: FactsRule | None
    code_version: str
    depends_on_day: bool
    is_skippable: bool
    prepare: PrepareRule | None


def managed_asset(
    spec: TableSpec,
    *,
    reads: Sequence[TableSpec] = (),
    code_version: str,
    kinds: set[str],
    depends_on_day: bool = False,
    facts: FactsRule | None = None,
    cadence_minutes: int = CYCLE_MINUTES,
    is_skippable: bool = True,
    prepare: PrepareRule | None = None,
    pool: str | None = None,
) -> Callable[[Rule], dg.AssetsDefinition]:
    """Declare the asset that writes `spec`.

    Args:
        spec: Its table.
        reads: Tables that it is computed from: its lineage.
        code_version: Changes when the rule's meaning changes; then it is computed again.
        kinds: Labels in the UI.
        depends_on_day: Whether the organisation's calendar day is an input.
        facts: Inputs that are not tables.
        cadence_minutes: How often it is due; freshness derives from it.
        is_skippable: Whether equal inputs may skip the computation (collectors never: the world is their input).
        prepare: See `PrepareRule`.
        pool: Dagster pool that bounds concurrent steps.
    """
    recipe = _Recipe(spec, tuple(reads), facts, code_version, depends_on_day, is_skippable, prepare)
    stage = spec.asset.split("/", 1)[0]

    def declare(rule: Rule) -> dg.AssetsDefinition:
        with one_run_for_a_range() as range_policy:
            asset = dg.asset(
                key=dg.AssetKey(spec.asset.split("/")),
                deps=[dg.AssetKey(other.asset.split("/")) for other in recipe.reads],
                partitions_def=CYCLES,
                backfill_policy=range_policy,
                group_name=stage,
                owners=[OWNER],
                kinds=kinds,
                tags={"stage": stage},
                code_version=code_version,
                description=rule.__doc__,
                retry_policy=STEP_RETRY,
                freshness_policy=freshness(cadence_minutes),
                output_required=False,  # A run that came too late ends without a materialization.
                metadata={
                    "dagster/column_schema": column_schema(spec),
                    "dagster/table_name": spec.name,
                    "ao/row": spec.row,
                },
                pool=pool,
            )
            return asset(_body(recipe, rule))

    return declare


def _body(recipe: _Recipe, rule: Rule) -> Callable[..., Any]:
    """Return the step's function: Dagster reads its signature."""

    def materialize(context: dg.AssetExecutionContext, state: StateResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # Dagster knows the bare class only
        if state.idle_reason is not None:
            context.log.info(state.idle_reason)
            return
        first, last = cycles_of(context)
        abort, spec = state.store.database.abort, recipe.spec
        with (
            mapped_failures(context, state.store),
            step_limits(context, spec.asset, state.settings, abort=abort) as bounds,
        ):
            run_id, reads = root_run_id(context), recipe.reads
            work = Work(
                state.store,
                bounds.settings,
                spec,
                first,
                last,
                run_id,
                reads,
                engine_token=state.engine_token,
                remaining_seconds=bounds.remaining_seconds,
            )
            result = materialize_result(_materialize(context, work, recipe, rule))
        yield result

    return materialize


def freshness(cadence_minutes: int) -> dg.FreshnessPolicy:
    """Warn after one missed materialization, fail after two, each with a window's grace to run in."""
    due = timedelta(minutes=cadence_minutes + CYCLE_MINUTES)
    return dg.FreshnessPolicy.time_window(fail_window=due + timedelta(minutes=cadence_minutes), warn_window=due)


def root_run_id(context: dg.AssetExecutionContext) -> str:
    """Return the id that every retry of this run shares."""
    return context.run.root_run_id or context.run.run_id


def _materialize(context: dg.AssetExecutionContext, work: Work, recipe: _Recipe, rule: Rule) -> Receipt:
    purpose = context.run.tags.get(tags.PURPOSE, "")
    is_earlier = work.head is not None and work.cycle.key < work.head.computed_cycle
    if is_earlier and work.head is not None and purpose in tags.AUTOMATIC:
        # Only people revert. A run of the engine's own that comes late must not take newer cycles back.
        raise PermanentError(
            f"{work.spec.asset} is already computed for {work.head.computed_cycle}; cycle {work.cycle} was overtaken and is left out"
        )
    if purpose == "revert" or (is_earlier and (purpose != "recompute" or not work.spec.is_revertible)):
        if not work.spec.is_revertible:
            raise PermanentError(f"{work.spec.asset} cannot return to {work.cycle}: what was sent cannot be taken back")
        return _restore(context, work)
    return _compute(context, work, recipe, rule)


def _restore(context: dg.AssetExecutionContext, work: Work) -> Receipt:
    reason = context.run.tags.get(tags.REASON, f"partition {work.cycle} was materialized again")
    actor = context.run.tags.get(tags.ACTOR, "dagster")
    receipt = work.store.revert(
        Intent(
            spec=work.spec,
            cycle=work.cycle,
            first_cycle=work.first_cycle,
            name=f"revert:{work.run_id}",
            run_id=context.run.run_id,
            attempt=context.retry_number + 1,
            actor=actor,
            reason=reason,
            engine_token=work.engine_token,
        )
    )
    if context.run.tags.get(tags.HOLD) == "true":
        work.store.hold(work.spec.asset, reason=reason, actor=actor)
    header = receipt.header
    context.log.info(
        f"reverted {header.asset} to {work.cycle}: {header.rows_changed} rows changed, state {header.state_hash_after} verified"
    )
    return receipt


def _compute(context: dg.AssetExecutionContext, work: Work, recipe: _Recipe, rule: Rule) -> Receipt:
    facts = {} if recipe.facts is None else recipe.facts(work)
    work = replace(work, facts=facts)
    inputs = _fingerprint(work, recipe)
    if recipe.prepare is not None:

        def commit_step(name: str, change: Change) -> Receipt:
            writer = work.store.begin(_intent(context, work, recipe, name=f"{name}:{work.run_id}", inputs=""))
            if writer.found is not None:
                return Receipt(writer.found, is_replay=True)
            receipt = work.store.commit(writer, change)
            context.log_event(materialization(receipt.header, f"bundle {name!r} before the asset's own"))
            return receipt

        recipe.prepare(work, commit_step)
    intent = _intent(context, work, recipe, name=f"run:{work.run_id}", inputs=inputs)
    writer = work.store.begin(intent)
    if writer.found is not None:
        context.log.info(f"bundle {writer.found.bundle_id} was committed by an earlier attempt; reporting it")
        return Receipt(writer.found, is_replay=True)
    if recipe.is_skippable and writer.head.seq and writer.head.inputs == inputs:
        return work.store.commit(
            writer, Change(work.spec.empty(), is_full=False, stats={"skipped": "inputs unchanged"})
        )
    result = rule(work)
    if recipe.is_skippable and _fingerprint(work, recipe) != inputs:
        raise TransientError(
            f"{work.spec.asset}: a table that it is computed from changed meanwhile; nothing was written, it is computed again"
        )
    change = result if isinstance(result, Change) else Change(conform(work.spec, result), is_full=True)
    return work.store.commit(writer, change)


def _intent(context: dg.AssetExecutionContext, work: Work, recipe: _Recipe, *, name: str, inputs: str) -> Intent:
    done = work.head.computed_cycle if work.head is not None else ""
    # Two requests may both take a gap along: what an earlier bundle covers is not covered again.
    first = max(work.first_cycle, Cycle.from_key(done).shift(1)) if done else work.first_cycle
    return Intent(
        spec=work.spec,
        cycle=work.cycle,
        first_cycle=min(first, work.cycle),
        name=name,
        run_id=context.run.run_id,
        attempt=context.retry_number + 1,
        code_version=recipe.code_version,
        reason=context.run.tags.get(tags.REASON, ""),
        inputs=inputs,
        engine_token=work.engine_token,
    )


def _fingerprint(work: Work, recipe: _Recipe) -> str:
    """Return canonical JSON of everything the rows follow from."""
    heads = work.store.heads() if work.reads else {}
    day: str | None = work.as_of.isoformat() if recipe.depends_on_day else None
    return canonical_json(
        {
            "code": recipe.code_version,
            "day": day,
            "facts": json.loads(canonical_json(dict(work.facts))),
            "tables": {s.name: heads[s.asset].state_hash if s.asset in heads else None for s in work.reads},
        }
    )
