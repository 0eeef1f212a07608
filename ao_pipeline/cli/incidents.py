"""`ao incidents`: what is wrong, what was, and what people were told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ao_pipeline import clock
from ao_pipeline.cli.output import json_option, limit_option, note, note_more, print_json, print_table
from ao_pipeline.cli.session import Session

if TYPE_CHECKING:
    from ao_pipeline.resilience.incidents import Alert, Incident


@click.group(invoke_without_command=True, short_help="List what is wrong, and what was.")
@click.option("--open", "only_open", is_flag=True, help="Only what is not over.")
@limit_option
@json_option
@click.pass_context
def incidents(context: click.Context, only_open: bool, limit: int, as_json: bool) -> None:
    """List incidents, the newest first. One that is gone is settling, and still open, until it stayed away for a while."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    log = session.store.incidents
    found = log.open()[::-1][: limit + 1] if only_open else log.recent(limit=limit + 1)
    shown = found[:limit]
    if as_json:
        print_json({"incidents": [_incident_json(item) for item in shown], "is_cut": len(found) > limit})
    elif shown:
        headings = ("kind", "subject", "since", "until", "times", "told", "detail")
        print_table(headings, [_incident_row(item) for item in shown])
        if len(found) > limit:
            note_more(limit, None, "incidents")
    else:
        note("Nothing is wrong." if only_open else "There was no incident yet.")


@incidents.command()
@limit_option
@json_option
@click.pass_obj
def alerts(session: Session, limit: int, as_json: bool) -> None:
    """List the messages about incidents, the newest first, and whether each arrived."""
    found = session.store.incidents.alerts(limit=limit + 1)
    if as_json:
        print_json({"alerts": [_alert_json(item) for item in found[:limit]], "is_cut": len(found) > limit})
    elif found:
        headings = ("alert", "made", "status", "tries", "last error", "title")
        rows = [_alert_row(item) for item in found[:limit]]
        print_table(headings, rows)
        if len(found) > limit:
            note_more(limit, None, "alerts")
    else:
        note("No alert was made yet.")


@incidents.command()
@click.pass_obj
def resend(session: Session) -> None:
    """Send once more what was given up: after the channel was repaired. The engine does it within half a minute."""
    count = session.store.incidents.revive()
    note(f"{count} alerts will be sent again." if count else "No alert was given up.")


def _incident_row(item: Incident) -> tuple[Any, ...]:
    until: Any = "" if item.resolved_at_us is None else clock.from_micros(item.resolved_at_us)
    if item.is_settling(clock.to_micros(clock.utc_now())):
        until = "settling"
    told = "yes" if item.opened_alert else "no"
    since = clock.from_micros(item.opened_at_us)
    return item.kind.value, item.subject, since, until, item.count, told, item.detail


def _incident_json(item: Incident) -> dict[str, Any]:
    return {
        "kind": item.kind.value,
        "subject": item.subject,
        "detail": item.detail,
        "opened_at": clock.from_micros(item.opened_at_us),
        "last_seen_at": clock.from_micros(item.last_seen_us),
        "resolved_at": None if item.resolved_at_us is None else clock.from_micros(item.resolved_at_us),
        "is_settling": item.is_settling(clock.to_micros(clock.utc_now())),
        "count": item.count,
        "opened_alert": item.opened_alert,
        "resolved_alert": item.resolved_alert,
    }


def _alert_row(item: Alert) -> tuple[Any, ...]:
    made = clock.from_micros(item.created_at_us)
    return item.alert_id[:12], made, item.status, item.attempts, item.last_error or "", item.title


def _alert_json(item: Alert) -> dict[str, Any]:
    return {
        "alert_id": item.alert_id,
        "made_at": clock.from_micros(item.created_at_us),
        "status": item.status,
        "attempts": item.attempts,
        "last_error": item.last_error,
        "title": item.title,
        "body": item.body,
    }
