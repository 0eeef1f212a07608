"""`ao revert`: which of its forms was asked for. A dry run unless told `--yes`."""

from __future__ import annotations

import click

from ao_pipeline.cli import undo_rows, undo_states
from ao_pipeline.cli.output import json_option, limit_option
from ao_pipeline.cli.session import Session


@click.command(short_help="Take changes back; a dry run without --yes.")
@click.argument("asset", required=False)
@click.option("--to", metavar="CYCLE", help="Restore the state recorded for this cycle.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Take the last N computed cycles back.")
@click.option("--all", "is_all", is_flag=True, help="Every asset whose state differs.")
@click.option("--skip", multiple=True, metavar="ASSET", help="With --all or --last: leave this asset out.")
@click.option("--downstream", is_flag=True, help="Take along what was computed from ASSET.")
@click.option("--bundle", metavar="B", help="Take back one bundle, rows that changed since left alone.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="With --bundle: only its rows with this value.")
@click.option("--force", is_flag=True, help="With --bundle: also rows that changed since.")
@click.option("--hold", is_flag=True, help="Put the asset on hold afterwards, so that it is not computed again.")
@click.option("--reason", default="", help="Why; kept in the bundle.")
@click.option("--yes", is_flag=True, help="Carry it out. Without it nothing is changed.")
@limit_option
@json_option
@click.pass_context
def revert(
    context: click.Context,
    asset: str | None,
    to: str | None,
    last: int | None,
    is_all: bool,
    skip: tuple[str, ...],
    downstream: bool,
    bundle: str | None,
    where: tuple[str, ...],
    force: bool,
    hold: bool,
    reason: str,
    yes: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Take changes back: shows exactly what would change, and changes it with --yes.

    \b
    ao revert ASSET --to CYCLE     restore what one asset was after a cycle
    ao revert --all --to CYCLE     the same for every asset
    ao revert [ASSET] --last N     take the last N computed cycles back
    ao revert --bundle B           take one bundle back out of the middle
    """
    session: Session = context.obj
    _require_one_form(to=to, last=last, bundle=bundle)
    if bundle is not None:
        _refuse(asset is not None or is_all or bool(skip) or downstream, "--bundle names its asset itself")
        rows_wish = undo_rows.Wish(bundle, where, force=force, hold=hold, reason=reason)
        context.exit(undo_rows.run(session, rows_wish, carry_out=yes, limit=limit, as_json=as_json))
    _refuse(bool(where) or force, "--where and --force need --bundle")
    _refuse(asset is not None and is_all, "name an asset or use --all, not both")
    _refuse(asset is None and not is_all and last is None, "name an asset, or use --all")
    _refuse(asset is None and downstream, "--downstream needs an asset; --all takes every asset anyway")
    _refuse(asset is not None and bool(skip), "--skip needs --all or --last without an asset")
    spec = session.store.spec(asset) if asset else None
    cycle = session.cycle(to, spec=spec) if to is not None else session.cycle_back(last or 0, spec=spec)
    wish = undo_states.Wish(
        cycle, asset=spec.asset if spec else None, skip=skip, downstream=downstream, hold=hold, reason=reason
    )
    context.exit(undo_states.run(session, wish, carry_out=yes, limit=limit, as_json=as_json))


def _require_one_form(*, to: str | None, last: int | None, bundle: str | None) -> None:
    given = [name for name, value in (("--to", to), ("--last", last), ("--bundle", bundle)) if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"give exactly one of --to, --last and --bundle; got {', '.join(given) or 'none'}")


def _refuse(is_wrong: bool, message: str) -> None:
    if is_wrong:
        raise click.UsageError(message)
