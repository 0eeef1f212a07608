"""`ao blame` and `ao asof`: where a row's values come from, and what a table held."""

from __future__ import annotations

from pathlib import Path

import click

from ao_pipeline.cli.describe import bundle_json, cycles_of
from ao_pipeline.cli.output import json_option, limit_option, note, note_more, print_json, print_table
from ao_pipeline.cli.session import Session


@click.command(short_help="Say what last changed each column of a row.")
@click.argument("table")
@click.argument("key", nargs=-1, required=True)
@json_option
@click.pass_obj
def blame(session: Session, table: str, key: tuple[str, ...], as_json: bool) -> None:
    """Say which cycle, run and code version last changed each column of a row.

    KEY is the row's key, one argument for each key column.
    """
    from ao_pipeline.bundles.where import parse_key

    spec = session.store.spec(table)
    values = parse_key(spec, key)
    lines = session.past.blame(spec, values)
    if as_json:
        columns = {
            line.column: {"value": line.value, "bundle": None if line.bundle is None else bundle_json(line.bundle)}
            for line in lines
        }
        print_json({"asset": spec.asset, "key": values, "columns": columns})
        return
    rows = []
    for line in lines:
        header = line.bundle
        origin = (
            ("", "before the undo window", "", "", "")
            if header is None
            else (header.bundle_id, cycles_of(header), header.kind, header.run_id or "-", header.code_version or "-")
        )
        rows.append((line.column, line.value, *origin))
    print_table(("column", "value", "bundle", "cycle", "kind", "run", "code version"), rows)


@click.command(short_help="Show or export a table as of a cycle.")
@click.argument("table")
@click.argument("cycle", default="latest")
@click.option(
    "--parquet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every row to this Parquet file instead.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@limit_option
@json_option
@click.pass_obj
def asof(
    session: Session, table: str, cycle: str, parquet: Path | None, overwrite: bool, limit: int, as_json: bool
) -> None:
    """Show a table as it was after a cycle, proved against the state hash recorded then."""
    from ao_pipeline.bundles.past import sorted_by_key

    spec = session.store.spec(table)
    wanted = session.cycle(cycle, spec=spec)
    bundle, state = session.past.state_at(spec, wanted)
    rows = sorted_by_key(spec, state)
    facts = {
        "asset": spec.asset,
        "cycle": wanted.key,
        "bundle": bundle.bundle_id,
        "computed_in": cycles_of(bundle),
        "state_hash": bundle.state_hash_after,
    }
    if parquet is not None:
        from ao_pipeline.adapters.state.export import export_parquet

        size = export_parquet(
            rows, parquet, facts={f"ao.{name}": value for name, value in facts.items()}, overwrite=overwrite
        )
        if as_json:
            print_json({**facts, "row_count": rows.num_rows, "file": str(parquet), "bytes": size})
        else:
            click.echo(f"{parquet}: {rows.num_rows} rows of {spec.asset} as of {wanted}, {size} bytes")
        return
    shown = rows.slice(0, limit)
    if as_json:
        print_json({**facts, "row_count": rows.num_rows, "rows": shown.to_pylist()})
        return
    print_table(spec.column_names, [tuple(row.values()) for row in shown.to_pylist()])
    note(
        f"{spec.asset} as of {wanted}: {rows.num_rows} rows, hash verified "
        f"(bundle {bundle.bundle_id}, computed in {cycles_of(bundle)})."
    )
    note_more(shown.num_rows, rows.num_rows, "rows")
