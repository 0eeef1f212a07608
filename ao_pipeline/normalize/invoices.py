"""Sales invoices: what is owed, how old it is, and by which client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Final

from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.collect.tables import RAW_XERO_INVOICES
from ao_pipeline.normalize.rows import Frame, Row, fold_name, load_list, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_INVOICE_LINKS, NORM_INVOICES

INVOICES_VERSION: Final = "1"
INVOICE_LINKS_VERSION: Final = "1"

NO_DUE_DATE: Final = "no_due_date"
AGING_BUCKETS: Final = ("current", "1-30", "31-60", "61-90", "90+", NO_DUE_DATE)
SEVERE_BUCKETS: Final = frozenset({"61-90", "90+"})
"""From 61 days on an invoice counts as severe: the age at which the owner steps in."""

_STATUS: Final = {
    "DRAFT": "draft",
    "SUBMITTED": "draft",
    "PAID": "paid",
    "VOIDED": "void",
    "DELETED": "void",
}


def aging_bucket(days_overdue: int) -> str:
    """Return the bucket of an age in days. Right-closed: day 30 is still `1-30`, the due date itself is `current`."""
    for last_day, bucket in ((0, "current"), (30, "1-30"), (60, "31-60"), (90, "61-90")):
        if days_overdue <= last_day:
            return bucket
    return "90+"


def normalize_invoices(invoices: Frame, *, as_of: date) -> list[Row]:
    """Place every open sales invoice in exactly one aging bucket.

    Args:
        invoices: `raw_xero_invoices`; bills and invoices of other types are left out.
        as_of: The organisation's day.

    Returns:
        Rows of `norm_invoices`. A status that is not known gives `unknown`: kept, and owed by nobody.
    """
    rows = []
    for raw in read_rows(invoices, RAW_XERO_INVOICES):
        if raw["invoice_type"] != "ACCREC":
            continue
        due_on = raw["due_on"]
        amount_due = raw["amount_due_minor"] or 0
        is_authorised = raw["invoice_status"] == "AUTHORISED"
        is_open = is_authorised and amount_due != 0
        days = (as_of - due_on).days if is_open and due_on is not None else None
        if not is_authorised:
            status = _STATUS.get(raw["invoice_status"] or "", "unknown")
        elif not is_open:
            status = "paid"
        else:
            status = "overdue" if days is not None and days > 0 else "open"
        reason = _invalid_reason(raw) if is_open else None
        rows.append(
            {
                "invoice_id": raw["invoice_id"],
                "invoice_number": raw["invoice_number"],
                "contact_id": raw["contact_id"],
                "contact_name": raw["contact_name"],
                "currency": raw["currency"],
                "issued_on": raw["issued_on"],
                "due_on": due_on,
                "paid_on": raw["fully_paid_on"],
                "status": status,
                "total_minor": raw["total_minor"],
                "amount_due_minor": raw["amount_due_minor"],
                "days_overdue": days,
                "aging_bucket": None if not is_open else NO_DUE_DATE if days is None else aging_bucket(days),
                "is_open_ar": is_open,
                "is_valid_ar": is_open and reason is None,
                "invalid_reason": reason,
            }
        )
    return sort_rows(rows, NORM_INVOICES)


def link_invoices(invoices: Frame, clients: Frame) -> list[Row]:
    """Find the client of every sales invoice by its contact's name: declared contact name, client name, alias.

    A name that two clients share gives `ambiguous`, never a guess.

    Args:
        invoices: `norm_invoices`.
        clients: `ref_clients`.

    Returns:
        Rows of `norm_invoice_links`.
    """
    client_rows = read_rows(clients, REF_CLIENTS)
    steps = (
        ("contact_name", _index(client_rows, lambda row: [row["xero_contact_name"]])),
        ("client_name", _index(client_rows, lambda row: [row["name"]])),
        ("alias", _index(client_rows, lambda row: load_list(row["aliases_json"]))),
    )
    links = []
    for invoice in read_rows(invoices, NORM_INVOICES):
        folded = fold_name(invoice["contact_name"])
        client_id, status, rule = None, "unlinked", "none"
        for step, index in steps:
            owners = index.get(folded)
            if owners:
                rule = step
                status = "linked" if len(owners) == 1 else "ambiguous"
                client_id = min(owners) if len(owners) == 1 else None
                break
        links.append({"invoice_id": invoice["invoice_id"], "client_id": client_id, "link_status": status, "rule": rule})
    return sort_rows(links, NORM_INVOICE_LINKS)


def _invalid_reason(raw: Row) -> str | None:
    if (raw["amount_due_minor"] or 0) < 0:
        return "negative_amount"
    if not raw["currency"]:
        return "no_currency"
    if raw["due_on"] is None:
        return NO_DUE_DATE
    if not raw["contact_name"]:
        return "no_contact"
    return None


def _index(clients: Iterable[Row], names_of: Callable[[Row], Iterable[str | None]]) -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for client in clients:
        for name in names_of(client):
            folded = fold_name(name)
            if folded:
                index.setdefault(folded, set()).add(client["client_id"])
    return index
