"""Client health: one versioned model of four components. A component without data is left out, never guessed.

Invariants:
1. The score is a weighted mean of the components that have data: it lies between the lowest and the highest of them.
   `test_the_score_lies_between_its_components`
2. No data gives no score. `test_a_client_without_data_has_no_score`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.normalize.invoices import SEVERE_BUCKETS
from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
from ao_pipeline.normalize.tables import (
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MESSAGE_LINKS,
    NORM_MESSAGES,
    NORM_TASK_LINKS,
    NORM_TASKS,
)
from ao_pipeline.truth.tables import TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

CLIENT_HEALTH_VERSION: Final = "1"

WEIGHTS: Final = {"delivery": 0.35, "cash": 0.30, "responsiveness": 0.20, "commitments": 0.15}
AT_RISK_BELOW: Final = {"A": 80, "B": 70, "C": 60}
"""An important client is watched earlier."""

DELIVERY_WINDOW_DAYS: Final = 90
RESPONSE_WINDOW_DAYS: Final = 30
WAITING_DAYS: Final = 3
SOON_DAYS: Final = 7
OVERDUE_WINDOW_DAYS: Final = 30
"""A promise that is later than this no longer costs points: nobody closes promises in a mail, so they would pile up and
every old client would end at zero."""


@dataclass
class _Facts:
    """What is known about one client before scoring."""

    has_delivery: bool = False
    open_tasks: int = 0
    overdue_tasks: int = 0
    overdue_by_project: dict[str | None, int] = field(default_factory=dict)
    has_invoices: bool = False
    severe_invoices: int = 0
    owed: dict[str, dict[str, int]] = field(default_factory=dict)  # currency → weight class → minor units
    has_inbound: bool = False
    missed_responses: int = 0
    waiting_threads: set[str] = field(default_factory=set)
    has_commitments: bool = False
    overdue_commitments: int = 0
    commitments_due_soon: int = 0


def score_clients(
    clients: Frame,
    *,
    tasks: Frame,
    task_links: Frame,
    invoices: Frame,
    invoice_links: Frame,
    messages: Frame,
    message_links: Frame,
    commitments: Frame,
    as_of: date,
    zone: ZoneInfo,
) -> list[Row]:
    """Score every active client from 0 to 100.

    Args:
        clients: `ref_clients`.
        tasks: `norm_tasks`; likewise the other `norm_` tables by their names.
        commitments: `truth_commitments`.
        as_of: The organisation's day. Nothing depends on the hour.
        zone: The organisation's time zone: the days on which answers were due.

    Returns:
        Rows of `truth_client_health`.
    """
    active = {row["client_id"]: row for row in read_rows(clients, REF_CLIENTS) if row["is_active"]}
    facts = {client_id: _Facts() for client_id in active}
    _add_tasks(facts, read_rows(tasks, NORM_TASKS), read_rows(task_links, NORM_TASK_LINKS), as_of)
    _add_invoices(facts, read_rows(invoices, NORM_INVOICES), read_rows(invoice_links, NORM_INVOICE_LINKS))
    _add_messages(facts, read_rows(messages, NORM_MESSAGES), read_rows(message_links, NORM_MESSAGE_LINKS), as_of, zone)
    _add_commitments(facts, read_rows(commitments, TRUTH_COMMITMENTS), as_of)
    return sort_rows((_score(active[client_id], known) for client_id, known in facts.items()), TRUTH_CLIENT_HEALTH)


def weigh(components: Mapping[str, float | None]) -> tuple[int | None, str]:
    """Return the score and its data status: missing components are left out and the weights of the rest scaled up."""
    present = {name: value for name, value in components.items() if value is not None}
    if not present:
        return None, "no_data"
    total = sum(WEIGHTS[name] for name in present)
    score = sum(WEIGHTS[name] * value for name, value in present.items()) / total
    # Half rounds up, so that 79.5 is 80 whatever the parity; the margin hides binary noise.
    return int(score + 0.5 + 1e-9), "complete" if len(present) == len(WEIGHTS) else "partial"


def _score(client: Row, known: _Facts) -> Row:
    components: dict[str, float | None] = {
        "delivery": _delivery_score(known) if known.has_delivery else None,
        "cash": _cash_score(known) if known.has_invoices else None,
        "responsiveness": _responsiveness_score(known) if known.has_inbound else None,
        "commitments": _commitments_score(known) if known.has_commitments else None,
    }
    score, data_status = weigh(components)
    return {
        "client_id": client["client_id"],
        "tier": client["tier"],
        "model_version": CLIENT_HEALTH_VERSION,
        "score": score,
        "data_status": data_status,
        "is_at_risk": score < AT_RISK_BELOW[client["tier"]] if score is not None else None,
        **{f"{name}_score": value for name, value in components.items()},
        "open_task_count": known.open_tasks,
        "overdue_task_count": known.overdue_tasks,
        "missed_response_count": known.missed_responses,
        "waiting_thread_count": len(known.waiting_threads),
        "overdue_commitment_count": known.overdue_commitments,
        "severe_invoice_count": known.severe_invoices,
    }


def _delivery_score(known: _Facts) -> float:
    worst = max(known.overdue_by_project.values(), default=0)
    late_project = 40 if worst >= 3 else 15 if worst >= 1 else 0
    return float(max(100 - late_project - min(5 * known.overdue_tasks, 30), 0))


def _cash_score(known: _Facts) -> float:
    """Return 100 for money that is not due, 50 for up to 60 days late, 0 for older; the worst currency counts."""
    scores = []
    for amounts in known.owed.values():
        total = sum(amounts.values())
        scores.append(round((100 * amounts.get("current", 0) + 50 * amounts.get("late", 0)) / total, 2))
    return min(scores, default=100.0)


def _responsiveness_score(known: _Facts) -> float:
    return float(max(100 - 20 * known.missed_responses - 10 * min(len(known.waiting_threads), 5), 0))


def _commitments_score(known: _Facts) -> float:
    return float(max(100 - 10 * known.overdue_commitments - min(5 * known.commitments_due_soon, 20), 0))


def _add_tasks(facts: Mapping[str, _Facts], tasks: Iterable[Row], links: Iterable[Row], as_of: date) -> None:
    client_of = {row["task_id"]: row["client_id"] for row in links}
    since = as_of - timedelta(days=DELIVERY_WINDOW_DAYS)
    for task in tasks:
        known = facts.get(client_of.get(task["task_id"], ""))
        if known is None:
            continue
        if task["status"] == "open":
            known.has_delivery = True
            known.open_tasks += 1
            if task["due_on"] is not None and task["due_on"] < as_of:
                known.overdue_tasks += 1
                by_project = known.overdue_by_project
                by_project[task["project_id"]] = by_project.get(task["project_id"], 0) + 1
        elif task["completed_on"] is not None and task["completed_on"] >= since:
            known.has_delivery = True


def _add_invoices(facts: Mapping[str, _Facts], invoices: Iterable[Row], links: Iterable[Row]) -> None:
    client_of = {row["invoice_id"]: row["client_id"] for row in links}
    for invoice in invoices:
        known = facts.get(client_of.get(invoice["invoice_id"], ""))
        if known is None or invoice["status"] not in {"open", "overdue", "paid"}:
            continue
        known.has_invoices = True
        if not invoice["is_valid_ar"]:
            continue
        bucket = invoice["aging_bucket"]
        is_severe = bucket in SEVERE_BUCKETS
        known.severe_invoices += is_severe
        amounts = known.owed.setdefault(invoice["currency"], {})
        age = "severe" if is_severe else "current" if bucket == "current" else "late"
        amounts[age] = amounts.get(age, 0) + invoice["amount_due_minor"]


def _add_messages(
    facts: Mapping[str, _Facts], messages: list[Row], links: Iterable[Row], as_of: date, zone: ZoneInfo
) -> None:
    client_of = {(row["mailbox"], row["message_id"]): row["client_id"] for row in links}
    since = as_of - timedelta(days=RESPONSE_WINDOW_DAYS)
    answers: dict[tuple[str, str], list[Row]] = {}
    for message in messages:
        if message["direction"] == "outbound" and message["thread_id"] is not None and message["sent_at"] is not None:
            answers.setdefault((message["mailbox"], message["thread_id"]), []).append(message)
    for message in messages:
        known = facts.get(client_of.get((message["mailbox"], message["message_id"]), ""))
        if known is None or message["direction"] != "inbound" or message["is_automated"]:
            continue
        if message["sent_on"] is None or message["sent_on"] < since:
            continue
        known.has_inbound = True
        if not message["requires_response"]:
            continue
        later = [
            answer["sent_at"]
            for answer in answers.get((message["mailbox"], message["thread_id"]), ())
            if answer["sent_at"] >= message["sent_at"]
        ]
        due_on = message["response_due_at"].astimezone(zone).date()
        is_late = min(later) > message["response_due_at"] if later else due_on < as_of
        known.missed_responses += is_late
        if not later and (as_of - message["sent_on"]).days > WAITING_DAYS:
            known.waiting_threads.add(f"{message['mailbox']}/{message['thread_id']}")


def _add_commitments(facts: Mapping[str, _Facts], commitments: Iterable[Row], as_of: date) -> None:
    soon, oldest = as_of + timedelta(days=SOON_DAYS), as_of - timedelta(days=OVERDUE_WINDOW_DAYS)
    for commitment in commitments:
        known = facts.get(commitment["client_id"] or "")
        if known is None or not commitment["is_ours"]:
            continue
        known.has_commitments = True
        if commitment["status"] == "overdue":
            known.overdue_commitments += commitment["deadline_on"] >= oldest
        elif commitment["status"] != "done" and commitment["deadline_on"] is not None:
            known.commitments_due_soon += commitment["deadline_on"] <= soon
