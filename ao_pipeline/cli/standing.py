"""`ao status` and `ao verify`: where every asset stands, and whether what is stored is what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ao_pipeline import clock
from ao_pipeline.cli import export
from ao_pipeline.cli.engine import describe_role
from ao_pipeline.cli.output import json_option, note, print_json, print_table
from ao_pipeline.cli.session import Session

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.cycles import CycleRecord
    from ao_pipeline.adapters.state.standing import Standing

SHOWN_SEAL_DIGITS: Final = 16
"""Digits of a seal that name its bundle."""


@click.command(short_help="Show where every asset stands, and the last cycles.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N", help="Most cycles to print."
)
@json_option
@click.pass_obj
def status(session: Session, limit: int, as_json: bool) -> None:
    """Show where every asset stands, and the last cycles."""
    from ao_pipeline.adapters.state.standing import read_holds, read_standings

    standings = read_standings(session.store.database)
    holds = {hold.asset: hold.reason for hold in read_holds(session.store.database)}
    refused = session.store.quarantine_counts()
    cycles = session.store.cycles.latest(limit=limit)
    if as_json:
        print_json(
            {
                "assets": [_standing_json(item, holds, refused) for item in standings],
                "holds": holds,
                "cycles": [_cycle_json(record) for record in cycles],
            }
        )
        return
    if standings:
        print_table(
            ("asset", "as of", "computed to", "seq", "bundle", "kind", "rows", "refused", "hold"),
            [_standing_row(item, holds, refused) for item in standings],
        )
    else:
        note("Nothing was computed yet; `ao cycle` computes the first cycle.")
    if cycles:
        click.echo()
        print_table(("cycle", "status", "opened", "seconds", "run"), [_cycle_row(record) for record in cycles])
    if standby := describe_role(session):
        note(standby)


@click.command(short_help="Check hashes and seals; exit 1 on a finding.")
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@click.option(
    "--exported",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Check what `ao export` wrote instead of the store.",
)
@json_option
@click.pass_context
def verify(context: click.Context, assets: tuple[str, ...], exported: Path | None, as_json: bool) -> None:
    """Recompute state hashes from the tables and walk every seal; exit 1 if anything is wrong."""
    if exported is not None:
        if assets:
            raise click.UsageError("--exported checks the whole folder; leave the assets out")
        context.exit(export.verify_exported(exported, as_json=as_json))
    session: Session = context.obj
    store = session.store
    specs = [store.spec(name) for name in assets] or list(store.specs.values())
    results = [(spec, store.verify(spec.asset), store.head(spec.asset)) for spec in specs]
    findings = [finding for _, found, _ in results for finding in found]
    findings += [] if assets else store.breakers.findings()
    if as_json:
        print_json(
            {
                "verified": [spec.asset for spec, _, _ in results],
                "findings": [
                    {"asset": found.asset, "bundle_id": found.bundle_id, "problem": found.problem} for found in findings
                ],
            }
        )
    elif findings:
        print_table(
            ("asset", "bundle", "problem"), [(found.asset, found.bundle_id, found.problem) for found in findings]
        )
    bundles = sum(head.seq for _, _, head in results if head)
    rows = sum(head.row_count for _, _, head in results if head)
    if findings:
        names = sorted({found.asset for found in findings})
        note(f"{len(findings)} findings in {', '.join(names)}; {len(results)} assets were checked.")
        context.exit(1)
    if not as_json:
        click.echo(f"{len(results)} assets, {rows} rows, {bundles} bundles since the start: everything is as recorded.")
    if not assets:
        _note_foreign(session)


def _note_foreign(session: Session) -> None:
    foreign = sorted(set(session.store.heads()) - set(session.store.specs))
    if foreign:
        note(f"Not checked, because this version has no such table: {', '.join(foreign)}.")


def _standing_row(item: Standing, holds: dict[str, str], refused: dict[str, int]) -> tuple[Any, ...]:
    head = item.head
    return (
        head.asset,
        head.state_cycle,
        head.computed_cycle,
        head.seq,
        head.seal[:SHOWN_SEAL_DIGITS],
        item.bundle.kind if item.bundle else "",
        head.row_count,
        refused.get(head.asset, 0),
        holds.get(head.asset, ""),
    )


def _standing_json(item: Standing, holds: dict[str, str], refused: dict[str, int]) -> dict[str, Any]:
    head = item.head
    return {
        "asset": head.asset,
        "as_of_cycle": head.state_cycle or None,
        "computed_cycle": head.computed_cycle or None,
        "seq": head.seq,
        "bundle_id": head.seal[:SHOWN_SEAL_DIGITS],
        "kind": item.bundle.kind if item.bundle else None,
        "row_count": head.row_count,
        "state_hash": head.state_hash,
        "refused": refused.get(head.asset, 0),
        "hold": holds.get(head.asset),
    }


def _cycle_row(record: CycleRecord) -> tuple[Any, ...]:
    span = record.cycle if record.first_cycle == record.cycle else f"{record.first_cycle}..{record.cycle}"
    opened = clock.from_micros(record.opened_at_us)
    seconds = "" if record.closed_at_us is None else f"{(record.closed_at_us - record.opened_at_us) / 1e6:.1f}"
    return span, record.status, opened, seconds, record.run_id


def _cycle_json(record: CycleRecord) -> dict[str, Any]:
    closed = None if record.closed_at_us is None else clock.from_micros(record.closed_at_us)
    return {
        "cycle": record.cycle,
        "first_cycle": record.first_cycle,
        "status": record.status,
        "run_id": record.run_id,
        "opened_at": clock.from_micros(record.opened_at_us),
        "closed_at": closed,
        "report": record.report,
    }
