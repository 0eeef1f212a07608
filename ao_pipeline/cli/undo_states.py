"""Restore recorded states of one, some or all assets, through Dagster, so that its UI shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ao_pipeline.cli.describe import CELL_HEADINGS, bundle_json, cell_rows, counts, row_json
from ao_pipeline.cli.output import note, note_more, print_json, print_table
from ao_pipeline.cli.session import Session
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import AoError, PermanentError, UnknownNameError

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.model import RevertPlan
    from ao_pipeline.bundles.past import RowChange
    from ao_pipeline.bundles.schema import TableSpec


@dataclass(frozen=True)
class Wish:
    """What was asked for. `asset` None means every asset; `skip` are left out then."""

    cycle: Cycle
    asset: str | None
    skip: tuple[str, ...]
    downstream: bool
    hold: bool
    reason: str


@dataclass(frozen=True)
class _Plans:
    """What reverting would do: plans by asset, assets already in the wanted state, why others cannot be taken back.

    `kept` are assets that are left out because what they record cannot be taken back; `rows` are changed rows to show; `cursors` are the assets whose collector position moves as well.
    """

    plans: dict[str, RevertPlan]
    same: tuple[str, ...]
    kept: tuple[str, ...]
    refused: dict[str, str]
    downstream: tuple[str, ...]
    rows: dict[str, list[RowChange]]
    cursors: frozenset[str]


def run(session: Session, wish: Wish, *, carry_out: bool, limit: int, as_json: bool) -> int:
    """Show the plan; carry it out if told to. Return the exit code.

    Raises:
        PermanentError: Some assets cannot be taken back that far, and it was to be carried out. Nothing was changed.
        UnknownNameError: The one asset that was named cannot be taken back that far.
        PermanentError: The one asset that was named cannot be taken back at all.
    """
    found = _plan(session, wish, limit=limit)
    if carry_out and found.refused:
        raise PermanentError(
            f"nothing was changed: {len(found.refused)} assets cannot be taken back to {wish.cycle}: "
            + "; ".join(found.refused.values())
            + ". Leave them out with --skip, or choose a later cycle"
        )
    results = _carry_out(session, wish, found) if carry_out else {}
    if as_json:
        print_json(_json(wish, found, results, carry_out=carry_out))
    else:
        _print(wish, found, results, carry_out=carry_out)
    return 1 if found.refused or any(results.values()) else 0


def _plan(session: Session, wish: Wish, *, limit: int) -> _Plans:
    from ao_pipeline.bundles.lineage import downstream_of
    from ao_pipeline.bundles.past import changed_rows

    store = session.store
    heads = store.heads()
    sources = session.past.sources()
    skipped = {store.spec(name).asset for name in wish.skip}
    if wish.asset is not None:
        refuse_irreversible(store.spec(wish.asset))
        below = downstream_of(sources, wish.asset)
        chosen = (wish.asset, *below) if wish.downstream else (wish.asset,)
    else:
        below = ()
        chosen = tuple(asset for asset in store.specs if asset in heads and asset not in skipped)
    kept = tuple(asset for asset in chosen if not store.spec(asset).is_revertible)
    plans: dict[str, RevertPlan] = {}
    same: list[str] = []
    refused: dict[str, str] = {}
    cursors: set[str] = set()
    rows: dict[str, list[RowChange]] = {}
    for asset in (asset for asset in chosen if asset not in kept):
        spec = store.spec(asset)
        try:
            target = session.past.bundle_at(spec, wish.cycle)
            head = heads[asset]
            if (head.state_hash, head.cursor) == (target.state_hash_after, target.cursor_after):
                same.append(asset)
            else:
                plans[asset] = store.plan_revert(spec, wish.cycle)
                left = limit - sum(map(len, rows.values()))
                rows[asset] = changed_rows(spec, session.past.way_back(spec, wish.cycle), limit=left)
                if head.cursor != target.cursor_after:
                    cursors.add(asset)
        except UnknownNameError as error:
            if asset == wish.asset:
                raise
            refused[asset] = str(error)
    below = () if wish.downstream else tuple(asset for asset in below if store.spec(asset).is_revertible)
    return _Plans(plans, tuple(same), kept, refused, below, rows, frozenset(cursors))


def refuse_irreversible(spec: TableSpec) -> None:
    """Refuse an asset whose earlier states may not come back.

    Raises:
        PermanentError: It is one. Nothing was changed.
    """
    if not spec.is_revertible:
        raise PermanentError(
            f"{spec.asset} cannot be reverted: it records what was sent, and what was sent cannot be taken back. "
            "Revert what it was computed from"
        )


def _carry_out(session: Session, wish: Wish, found: _Plans) -> dict[str, str]:
    """Revert; return what went wrong by asset, empty text for what went well."""
    if not found.plans:
        return {}
    problem = "the request came back, but the table is not in the wanted state; see `ao log`"
    try:
        session.request_revert(list(found.plans), wish.cycle, reason=wish.reason, hold=wish.hold)
    except AoError as error:
        problem = str(error)
    # What counts is what is stored: a request may fail after some of the assets were restored.
    heads = session.store.heads()
    return {
        asset: "" if heads[asset].state_hash == plan.target.state_hash_after else problem
        for asset, plan in found.plans.items()
    }


def _print(wish: Wish, found: _Plans, results: dict[str, str], *, carry_out: bool) -> None:
    if found.plans:
        print_table(
            ("asset", "to", "bundle", "+", "~", "-", "rows after", "cursor", "result"),
            [_plan_row(asset, found, results, carry_out=carry_out) for asset in found.plans],
        )
    for asset, rows in found.rows.items():
        if rows and not carry_out:
            click.echo(f"\n{asset}: as it is, and as it would become")
            print_table(CELL_HEADINGS, cell_rows(rows))
    if not carry_out:
        total = sum(plan.rows_inserted + plan.rows_updated + plan.rows_deleted for plan in found.plans.values())
        note_more(sum(map(len, found.rows.values())), total, "changed rows")
    _print_notes(wish, found, carry_out=carry_out)


def _print_notes(wish: Wish, found: _Plans, *, carry_out: bool) -> None:
    for problem in found.refused.values():
        note(f"Cannot be taken back: {problem}")
    if found.kept:
        note(f"Left out, because what was sent cannot be taken back: {', '.join(found.kept)}.")
    if found.same:
        note(f"Already in the state of {wish.cycle}: {', '.join(found.same)}.")
    if found.downstream:
        note(f"Downstream, not taken along (--downstream does): {', '.join(found.downstream)}.")
    if found.plans and not carry_out:
        note("Nothing was changed. Add --yes to carry it out.")
    elif not found.plans and not found.refused:
        note("There is nothing to take back.")


def _plan_row(asset: str, found: _Plans, results: dict[str, str], *, carry_out: bool) -> tuple[Any, ...]:
    plan = found.plans[asset]
    cursor = "moves back" if asset in found.cursors else "stays"
    changed = counts(plan.rows_inserted, plan.rows_updated, plan.rows_deleted)
    outcome = (results[asset] or "restored, hash verified") if carry_out else "planned"
    return asset, plan.target.cycle, plan.target.bundle_id, *changed, plan.target.row_count_after, cursor, outcome


def _json(wish: Wish, found: _Plans, results: dict[str, str], *, carry_out: bool) -> dict[str, Any]:
    plans = []
    for asset, plan in found.plans.items():
        problem = results.get(asset)
        plans.append(
            {
                "asset": asset,
                "target": bundle_json(plan.target),
                "inserted": plan.rows_inserted,
                "updated": plan.rows_updated,
                "deleted": plan.rows_deleted,
                "cursor_moves": asset in found.cursors,
                "rows": [row_json(row) for row in found.rows[asset]],
                "is_restored": carry_out and problem == "",
                "problem": problem or None,
            }
        )
    return {
        "cycle": wish.cycle.key,
        "is_dry_run": not carry_out,
        "plans": plans,
        "already_there": list(found.same),
        "left_out": list(found.kept),
        "refused": found.refused,
        "downstream": list(found.downstream),
    }
