"""`ao engine`: which engine acts on the state store, and making this machine's the one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ao_pipeline import clock
from ao_pipeline.cli.output import json_option, note, print_json, print_table
from ao_pipeline.cli.session import Session

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.leases import Lease


@click.group(invoke_without_command=True, short_help="Show which engine acts on the store; take it over.")
@json_option
@click.pass_context
def engine(context: click.Context, as_json: bool) -> None:
    """Show which engine acts on the state store."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    lease = session.store.leases.current()
    if as_json:
        print_json(
            {"this": _identity(), "role": _role(session, lease), "lease": None if lease is None else asdict(lease)}
        )
    elif lease is None:
        note("No engine has acted on this store yet.")
    else:
        print_table(
            ("engine", "token", "renewed", "this machine is"),
            [
                (
                    lease.holder,
                    lease.token,
                    clock.to_iso(clock.from_micros(lease.renewed_at_us)),
                    _role(session, lease),
                )
            ],
        )


@engine.command()
@click.option("--yes", is_flag=True, help="Carry it out.")
@click.pass_obj
def take(session: Session, yes: bool) -> None:
    """Make this machine's engine the one that acts; what the other one is at cannot be committed any more."""
    lease = session.store.leases.current()
    if lease is not None and lease.holder == _identity() and not session.store.leases.is_expired(lease):
        note("This machine's engine is the one that acts already.")
        return
    if not yes:
        whose = "nobody" if lease is None else f"{lease.holder} (token {lease.token})"
        note(
            f"Nothing was changed. Held by {whose}; add --yes to take it over. The other engine must be stopped, or it stands by."
        )
        return
    taken = session.store.leases.take(_identity())
    click.echo(f"{taken.holder} acts on this store now, under token {taken.token}")


def describe_role(session: Session) -> str:
    """Return one line about who acts, for `ao status`; empty when nobody ever did, or when it is this machine."""
    lease = session.store.leases.current()
    role = _role(session, lease)
    return f"This machine stands by: engine {lease.holder} acts on this store." if lease and role == "standby" else ""


def _role(session: Session, lease: Lease | None) -> str:
    if lease is None or session.store.leases.is_expired(lease):
        return "idle"
    return "active" if lease.holder == _identity() else "standby"


def _identity() -> str:
    from ao_pipeline.adapters.engine_identity import engine_identity
    from ao_pipeline.settings import current_settings

    return engine_identity(current_settings())
