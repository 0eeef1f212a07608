"""Xero documents: pages in the order of change, since the server's time of the last collection.

Xero deletes nothing that these listings hold: voided, deleted and archived are states of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.outcome import collected, full_listing, next_cursor
from ao_pipeline.adapters.sources.request import OVERLAP, CollectionRequest
from ao_pipeline.adapters.sources.walk import MAX_PAGES
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch, Record, Row
from ao_pipeline.collect.contracts import xero as contracts
from ao_pipeline.collect.contracts.contract import PageContract, RecordContract
from ao_pipeline.collect.overlap import drop_seen, remember
from ao_pipeline.collect.parse.xero import parse_contact, parse_credit_note, parse_invoice, parse_payment
from ao_pipeline.collect.result import Collected, Drift
from ao_pipeline.collect.tables import (
    RAW_XERO_CONTACTS,
    RAW_XERO_CREDIT_NOTES,
    RAW_XERO_INVOICES,
    RAW_XERO_PAYMENTS,
)
from ao_pipeline.collect.values import BadValueError, xero_instant
from ao_pipeline.errors import ContractError, TransientError

PAGE_SIZE: Final = 100
"""Documented default. Larger pages work today but are not promised."""

MAX_WALKS: Final = 3
"""Walks of one listing. Rows that change while it is paged move to its end and pull others over a page border."""

_FILTER_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class _Listing:
    spec: TableSpec
    page: PageContract
    record: RecordContract
    parse: Callable[[Record], Row]
    path: str
    params: dict[str, str | int]
    has_lines: bool = False


_CONTACTS: Final = _Listing(
    RAW_XERO_CONTACTS,
    contracts.CONTACTS_PAGE,
    contracts.CONTACT,
    parse_contact,
    "/Contacts",
    {"includeArchived": "true"},
)
_INVOICES: Final = _Listing(
    RAW_XERO_INVOICES, contracts.INVOICES_PAGE, contracts.INVOICE, parse_invoice, "/Invoices", {}, has_lines=True
)
_PAYMENTS: Final = _Listing(
    RAW_XERO_PAYMENTS, contracts.PAYMENTS_PAGE, contracts.PAYMENT, parse_payment, "/Payments", {}
)
_CREDIT_NOTES: Final = _Listing(
    RAW_XERO_CREDIT_NOTES,
    contracts.CREDIT_NOTES_PAGE,
    contracts.CREDIT_NOTE,
    parse_credit_note,
    "/CreditNotes",
    {},
)


def collect_contacts(request: CollectionRequest) -> Collected:
    """Collect `raw/xero_contacts`, archived ones included."""
    return _collect(request, _CONTACTS)


def collect_invoices(request: CollectionRequest) -> Collected:
    """Collect `raw/xero_invoices` of any type and status."""
    return _collect(request, _INVOICES)


def collect_payments(request: CollectionRequest) -> Collected:
    """Collect `raw/xero_payments`; a payment that was taken back stays, with its status."""
    return _collect(request, _PAYMENTS)


def collect_credit_notes(request: CollectionRequest) -> Collected:
    """Collect `raw/xero_credit_notes`."""
    return _collect(request, _CREDIT_NOTES)


def _collect(request: CollectionRequest, listing: _Listing) -> Collected:
    spec, key = listing.spec, listing.spec.key_names[0]
    since = request.cursor.get("watermark") if request.cursor else None
    drift = Drift()
    batch = Batch(spec, listing.record, listing.parse, drift)
    with request.open("xero") as client:
        records, answered_at = _read_stable(client, listing, str(since) if since else None)
        for record in records:
            batch.add(record)
        rows = batch.table()
        # The server's clock, never the rows' own times: those are the documents' and lie years back on imports.
        watermark = answered_at - OVERLAP if answered_at else request.watermark(client.first_server_time)
        new_cursor = {
            "generation": request.generation() + (0 if since else 1),
            "watermark": to_iso(watermark),
            "seen": remember(rows, key=key, changed_at="updated_at", since=watermark),
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        if not since:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        seen = request.cursor.get("seen", {}) if request.cursor else {}
        fresh = drop_seen(rows, key=key, seen=seen)
        return collected(client, spec, fresh, cursor=cursor, drift=drift, quarantined=batch.quarantined)


def _read_stable(
    client: SourceClient, listing: _Listing, since: str | None
) -> tuple[list[dict[str, Any]], datetime | None]:
    """Walk until the number of different records equals the upstream's own count, where it counts them.

    Raises:
        TransientError: The listing changed during each of `MAX_WALKS` walks.
    """
    first_time: datetime | None = None
    for _ in range(MAX_WALKS):
        records, server_time, item_count = _walk(client, listing, since)
        first_time = first_time or server_time
        if item_count is None or len(records) == item_count:
            return list(records.values()), first_time
    raise TransientError(
        f"{listing.page.operation}: the listing changed during {MAX_WALKS} walks; the next cycle tries again"
    )


def _walk(
    client: SourceClient, listing: _Listing, since: str | None
) -> tuple[dict[str, dict[str, Any]], datetime | None, int | None]:
    """Return the records by key, the server's time at the first page, and how many records the upstream counts.

    Raises:
        ContractError: More than `MAX_PAGES` pages; or documents came without their lines, as they do when Xero does not
            page: they would take the stored lines away.
    """
    headers = {}
    if since:
        headers["If-Modified-Since"] = datetime.fromisoformat(since).strftime(_FILTER_FORMAT)
    found: dict[str, dict[str, Any]] = {}
    server_time: datetime | None = None
    for page in range(1, MAX_PAGES + 1):
        params = {**listing.params, "order": "UpdatedDateUTC ASC", "page": page, "pageSize": PAGE_SIZE}
        answer = client.get(listing.page.operation, listing.path, params, headers=headers)
        records = listing.page.records(answer.body)
        client.count_page()
        server_time = server_time or _server_time(answer.body, listing.page.operation) or answer.server_time
        is_news = any(record[listing.page.key_field] not in found for record in records)
        found.update((record[listing.page.key_field], record) for record in records)
        pagination = answer.body.get("pagination") or {}
        page_count, item_count = pagination.get("pageCount"), pagination.get("itemCount")
        # Older answers have no such block: then a page that is not full, or brings nothing new, is the last one.
        if page >= page_count if page_count is not None else len(records) < PAGE_SIZE or not is_news:
            if not pagination and found and listing.has_lines and not any(map(_has_lines, found.values())):
                raise ContractError(f"{listing.page.operation}: no document has lines, so this is no paged listing")
            return found, server_time, item_count
    raise ContractError(f"{listing.page.operation}: more than {MAX_PAGES} pages; the listing was refused")


def _has_lines(record: dict[str, Any]) -> bool:
    return bool(record.get("LineItems"))


def _server_time(body: Any, operation: str) -> datetime | None:
    try:
        return xero_instant(body.get("DateTimeUTC"), "DateTimeUTC")
    except BadValueError as error:
        raise ContractError(f"{operation}: {error}; without the server's time there is no watermark") from error
