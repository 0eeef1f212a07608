"""`ao quarantine`: the records that collectors refused."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ao_pipeline.cli.output import json_option, limit_option, note, note_more, print_facts, print_json, print_table
from ao_pipeline.cli.session import Session, actor

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.refused import Retried

_SHOWN_HASH_DIGITS = 12


@click.group()
def quarantine() -> None:
    """Look at records that were refused, and why; read them again, or give them up."""


@quarantine.command("list")
@click.option("--asset", help="Only records of this asset.")
@click.option(
    "--status",
    type=click.Choice(["open", "resolved", "dropped"]),
    default="open",
    show_default=True,
    help="Only records in this state.",
)
@limit_option
@json_option
@click.pass_obj
def list_refused(session: Session, asset: str | None, status: str, limit: int, as_json: bool) -> None:
    """List refused records, the newest first."""
    spec = session.store.spec(asset) if asset else None
    found = session.store.quarantine(asset=spec.asset if spec else None, status=status, limit=limit + 1)
    records = found[:limit]
    if as_json:
        print_json({"records": records, "is_cut": len(found) > limit})
        return
    if not records:
        note(f"No {status} record in quarantine.")
        return
    fields = ("record_key", "reason", "first_cycle", "last_cycle")
    print_table(
        ("asset", "record", "key", "reason", "first seen", "last seen"),
        [
            (item["asset"], item["record_hash"][:_SHOWN_HASH_DIGITS], *(item[name] for name in fields))
            for item in records
        ],
    )
    if len(found) > limit:
        note_more(limit, None, "records")


@quarantine.command("show")
@click.argument("record")
@json_option
@click.pass_obj
def show_refused(session: Session, record: str, as_json: bool) -> None:
    """Show one refused record with what was received. RECORD is its hash, or the first digits."""
    from ao_pipeline.adapters.state.refused import find_refused

    found = find_refused(session.store.database, record)
    if as_json:
        print_json(found)
    else:
        print_facts(found)


@quarantine.command("drop")
@click.argument("asset")
@click.argument("record")
@click.pass_context
def drop_record(context: click.Context, asset: str, record: str) -> None:
    """Give an open record up, so that it counts no longer; exit 1 if it is not open. RECORD is its hash, or the first digits."""
    from ao_pipeline.adapters.state.refused import drop_refused, find_refused

    session: Session = context.obj
    spec = session.store.spec(asset)
    found = find_refused(session.store.database, record, asset=spec.asset)
    name = f"{spec.asset} {found['record_hash'][:_SHOWN_HASH_DIGITS]} ({found['record_key']})"
    if drop_refused(session.store.database, asset=spec.asset, record_hash=found["record_hash"]):
        click.echo(f"{name} is dropped; it counts no longer, until it changes upstream")
        return
    click.echo(f"ao: {name} is {found['status']}, not open", err=True)
    context.exit(1)


@quarantine.command("retry")
@click.argument("asset")
@click.argument("record")
@click.option("--from-source", is_flag=True, help="Read ASSET in full with its next collection, RECORD with it.")
@json_option
@click.pass_context
def retry(context: click.Context, asset: str, record: str, from_source: bool, as_json: bool) -> None:
    """Read what was kept of RECORD again and store its row if it is good now; exit 1 if it is refused still."""
    from ao_pipeline.adapters.state.refused import find_refused, replay_refused, reread_refused
    from ao_pipeline.defs.engine import borrowed_on
    from ao_pipeline.settings import current_settings

    session: Session = context.obj
    found = find_refused(session.store.database, record, asset=session.store.spec(asset).asset)
    name = f"{found['asset']} {found['record_hash'][:_SHOWN_HASH_DIGITS]} ({found['record_key']})"
    facts = {"asset": found["asset"], "record_key": found["record_key"]}
    with borrowed_on(session.store, current_settings()) as token:
        if from_source:
            reread_refused(session.store, found, actor=actor(), engine_token=token)
            facts["outcome"] = "to be read again"
            told = f"{found['asset']} will be read in full by its next collection, {found['record_key']} with it."
        else:
            result = replay_refused(session.store, found, actor=actor(), engine_token=token)
            facts |= asdict(result)
            told = _tell(name, result)
    if as_json:
        print_json(facts)
    else:
        click.echo(told)
    context.exit(1 if facts["outcome"] == "refused" else 0)


def _tell(name: str, result: Retried) -> str:
    if result.outcome == "stored":
        return f"{name} is good now; bundle {result.bundle_id} stored its row"
    if result.outcome == "outdated":
        return f"{name} is resolved: a newer version of it is stored"
    return f"{name} is refused still: {result.reason}"
