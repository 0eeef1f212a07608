"""`ao doctor`: ask every source whether it can be read, and say what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from ao_pipeline.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from ao_pipeline.adapters.files_source.registry import FolderReport

SHOWN: Final = 20
"""Names of ignored files printed."""


@click.command(short_help="Check every source live; exit 1 if one cannot be read.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@json_option
@click.pass_context
def doctor(context: click.Context, sources: tuple[str, ...], as_json: bool) -> None:
    """Ask every source one cheap question: reachable, authorised, scopes granted, clocks together; exit 1 if not.

    With AO_FILES_DIR it also says what the folder holds, what of it is not read, and asks only sources with an account.
    """
    from ao_pipeline.adapters.files_source.registry import report_folder
    from ao_pipeline.adapters.sources.diagnose import diagnose
    from ao_pipeline.settings import current_settings

    settings = current_settings()
    found = diagnose(settings, sources)
    folder = None if sources else report_folder(settings)
    bad = [item for item in found if not item.is_good]
    failed = len(bad) + bool(folder and folder.problem)
    if as_json:
        files = None if folder is None else {**asdict(folder), "ignored": len(folder.ignored)}
        print_json({"sources": [asdict(item) for item in found], "files": files, "failed": failed})
    else:
        if found:
            print_table(
                ("source", "asked", "good", "ms", "skew s"),
                [(item.source, item.asked, item.is_good, item.duration_ms, item.skew_seconds) for item in found],
            )
        for item in bad:
            click.echo(f"\n{item.source}, {item.asked}: {item.problem}\n  {item.fix}")
        click.echo(f"\n{len(found)} questions, {len(bad)} without a good answer")
        if folder is not None:
            _print_folder(folder)
    context.exit(1 if failed else 0)


def _print_folder(folder: FolderReport) -> None:
    click.echo(f"\n{folder.folder}\n")
    if folder.kinds:
        print_table(
            ("files of kind", "files", "tables"),
            [(item.kind, item.files, ", ".join(item.tables)) for item in folder.kinds],
        )
    if folder.ignored:
        click.echo(f"\n{len(folder.ignored)} files are not read:")
        for file in folder.ignored[:SHOWN]:
            click.echo(f"  {file.name}: {file.reason}")
        if len(folder.ignored) > SHOWN:
            click.echo(f"  and {len(folder.ignored) - SHOWN} more")
    if folder.problem:
        click.echo(f"\nfiles: {folder.problem}\n  {folder.fix}")
