"""The snapshot as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ao_pipeline.collect.values import CURRENCY_EXPONENTS
from ao_pipeline.normalize.rows import Row
from ao_pipeline.snapshot.build import read_bodies
from ao_pipeline.snapshot.sections import Body

MAX_LINES: Final = 5
"""Lines shown of one list. The whole list is in the table."""


def render_text(rows: Sequence[Row]) -> str:
    """Return the snapshot as lines of text; sections that are degraded say so."""
    ordered = sorted(rows, key=lambda row: row["position"])
    bodies = read_bodies(ordered)
    if not bodies:
        return "No snapshot yet.\n"
    lines = [f"Agency snapshot of {next(iter(bodies.values()))['as_of']}"]
    for row in ordered:
        mark = "" if row["status"] == "fresh" else "  [degraded]"
        lines += ["", f"{row['section'].upper()}{mark}", *_LINES[row["section"]](bodies[row["section"]])]
    return "\n".join(lines) + "\n"


def money(minor: int, currency: str) -> str:
    """Return an amount in its currency's own decimals with grouped thousands, such as `AED 1,234.50` or `KWD 1.234`."""
    exponent = CURRENCY_EXPONENTS.get(currency, 2)
    return f"{currency} {Decimal(minor).scaleb(-exponent):,.{exponent}f}"


def _trust(body: Body) -> list[str]:
    lines = [f"  confidence {body['confidence_level']}"]
    lines.extend(
        f"  {name} is stale since {body['sources'][name]['as_of_cycle'] or 'ever'}" for name in body["stale_sources"]
    )
    for name in body["failed_gates"]:
        gate = body["gates"][name]
        lines.append(f"  gate {name} fails: {gate['measured']:g}, wanted {gate['threshold']:g} ({gate['effect']})")
    return lines


def _exceptions(body: Body) -> list[str]:
    return [f"  {item['severity']:<8} {item['title']}" for item in body["exceptions"]] or ["  nothing"]


def _clients(body: Body) -> list[str]:
    head = f"  {body['client_count']} clients, {body['at_risk_count']} at risk, {body['no_data_count']} without data"
    rows = [
        f"  {item['score'] if item['score'] is not None else '-':>4}  {item['tier']}  {item['name']}"
        for item in body["clients"][:MAX_LINES]
    ]
    return [head, *rows]


def _delivery(body: Body) -> list[str]:
    tasks = body["tasks"]
    head = f"  {tasks['open']} open tasks, {tasks['overdue']} overdue, {tasks['due_in_7_days']} due within 7 days"
    rows = [
        f"  {item['badge']:<7} {item['overdue']:>3} late of {item['open']:>3}  {item['name']}"
        for item in body["projects"][:MAX_LINES]
    ]
    return [head, *rows]


def _cash(body: Body) -> list[str]:
    lines = [f"  {body['open_invoice_count']} open invoices, {body['valid_invoice_count']} complete"]
    for tile in body["currencies"]:
        owed, severe = money(tile["owed_minor"], tile["currency"]), money(tile["severe_minor"], tile["currency"])
        lines.append(f"  {tile['badge']:<7} owed {owed}, severe {severe}, {tile['debtor_count']} debtors")
    return lines


def _commitments(body: Body) -> list[str]:
    counts = body["counts"]
    head = f"  {counts['overdue']} overdue ({body['our_overdue_count']} ours), {counts['open']} open, {counts['linked']} linked"
    rows = [
        f"  {item['deadline_on'] or 'no date':<10} {'we' if item['is_ours'] else 'they'}: {item['text'][:90]}"
        for item in body["commitments"][:MAX_LINES]
    ]
    return [head, *rows]


def _messages(body: Body) -> list[str]:
    linked, unlinked = body["linked_count"], body["unlinked_count"] + body["ambiguous_count"]
    return [f"  {body['message_count']} mails, {linked} linked to a client, {unlinked} not"]


def _capacity(body: Body) -> list[str]:
    head = f"  {body['lane_count']} lanes, {body['overloaded_count']} overloaded within 14 days"
    rows = [
        f"  {item['lane_id']:<12} today {item['today_scheduled_minutes']:>4} of {item['today_effective_minutes']:>4} min, "
        f"owes {item['debt_minutes']} min"
        for item in body["lanes"][:MAX_LINES]
    ]
    return [head, *rows]


_LINES: Final = {
    "trust": _trust,
    "exceptions": _exceptions,
    "clients": _clients,
    "delivery": _delivery,
    "cash": _cash,
    "commitments": _commitments,
    "messages": _messages,
    "capacity": _capacity,
}
