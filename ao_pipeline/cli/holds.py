"""`ao hold`: keep an asset from being computed. `ao accept-volume`: let it shrink."""

from __future__ import annotations

import click

from ao_pipeline.cli.output import json_option, note, print_json, print_table
from ao_pipeline.cli.session import Session, actor


@click.group()
def hold() -> None:
    """Keep an asset from being computed until it is released."""


@hold.command("list")
@json_option
@click.pass_obj
def list_holds(session: Session, as_json: bool) -> None:
    """List the assets on hold."""
    from ao_pipeline.adapters.state.standing import read_holds

    records = read_holds(session.store.database)
    if as_json:
        fields = ("asset", "reason", "actor", "since_at")
        print_json({"holds": [{name: getattr(record, name) for name in fields} for record in records]})
    elif records:
        print_table(
            ("asset", "since", "by", "reason"),
            [(item.asset, item.since_at, item.actor, item.reason) for item in records],
        )
    else:
        note("No asset is on hold.")


@hold.command("set")
@click.argument("asset")
@click.option("--reason", required=True, help="Why; everybody sees it.")
@click.pass_obj
def set_hold(session: Session, asset: str, reason: str) -> None:
    """Put an asset on hold. One that is on hold keeps its first reason."""
    spec = session.store.spec(asset)
    session.store.hold(spec.asset, reason=reason, actor=actor())
    click.echo(f"{spec.asset} is on hold: {session.store.holds()[spec.asset]}")


@hold.command()
@click.argument("asset")
@click.option(
    "--accept", is_flag=True, help="Its rows really became so few: what the next cycle computes is what is usual."
)
@click.pass_context
def release(context: click.Context, asset: str, accept: bool) -> None:
    """End an asset's hold; exit 1 if it was on none."""
    session: Session = context.obj
    if accept:
        session.store.accept_size(session.store.spec(asset).asset, actor=actor())
    # A hold may outlive its table, so the name is looked up only when nothing was released under it.
    if session.store.release(asset):
        click.echo(f"{asset} is released; the next cycle computes it")
        return
    spec = session.store.spec(asset)
    if spec.asset != asset and session.store.release(spec.asset):
        click.echo(f"{spec.asset} is released; the next cycle computes it")
        return
    click.echo(f"ao: {spec.asset} is not on hold; see `ao hold list`", err=True)
    context.exit(1)


@click.command("accept-volume", short_help="Let an asset's next complete listing shrink it, once.")
@click.argument("asset")
@click.option("--reason", required=True, help="Why the rows are really gone; kept with the asset's bundles.")
@click.pass_obj
def accept_volume(session: Session, asset: str, reason: str) -> None:
    """Say that what is missing from ASSET's complete listing is really gone: its next commit may delete it."""
    from ao_pipeline.adapters.state.acceptance import accept_drop
    from ao_pipeline.defs.engine import borrowed_on
    from ao_pipeline.settings import current_settings

    spec = session.store.spec(asset)
    with borrowed_on(session.store, current_settings()) as token:
        bundle_id = accept_drop(session.store, spec.asset, actor=actor(), reason=reason, engine_token=token)
    click.echo(f"{spec.asset} may shrink with its next commit, once; bundle {bundle_id} says why")
