"""`ao breakers`: what is left alone because it failed, why, and when it is tried again; and the hand on the switch."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from ao_pipeline import clock
from ao_pipeline.cli.output import json_option, limit_option, note, note_more, print_facts, print_json, print_table
from ao_pipeline.cli.session import Session, actor
from ao_pipeline.errors import UnknownNameError

if TYPE_CHECKING:
    from ao_pipeline.adapters.state.breakers import RecordedEvent
    from ao_pipeline.resilience.breaker_state import BreakerState

DEFAULT_DURATION: Final = "24h"
"""Nothing stays forced because somebody forgot it."""

MAX_DAYS: Final = 30
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> int:
    """Return the seconds of a time such as 90m, 2h or 3d."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", value)
    seconds = int(found.group(1)) * _UNITS[found.group(2)] if found else 0
    if not 0 < seconds <= MAX_DAYS * _UNITS["d"]:
        raise click.BadParameter(f"{value!r} is no time up to {MAX_DAYS} days; write one like 90m, 2h or 3d")
    return seconds


_reason = click.option("--reason", required=True, help="Why; everybody sees it.")
_duration = click.option(
    "--for",
    "seconds",
    metavar="TIME",
    callback=_seconds,
    default=DEFAULT_DURATION,
    show_default=True,
    help="Until the rules take over again.",
)


@click.group(invoke_without_command=True, short_help="Show and switch circuit breakers.")
@click.option("--all", "everything", is_flag=True, help="Closed ones too, if anything ever happened to them.")
@json_option
@click.pass_context
def breakers(context: click.Context, everything: bool, as_json: bool) -> None:
    """Show the circuit breakers that are not closed: of a job, by its asset, or of an upstream, such as source:asana.

    An open breaker keeps its job, or every job of its source, out of each cycle. It is probed at growing intervals and closes
    after five good probes.
    """
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    known = session.store.breakers.all()
    shown = [item for item in known if everything or item.state.value != "closed" or _is_forced(item)]
    if as_json:
        print_json({"breakers": [_state_json(item) for item in shown]})
    elif shown:
        headings = ("breaker", "state", "since", "failures", "good", "next probe", "reason")
        print_table(headings, [_state_row(item) for item in shown])
    else:
        note("Every circuit breaker is closed.")


@breakers.command()
@click.argument("name")
@limit_option
@json_option
@click.pass_obj
def show(session: Session, name: str, limit: int, as_json: bool) -> None:
    """Show where a breaker stands, and everything that moved it, the newest first."""
    state = session.store.breakers.get(_checked(session, name))
    events = session.store.breakers.events(name)[::-1] if state.seq else []
    if as_json:
        print_json({**_state_json(state), "events": [_event_json(item) for item in events[:limit]]})
        return
    print_facts({key: value for key, value in _state_json(state).items() if value not in (None, "", 0)})
    if events:
        click.echo()
        print_table(
            ("#", "cycle", "what", "state", "by", "reason"),
            [
                (item.seq, item.event.cycle, item.event.kind.value, item.to_state, item.event.actor, item.event.reason)
                for item in events[:limit]
            ],
        )
        note_more(min(limit, len(events)), len(events), "events")


@breakers.command("open")
@click.argument("name")
@_reason
@_duration
@click.pass_obj
def force_open(session: Session, name: str, reason: str, seconds: int) -> None:
    """Keep a job or source out of every cycle for a while; then it is probed, as after a failure."""
    _force(session, name, "open", reason, seconds)


@breakers.command("close")
@click.argument("name")
@_reason
@_duration
@click.pass_obj
def force_close(session: Session, name: str, reason: str, seconds: int) -> None:
    """Let a job or source run in every cycle for a while, whatever happens; then the rules count again."""
    _force(session, name, "closed", reason, seconds)


@breakers.command()
@click.argument("name")
@_reason
@click.pass_obj
def reset(session: Session, name: str, reason: str) -> None:
    """Close a breaker and forget what it counted; the rules go on from there."""
    session.store.breakers.reset(_checked(session, name), reason=reason, actor=actor())
    click.echo(f"{name} is closed")


def _force(session: Session, name: str, to: str, reason: str, seconds: int) -> None:
    from ao_pipeline.resilience.breaker_state import Phase

    until_us = clock.to_micros(session.now()) + seconds * 1_000_000
    session.store.breakers.force(_checked(session, name), Phase(to), reason=reason, actor=actor(), until_us=until_us)
    click.echo(f"{name} is {to} until {clock.to_iso(clock.from_micros(until_us))}: {reason}")


def _checked(session: Session, name: str) -> str:
    """Return the name if there can be such a breaker."""
    from ao_pipeline.defs.breakers import SOURCES
    from ao_pipeline.resilience.evidence import SOURCE_PREFIX

    known = {*session.store.specs, *(SOURCE_PREFIX + source for source in SOURCES.values())}
    known |= {item.name for item in session.store.breakers.all()}
    if name not in known:
        sources = ", ".join(sorted(item for item in known if item.startswith(SOURCE_PREFIX)))
        raise UnknownNameError(f"{name!r} is no circuit breaker; name an asset with a table, or one of {sources}")
    return name


def _is_forced(item: BreakerState) -> bool:
    return item.forced != "" and (
        item.forced_until_us is None or item.forced_until_us > clock.to_micros(clock.utc_now())
    )


def _state_row(item: BreakerState) -> tuple[Any, ...]:
    state = f"{item.state.value} (forced)" if _is_forced(item) else item.state.value
    return item.name, state, _instant(item.opened_at_us), item.failures, item.good_probes, _next(item), item.reason


def _next(item: BreakerState) -> Any:
    if item.probe_holder:
        return f"now, by {item.probe_holder}"
    if item.state.value == "open" and item.next_probe_at_us is None:
        return "when its hold is released"
    return _instant(item.next_probe_at_us)


def _instant(instant_us: int | None) -> Any:
    return "" if instant_us is None else clock.from_micros(instant_us)


def _state_json(item: BreakerState) -> dict[str, Any]:
    values = asdict(item)
    instants = {name: values.pop(name) for name in ("opened_at_us", "next_probe_at_us", "forced_until_us")}
    for name in ("at_us", "outcome_at_us", "probe_at_us", "slow_calls"):
        del values[name]
    shown = {
        name.removesuffix("_us"): None if value is None else clock.from_micros(value)
        for name, value in instants.items()
    }
    return {**values, "state": item.state.value, "is_forced": _is_forced(item), **shown}


def _event_json(item: RecordedEvent) -> dict[str, Any]:
    event = item.event
    return {
        "seq": item.seq,
        "kind": event.kind.value,
        "at": clock.from_micros(event.at_us),
        "cycle": event.cycle or None,
        "holder": event.holder or None,
        "is_slow": event.is_slow,
        "until": None if event.until_us is None else clock.from_micros(event.until_us),
        "from": item.from_state,
        "to": item.to_state,
        "actor": event.actor,
        "reason": event.reason,
        "recorded_at": clock.from_micros(item.recorded_at_us),
    }
