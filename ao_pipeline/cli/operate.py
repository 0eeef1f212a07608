"""`ao up`, `ao cycle`, `ao checks`, `ao migrate` and `ao snapshot`: run the pipeline and read what it publishes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import click

from ao_pipeline.cli.describe import counts
from ao_pipeline.cli.fresh import fresh_store
from ao_pipeline.cli.output import json_option, note, print_json, print_table, printable
from ao_pipeline.cli.session import Session

SNAPSHOT: Final = "snapshot/agency"


@click.command(short_help="Start everything and keep it running.")
@click.pass_context
def up(context: click.Context) -> None:
    """Start everything and keep it running, a cycle every 15 minutes; Ctrl-C stops all of it."""
    session: Session = context.obj
    context.exit(session.run_supervised())


@click.command(short_help="Run one cycle now; exit 0 only if it was good.")
@click.option("--cycle", "key", metavar="CYCLE", help="Which cycle; by default the last one that has ended.")
@json_option
@click.pass_context
def cycle(context: click.Context, key: str | None, as_json: bool) -> None:
    """Run one cycle now; exit 0 only if it was good."""
    session: Session = context.obj
    wanted = session.cycle(key, spec=None) if key is not None else None
    outcome = session.run_cycle(wanted)
    if as_json:
        print_json(asdict(outcome))
    else:
        print_table(
            ("asset", "status", "+", "~", "-", "rows", "ms", "note"),
            [
                (
                    item.asset,
                    item.status,
                    *counts(item.inserted, item.updated, item.deleted),
                    item.rows,
                    item.duration_ms,
                    item.note,
                )
                for item in outcome.assets
            ],
        )
        for asset, breaker in outcome.left_out.items():
            note(f"{asset} was left out: circuit breaker {breaker} is not closed; see `ao breakers`.")
        click.echo(f"\n{outcome.cycle}: {outcome.status} in {outcome.duration_ms / 1000:.1f} s, run {outcome.run_id}")
    context.exit(0 if outcome.is_good else 1)


@click.command(short_help="Evaluate every asset check; exit 1 if one fails.")
@click.option("--fresh", is_flag=True, help="Against a throw-away store, computed now from the simulated agency.")
@json_option
@click.pass_context
def checks(context: click.Context, as_json: bool, fresh: bool) -> None:
    """Evaluate every asset check against the store as it is; exit 1 if one fails."""
    session: Session = context.obj
    if fresh:
        with fresh_store():
            made = session.run_cycle(None)
            outcomes = session.run_checks()
        click.echo(f"computed {made.cycle} afresh: {made.status}", err=True)
        if not made.is_good:
            context.exit(1)
    else:
        outcomes = session.run_checks()
    failed = [item for item in outcomes if not item.passed]
    if as_json:
        print_json({"checks": [asdict(item) for item in outcomes], "failed": len(failed)})
    else:
        print_table(
            ("asset", "check", "passed", "facts"),
            [(item.asset, item.name, item.passed, item.facts) for item in outcomes],
        )
        click.echo(f"\n{len(outcomes)} checks, {len(failed)} failed")
    context.exit(1 if failed or not outcomes else 0)


@click.command(short_help="Start the simulated upstreams alone.")
@click.pass_context
def sandbox(context: click.Context) -> None:
    """Start the simulated upstreams alone, for `dagster dev`; Ctrl-C stops them."""
    from ao_pipeline.sandbox.__main__ import main

    context.exit(main([]))


@click.command(short_help="Bring the state store's schema up to date.")
@click.pass_obj
def migrate(session: Session) -> None:
    """Bring the state store's tables up to this version. Every other command does so too."""
    url = session.store.database.engine.url.render_as_string(hide_password=True)
    click.echo(f"{url} is at the newest schema")


@click.command(short_help="Show the published agency snapshot.")
@json_option
@click.pass_context
def snapshot(context: click.Context, as_json: bool) -> None:
    """Show the agency snapshot that was published last; exit 1 if there is none."""
    session: Session = context.obj
    rows = sorted(session.store.read(SNAPSHOT).to_pylist(), key=lambda row: row["position"])
    if as_json:
        sections = {
            row["section"]: {
                "status": row["status"],
                "item_count": row["item_count"],
                "body": json.loads(row["body_json"]),
            }
            for row in rows
        }
        print_json({"sections": sections})
    else:
        from ao_pipeline.snapshot.render import render_text

        for line in render_text(rows).splitlines():
            click.echo(printable(line))
    context.exit(0 if rows else 1)
