"""`ao log`, `ao show` and `ao diff`: what changed, when and why."""

from __future__ import annotations

import click

from ao_pipeline.cli.describe import (
    BUNDLE_HEADINGS,
    CELL_HEADINGS,
    bundle_json,
    bundle_row,
    cell_rows,
    cycles_of,
    row_json,
)
from ao_pipeline.cli.output import json_option, limit_option, note, note_more, print_facts, print_json, print_table
from ao_pipeline.cli.session import Session


@click.command(short_help="List change bundles, the newest first.")
@click.argument("asset", required=False)
@click.option("--cycle", help="Only bundles that stand for this cycle.")
@limit_option
@json_option
@click.pass_obj
def log(session: Session, asset: str | None, cycle: str | None, limit: int, as_json: bool) -> None:
    """List change bundles, the newest first."""
    spec = session.store.spec(asset) if asset else None
    wanted = session.cycle(cycle, spec=spec) if cycle is not None else None
    found = session.store.bundles(asset=spec.asset if spec else None, cycle=wanted, limit=limit + 1)
    bundles = found[:limit]
    if as_json:
        print_json({"bundles": [bundle_json(header) for header in bundles], "is_cut": len(found) > limit})
        return
    if not bundles:
        note("No bundles recorded" + (f" for {spec.asset}" if spec else "") + (f" in {wanted}" if wanted else "") + ".")
        return
    print_table(BUNDLE_HEADINGS, [bundle_row(header) for header in bundles])
    if len(found) > limit:
        note_more(limit, None, "bundles")


@click.command(short_help="Show a bundle and its rows, cell by cell.")
@click.argument("bundle")
@limit_option
@json_option
@click.pass_obj
def show(session: Session, bundle: str, limit: int, as_json: bool) -> None:
    """Show a bundle: its header, and its rows before and after, cell by cell.

    BUNDLE is an id as `ao log` shows it, or its first digits.
    """
    from ao_pipeline.bundles.past import changed_rows

    header = session.store.bundle(bundle)
    spec = session.store.spec(header.asset)
    rows = changed_rows(spec, session.store.changes(header), limit=limit)
    facts = bundle_json(header)
    if as_json:
        print_json({"bundle": facts, "rows": [row_json(row) for row in rows], "rows_changed": header.rows_changed})
        return
    shown = (
        "run_id attempt code_version actor reason inputs cursor_before cursor_after target_id stats layout "
        "state_hash_before state_hash_after payload_hash payload_bytes parent_seal seal started_at duration_ms"
    )
    print_facts(
        {
            "bundle": f"{header.bundle_id} (seq {header.seq})",
            "asset": header.asset,
            "cycle": cycles_of(header),
            "kind": header.kind,
            "changed": f"+{header.rows_inserted} ~{header.rows_updated} -{header.rows_deleted}, "
            f"{header.row_count_after} rows after",
            **{name: facts[name] for name in shown.split()},
        }
    )
    if rows:
        click.echo()
        print_table(CELL_HEADINGS, cell_rows(rows))
    note_more(len(rows), header.rows_changed, "changed rows")


@click.command(short_help="Show what differs between two cycles.")
@click.argument("asset")
@click.argument("first", metavar="CYCLE", default="latest~1")
@click.argument("second", metavar="CYCLE", default="latest")
@limit_option
@json_option
@click.pass_obj
def diff(session: Session, asset: str, first: str, second: str, limit: int, as_json: bool) -> None:
    """Show how an asset's state differs between two cycles; by default between the two newest ones.

    What changed and changed back in between is not shown.
    """
    from ao_pipeline.bundles.past import changed_rows

    spec = session.store.spec(asset)
    old, new = session.cycle(first, spec=spec), session.cycle(second, spec=spec)
    changes = session.past.diff(spec, old, new)
    rows = changed_rows(spec, changes, limit=limit)
    counted = {
        "inserted": len(changes.inserted),
        "updated": len(changes.updated_after),
        "deleted": len(changes.deleted),
    }
    if as_json:
        header = {"asset": spec.asset, "first": old.key, "second": new.key}
        print_json({**header, **counted, "rows": [row_json(row) for row in rows]})
        return
    click.echo(
        "{asset} {old}..{new}: +{inserted} ~{updated} -{deleted}".format(asset=spec.asset, old=old, new=new, **counted)
    )
    if rows:
        print_table(CELL_HEADINGS, cell_rows(rows))
    note_more(len(rows), changes.count, "changed rows")
