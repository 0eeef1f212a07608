"""The bodies of the sections that describe clients, work, money and time. Lists are bounded, beside exact counts.

Every function takes rows of stored tables and returns plain JSON values: no dates, no floats with noise, no set order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from ao_pipeline.normalize.invoices import AGING_BUCKETS, SEVERE_BUCKETS
from ao_pipeline.normalize.rows import Row

MAX_LISTED: Final = 25
"""Longest list of a section. More is not read on one page; the exact count stands beside it."""

MAX_EXCEPTIONS: Final = 7
MAX_TEXT: Final = 200

SEVERE_RED_RATIO: Final = 0.25
SEVERE_YELLOW_RATIO: Final = 0.15

Body = dict[str, Any]


def clients_section(health: list[Row], names: Mapping[str, str]) -> Body:
    """Return clients by falling risk: at risk first, lowest score first, tier A first."""
    ordered = sorted(
        health,
        key=lambda r: (not r["is_at_risk"], r["score"] if r["score"] is not None else 101, r["tier"], r["client_id"]),
    )
    fields = [
        "client_id",
        "tier",
        "score",
        "data_status",
        "is_at_risk",
        "delivery_score",
        "cash_score",
        "responsiveness_score",
        "commitments_score",
        "overdue_task_count",
        "missed_response_count",
        "overdue_commitment_count",
        "severe_invoice_count",
    ]
    return {
        "client_count": len(health),
        "at_risk_count": sum(row["is_at_risk"] is True for row in health),
        "no_data_count": sum(row["data_status"] == "no_data" for row in health),
        "clients": [
            {"name": names.get(row["client_id"], row["client_id"]), **{field: row[field] for field in fields}}
            for row in ordered[:MAX_LISTED]
        ],
    }


def delivery_section(
    projects: list[Row], project_links: list[Row], tasks: list[Row], names: Mapping[str, str], as_of: date
) -> Body:
    """Return live projects with open work, the latest first, and the totals of all open tasks."""
    soon = as_of + timedelta(days=7)
    client_of = {row["project_id"]: row["client_id"] for row in project_links}
    counts: dict[str | None, dict[str, int]] = {}
    total = {"open": 0, "overdue": 0, "due_in_7_days": 0, "unassigned": 0}
    for task in tasks:
        if task["status"] != "open":
            continue
        due_on = task["due_on"]
        count = counts.setdefault(task["project_id"], dict.fromkeys(total, 0))
        for tally in (total, count):
            tally["open"] += 1
            tally["overdue"] += due_on is not None and due_on < as_of
            tally["due_in_7_days"] += due_on is not None and as_of <= due_on <= soon
            tally["unassigned"] += task["member_id"] is None
    live = [row for row in projects if not row["is_archived"] and row["project_id"] in counts]
    items = []
    for project in live:
        count = counts[project["project_id"]]
        client_id = client_of.get(project["project_id"])
        items.append(
            {
                "project_id": project["project_id"],
                "name": _cut(project["name"]),
                "client": names.get(client_id, client_id) if client_id is not None else None,
                "badge": _project_badge(count, project, as_of),
                "health": project["health"],
                "due_on": project["due_on"].isoformat() if project["due_on"] is not None else None,
                **count,
            }
        )
    rank = {"red": 0, "yellow": 1, "green": 2}
    items.sort(key=lambda item: (rank[item["badge"]], -item["overdue"], -item["open"], item["project_id"]))
    return {
        "project_count": len(items),
        "red_count": sum(item["badge"] == "red" for item in items),
        "yellow_count": sum(item["badge"] == "yellow" for item in items),
        "tasks": total,
        "projects": items[:MAX_LISTED],
    }


def cash_section(invoices: list[Row], invoice_links: list[Row], names: Mapping[str, str]) -> Body:
    """Return what is owed by currency: tiles, ageing and debtors. Sums are conserved: tile = Σ debtors = Σ buckets.

    Debtors beyond the list are one line `other`, so that the list still adds up.
    """
    client_of = {row["invoice_id"]: row["client_id"] for row in invoice_links}
    by_currency: dict[str, list[Row]] = {}
    for row in invoices:
        if row["is_valid_ar"]:
            by_currency.setdefault(row["currency"], []).append(row)
    currencies = []
    for currency, rows in sorted(by_currency.items()):
        debtors: dict[str, dict[str, Any]] = {}
        buckets = dict.fromkeys(AGING_BUCKETS, 0)
        for row in rows:
            name = _debtor_name(row, client_of, names)
            debtor = debtors.setdefault(
                name,
                {
                    "name": name,
                    "owed_minor": 0,
                    "severe_minor": 0,
                    "oldest_days": row["days_overdue"],
                    "invoice_count": 0,
                },
            )
            is_severe = row["aging_bucket"] in SEVERE_BUCKETS
            debtor["owed_minor"] += row["amount_due_minor"]
            debtor["severe_minor"] += row["amount_due_minor"] if is_severe else 0
            debtor["oldest_days"] = max(debtor["oldest_days"], row["days_overdue"])
            debtor["invoice_count"] += 1
            buckets[row["aging_bucket"]] += row["amount_due_minor"]
        owed = sum(debtor["owed_minor"] for debtor in debtors.values())
        severe = sum(debtor["severe_minor"] for debtor in debtors.values())
        currencies.append(
            {
                "currency": currency,
                "owed_minor": owed,
                "severe_minor": severe,
                "severe_ratio": round(severe / owed, 4) if owed else 0.0,
                "badge": cash_badge(severe, owed),
                "buckets": buckets,
                "debtor_count": len(debtors),
                "debtors": _bounded_debtors(list(debtors.values())),
            }
        )
    open_rows = [row for row in invoices if row["is_open_ar"]]
    return {
        "open_invoice_count": len(open_rows),
        "valid_invoice_count": sum(bool(row["is_valid_ar"]) for row in open_rows),
        "currencies": currencies,
    }


def cash_badge(severe_minor: int, owed_minor: int) -> str:
    """Return red from a quarter of severe debt on, yellow from 15 %, else green."""
    ratio = severe_minor / owed_minor if owed_minor else 0.0
    return "red" if ratio >= SEVERE_RED_RATIO else "yellow" if ratio >= SEVERE_YELLOW_RATIO else "green"


def commitments_section(commitments: list[Row], names: Mapping[str, str], as_of: date) -> Body:
    """Return what is promised and asked and not done, overdue first, ours before theirs, then nearest to today."""
    live = [row for row in commitments if row["status"] != "done"]

    def order(row: Row) -> tuple[bool, bool, int, str]:
        distance = abs((row["deadline_on"] - as_of).days) if row["deadline_on"] is not None else date.max.toordinal()
        return row["status"] != "overdue", not row["is_ours"], distance, row["commitment_id"]

    live.sort(key=order)
    statuses = ("open", "linked", "overdue", "done")
    return {
        "counts": {status: sum(row["status"] == status for row in commitments) for status in statuses},
        "our_overdue_count": sum(row["status"] == "overdue" and row["is_ours"] for row in live),
        "untracked_count": sum(row["task_id"] is None for row in live),
        "commitments": [
            {
                "commitment_id": row["commitment_id"],
                "kind": row["kind"],
                "status": row["status"],
                "is_ours": row["is_ours"],
                "owner": row["owner"],
                "client": names.get(row["client_id"], row["client_id"]) if row["client_id"] is not None else None,
                "text": _cut(row["text"]),
                "said_on": row["said_on"].isoformat(),
                "deadline_on": row["deadline_on"].isoformat() if row["deadline_on"] is not None else None,
            }
            for row in live[:MAX_LISTED]
        ],
    }


def capacity_section(capacity: list[Row], as_of: date) -> Body:
    """Return every lane's day and its fortnight; the most loaded lanes first."""
    lanes: dict[str, list[Row]] = {}
    for row in capacity:
        lanes.setdefault(row["lane_id"], []).append(row)
    items = []
    for lane_id, rows in sorted(lanes.items()):
        today = next((row for row in rows if row["capacity_on"] == as_of), None)
        items.append(
            {
                "lane_id": lane_id,
                "is_overloaded": any(row["is_overloaded"] for row in rows),
                "overloaded_days": sum(bool(row["is_overloaded"]) for row in rows),
                "today_utilization_ratio": today["utilization_ratio"] if today is not None else None,
                "today_scheduled_minutes": today["scheduled_minutes"] if today is not None else 0,
                "today_effective_minutes": today["effective_minutes"] if today is not None else 0,
                "scheduled_minutes": sum(row["scheduled_minutes"] for row in rows),
                "effective_minutes": sum(row["effective_minutes"] for row in rows),
                "debt_minutes": max(row["debt_minutes"] for row in rows),
            }
        )
    items.sort(key=lambda item: (-item["overloaded_days"], -item["debt_minutes"], item["lane_id"]))
    return {
        "lane_count": len(items),
        "overloaded_count": sum(item["is_overloaded"] for item in items),
        "lanes": items[:MAX_LISTED],
    }


def messages_section(messages: list[Row], message_links: list[Row]) -> Body:
    """Return how much mail there is, and how much of the clients' mail is linked."""
    statuses = [row["link_status"] for row in message_links if row["link_status"] != "not_applicable"]
    directions = ("inbound", "outbound", "internal", "unknown")
    return {
        "message_count": len(messages),
        "by_direction": {name: sum(row["direction"] == name for row in messages) for name in directions},
        "linked_count": sum(status == "linked" for status in statuses),
        "ambiguous_count": sum(status == "ambiguous" for status in statuses),
        "unlinked_count": sum(status == "unlinked" for status in statuses),
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _project_badge(count: Mapping[str, int], project: Row, as_of: date) -> str:
    is_past = project["due_on"] is not None and project["due_on"] < as_of
    if (
        is_past
        or count["overdue"] >= 3
        or 2 * count["overdue"] >= max(count["open"], 2)
        or project["health"] == "off_track"
    ):
        return "red"
    return "yellow" if count["overdue"] or project["health"] == "at_risk" else "green"


def _debtor_name(invoice: Row, client_of: Mapping[str, str | None], names: Mapping[str, str]) -> str:
    client_id = client_of.get(invoice["invoice_id"])
    return names.get(client_id, client_id) if client_id is not None else f"{invoice['contact_name']} (not linked)"


def _bounded_debtors(debtors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    debtors.sort(key=lambda item: (-item["severe_minor"], -item["owed_minor"], item["name"]))
    if len(debtors) <= MAX_LISTED:
        return debtors
    rest = debtors[MAX_LISTED - 1 :]
    other = {
        "name": f"other ({len(rest)})",
        "owed_minor": sum(item["owed_minor"] for item in rest),
        "severe_minor": sum(item["severe_minor"] for item in rest),
        "oldest_days": max(item["oldest_days"] for item in rest),
        "invoice_count": sum(item["invoice_count"] for item in rest),
    }
    return [*debtors[: MAX_LISTED - 1], other]
