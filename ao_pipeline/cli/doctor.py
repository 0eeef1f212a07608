"""`ao doctor`: ask every source whether it can be read, and say what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict

import click

from ao_pipeline.cli.output import json_option, print_json, print_table


@click.command(short_help="Check every source live; exit 1 if one cannot be read.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@json_option
@click.pass_context
def doctor(context: click.Context, sources: tuple[str, ...], as_json: bool) -> None:
    """Ask every source one cheap question: reachable, authorised, scopes granted, clocks together; exit 1 if not."""
    from ao_pipeline.adapters.sources.diagnose import diagnose
    from ao_pipeline.settings import current_settings

    found = diagnose(current_settings(), sources)
    bad = [item for item in found if not item.is_good]
    if as_json:
        print_json({"sources": [asdict(item) for item in found], "failed": len(bad)})
    else:
        print_table(
            ("source", "asked", "good", "ms", "skew s"),
            [(item.source, item.asked, item.is_good, item.duration_ms, item.skew_seconds) for item in found],
        )
        for item in bad:
            click.echo(f"\n{item.source}, {item.asked}: {item.problem}\n  {item.fix}")
        click.echo(f"\n{len(found)} questions, {len(bad)} without a good answer")
    context.exit(1 if bad else 0)
