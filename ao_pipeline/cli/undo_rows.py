"""Take one bundle back out of the middle, or the rows of it that conditions select."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ao_pipeline.cli.describe import CELL_HEADINGS, bundle_json, cell_rows, key_text, row_json
from ao_pipeline.cli.output import note, note_more, print_json, print_table
from ao_pipeline.cli.session import Session, actor
from ao_pipeline.cli.undo_states import refuse_irreversible
from ao_pipeline.cycle import Cycle

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.revert_rows import RowConflict, RowRevertPlan
    from ao_pipeline.bundles.header import BundleHeader
    from ao_pipeline.bundles.schema import TableSpec


@dataclass(frozen=True)
class Wish:
    """What was asked for: a bundle, conditions on its rows as typed, whether to overwrite rows that changed since."""

    bundle: str
    where: tuple[str, ...]
    force: bool
    hold: bool
    reason: str


def run(session: Session, wish: Wish, *, carry_out: bool, limit: int, as_json: bool) -> int:
    """Show the plan; carry it out if told to. Return the exit code: 1 when conflicts were left alone."""
    from ao_pipeline.adapters.state.model import Intent
    from ao_pipeline.adapters.state.revert_rows import RowReverter
    from ao_pipeline.bundles.where import parse_condition
    from ao_pipeline.defs.engine import borrowed_on
    from ao_pipeline.settings import current_settings

    header = session.store.bundle(wish.bundle)
    spec = session.store.spec(header.asset)
    refuse_irreversible(spec)
    conditions = [parse_condition(spec, text) for text in wish.where]
    reverter = RowReverter.of(session.store)
    committed: BundleHeader | None = None
    plan = reverter.plan(spec, header, conditions, force=wish.force)
    if carry_out and (plan.changes.count or plan.conflicts):
        cycle = Cycle.from_key(header.cycle)
        reason = wish.reason or f"rows of bundle {header.bundle_id} taken back"
        # Each invocation is a wish of its own: asking again later may find other rows to take back.
        name = f"revert-rows:{header.bundle_id}:{uuid.uuid4().hex[:12]}"
        with borrowed_on(session.store, current_settings()) as token:
            intent = Intent(spec, cycle, cycle, name, actor=actor(), reason=reason, engine_token=token)
            result = reverter.apply(intent, header, conditions, force=wish.force)
        plan, committed = result.plan, result.receipt.header
        if wish.hold:
            session.store.hold(spec.asset, reason=reason, actor=actor())
    if as_json:
        print_json(_json(spec, plan, committed, limit=limit))
    else:
        _print(spec, plan, committed, limit=limit)
    return 1 if plan.conflicts and not wish.force else 0


def _print(spec: TableSpec, plan: RowRevertPlan, committed: BundleHeader | None, *, limit: int) -> None:
    from ao_pipeline.bundles.past import changed_rows

    changes = plan.changes
    head = f"+{len(changes.inserted)} ~{len(changes.updated_after)} -{len(changes.deleted)}"
    click.echo(f"{spec.asset}: {head} by taking back {plan.selected} rows of bundle {plan.bundle.bundle_id}")
    rows = changed_rows(spec, changes, limit=limit)
    if rows:
        print_table(CELL_HEADINGS, cell_rows(rows))
    note_more(len(rows), changes.count, "changed rows")
    if plan.conflicts:
        click.echo(f"\nconflicts: {len(plan.conflicts)} rows changed since")
        print_table(
            ("key", "changed by", "in cycle", "is now"),
            [_conflict_row(spec, conflict) for conflict in plan.conflicts[:limit]],
        )
        note_more(min(limit, len(plan.conflicts)), len(plan.conflicts), "conflicts")
    if plan.already:
        note(f"{plan.already} rows are as they were before the bundle already.")
    if committed is not None:
        note(f"Taken back as bundle {committed.bundle_id}, state hash verified.")
    elif changes.count:
        note("Nothing was changed. Add --yes to carry it out.")
    else:
        note("There is nothing to take back.")


def _conflict_row(spec: TableSpec, conflict: RowConflict) -> tuple[Any, ...]:
    from ao_pipeline.cli.output import cell_text

    by = conflict.changed_by
    now = "gone"
    if conflict.now is not None:
        now = "; ".join(f"{column.name}={cell_text(conflict.now[column.name])}" for column in spec.columns)
    return key_text(conflict.key), by.bundle_id if by else "", by.cycle if by else "", now


def _json(spec: TableSpec, plan: RowRevertPlan, committed: BundleHeader | None, *, limit: int) -> dict[str, Any]:
    from ao_pipeline.bundles.past import changed_rows

    changes = plan.changes
    return {
        "asset": spec.asset,
        "bundle": bundle_json(plan.bundle),
        "selected": plan.selected,
        "inserted": len(changes.inserted),
        "updated": len(changes.updated_after),
        "deleted": len(changes.deleted),
        "already": plan.already,
        "rows": [row_json(row) for row in changed_rows(spec, changes, limit=limit)],
        "conflicts": [
            {
                "key": conflict.key,
                "now": conflict.now,
                "changed_by": conflict.changed_by.bundle_id if conflict.changed_by else None,
            }
            for conflict in plan.conflicts[:limit]
        ],
        "conflict_count": len(plan.conflicts),
        "is_dry_run": committed is None,
        "committed": None if committed is None else bundle_json(committed),
    }
