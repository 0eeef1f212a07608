"""Google contacts: listed once, then by sync token, which dies seven days after the full listing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.outcome import collected, full_listing, key_table, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import workspace as contracts
from ao_pipeline.collect.parse.workspace import parse_person
from ao_pipeline.collect.result import Collected, Drift
from ao_pipeline.collect.workspace_tables import RAW_PEOPLE_CONTACTS
from ao_pipeline.errors import ContractError, CursorExpiredError

PAGE_SIZE: Final = 1000
_PATH: Final = "/people/me/connections"
_PARAMS: Final[Params] = {
    "pageSize": PAGE_SIZE,
    "personFields": contracts.PERSON_FIELDS,
    "requestSyncToken": "true",
    "sources": "READ_SOURCE_TYPE_CONTACT",
}
"""The same on every call, as the sync token demands."""


@dataclass(frozen=True)
class _Reading:
    records: list[dict[str, Any]]
    sync_token: str
    is_full: bool


def collect_contacts(request: CollectionRequest) -> Collected:
    """Collect `raw/people_contacts`."""
    spec = RAW_PEOPLE_CONTACTS
    drift = Drift()
    batch = Batch(spec, contracts.PERSON, parse_person, drift)
    gone: set[Key] = set()
    with request.open("people") as client:
        reading = _read(client, request.cursor.get("sync_token") if request.cursor else None)
        for record in reading.records:
            metadata = record.get("metadata")
            marks = metadata if isinstance(metadata, dict) else {}
            # A merged contact goes on under another name; the old ones are named in its metadata.
            former = marks.get("previousResourceNames")
            gone.update((name,) for name in (former if isinstance(former, list) else []) if isinstance(name, str))
            if marks.get("deleted") is True:
                gone.add((record["resourceName"],))
            else:
                batch.add(record)
        new_cursor = {"generation": request.generation() + reading.is_full, "sync_token": reading.sync_token}
        if not reading.sync_token:
            drift.add("people.connections.no_sync_token")
            new_cursor = dict(request.cursor or {"generation": 0})
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        if reading.is_full:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        return collected(
            client,
            spec,
            batch.table(),
            cursor=cursor,
            drift=drift,
            deleted=key_table(spec, gone - batch.keys - batch.quarantined_keys),
            quarantined=batch.quarantined,
        )


def _read(client: SourceClient, sync_token: str | None) -> _Reading:
    if sync_token:
        with suppress(CursorExpiredError):  # Normal once a week: everything is listed again, in a new generation.
            return _list(client, sync_token)
    return _list(client, None)


def _list(client: SourceClient, sync_token: str | None) -> _Reading:
    params: Params = {**_PARAMS, **({"syncToken": sync_token} if sync_token else {})}
    records: list[dict[str, Any]] = []
    next_token: str | None = None
    pages = google_pages(client, contracts.CONNECTIONS_PAGE, _PATH, params, is_cursor_call=sync_token is not None)
    for page in pages:
        records.extend(page.records)
        next_token = page.body.get("nextSyncToken")
    if not next_token and not records:
        raise ContractError("people.connections.list: neither contacts nor a sync token; the listing is not complete")
    # Without a token what came is kept, nothing is taken for deleted, and the next collection starts where this one did.
    return _Reading(records, next_token or "", is_full=sync_token is None and bool(next_token))
