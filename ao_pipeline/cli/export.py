"""`ao export` and `ao verify --exported`: bundles as files, and whether such files are what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

from ao_pipeline.cli.output import json_option, note, print_json, print_table
from ao_pipeline.cli.session import Session


@click.command(short_help="Write bundles as files that anybody can verify.")
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@click.option("--all", "is_all", is_flag=True, help="Every asset that has a bundle.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A folder that is new or empty.",
)
@click.option("--since", metavar="CYCLE", help="Begin with the first bundle of this cycle or a later one.")
@click.option("--table", "with_table", is_flag=True, help="Write each table as it is now as well, as Parquet.")
@json_option
@click.pass_obj
def export(
    session: Session,
    assets: tuple[str, ...],
    is_all: bool,
    folder: Path,
    since: str | None,
    with_table: bool,
    as_json: bool,
) -> None:
    """Write bundles as files: headers with their seals, and payloads, one folder an asset.

    `ao verify --exported DIR` checks them; so does `verifier.py` alone, without this project.
    """
    from ao_pipeline.adapters.state.export_bundles import export_bundles

    if is_all == bool(assets):
        raise click.UsageError("name assets, or use --all")
    heads = session.store.heads()
    named = dict.fromkeys(session.store.spec(name) for name in assets)
    specs = [spec for spec in session.store.specs.values() if spec.asset in heads] if is_all else list(named)
    cycle = session.cycle(since, spec=None) if since is not None else None
    exported = export_bundles(session.store, specs, folder, since=cycle, with_table=with_table)
    if as_json:
        fields = ("asset", "folder", "bundles", "payload_bytes")
        print_json({"exported": [{name: getattr(item, name) for name in fields} for item in exported]})
        return
    if exported:
        print_table(
            ("asset", "folder", "bundles", "payload bytes"),
            [(item.asset, item.folder, item.bundles, item.payload_bytes) for item in exported],
        )
    note(f"Check it with `ao verify --exported {folder}`.")


def verify_exported(folder: Path, *, as_json: bool) -> int:
    """Verify exported files and print what is wrong; return the exit code."""
    from ao_pipeline.bundles.verifier import verify_export

    report = verify_export(folder)
    problems = [{"asset": asset, "bundle_id": bundle, "problem": problem} for asset, bundle, problem in report.problems]
    if as_json:
        print_json({"assets": report.assets, "bundles": report.bundles, "rows": report.rows, "findings": problems})
    elif problems:
        print_table(("asset", "bundle", "problem"), report.problems)
        note(f"{len(problems)} findings in {report.assets} exported assets.")
    else:
        click.echo(
            f"{report.assets} assets, {report.bundles} bundles, {report.rows} changed rows: everything is as recorded."
        )
    return 1 if problems else 0
