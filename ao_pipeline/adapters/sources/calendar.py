"""The list of calendars; and the events of each of them, each with its own sync token; masters and exceptions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import (
    collected,
    full_listing,
    key_table,
    left_scopes,
    next_cursor,
    relisted_scope,
)
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.calendar import is_tombstone, parse_calendar, parse_event
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_CALENDAR_CALENDARS, RAW_CALENDAR_EVENTS
from ao_pipeline.errors import AoError, ContractError, CursorExpiredError

PAGE_SIZE: Final = 2500
"""Calendar's largest page. The same on every call: a sync token holds only for the parameters of its first listing."""


@dataclass(frozen=True)
class _Reading:
    """What one calendar answered."""

    calendar_id: str
    records: list[dict[str, Any]]
    sync_token: str
    is_full: bool


def collect_calendars(request: CollectionRequest) -> Collected:
    """Collect `raw/calendar_calendars`: short, so listed in full each time."""
    drift = Drift()
    batch = Batch(RAW_CALENDAR_CALENDARS, contracts.CALENDAR, parse_calendar, drift)
    with request.open("calendar") as client:
        for record in _list_calendars(client):
            batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_CALENDAR_CALENDARS, batch, cursor=cursor, drift=drift)


def collect_events(request: CollectionRequest) -> Collected:
    """Collect `raw/calendar_events`."""
    known: dict[str, str] = dict(request.cursor["calendars"]) if request.cursor else {}
    drift = Drift()
    batch = Batch(RAW_CALENDAR_EVENTS, contracts.EVENT, parse_event, drift)
    with request.open("calendar") as client:
        calendars = [record["id"] for record in _list_calendars(client)]
        readings = client.each(lambda calendar: _read(client, calendar, known.get(calendar)), calendars)
        deleted: set[Key] = set()
        for reading in readings:
            for record in reading.records:
                if is_tombstone(record):
                    deleted.add((reading.calendar_id, record["id"]))
                else:
                    batch.add(record, scope={"calendar_id": reading.calendar_id})
        new_cursor: Cursor = {
            "generation": request.generation() + any(reading.is_full for reading in readings),
            "calendars": {reading.calendar_id: reading.sync_token for reading in readings},
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0, "calendars": {}})
        return _outcome(request, client, readings, batch, deleted, cursor=cursor, drift=drift, known=known)


def _outcome(
    request: CollectionRequest,
    client: SourceClient,
    readings: list[_Reading],
    batch: Batch,
    deleted: set[Key],
    *,
    cursor: Cursor,
    drift: Drift,
    known: dict[str, str],
) -> Collected:
    spec = RAW_CALENDAR_EVENTS
    if all(reading.is_full for reading in readings):
        return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
    present = [reading.calendar_id for reading in readings]
    gone = [left_scopes(request, spec, known=known, present=present, column="calendar_id")]
    kept = batch.keys | batch.quarantined_keys
    for reading in readings:
        if reading.is_full:
            listed = {key for key in kept if key[0] == reading.calendar_id}
            gone.append(relisted_scope(request, spec, column="calendar_id", scope=reading.calendar_id, listed=listed))
    for table in gone:
        deleted.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return collected(
        client,
        spec,
        batch.table(),
        cursor=cursor,
        drift=drift,
        deleted=key_table(spec, deleted - kept),
        quarantined=batch.quarantined,
    )


def _list_calendars(client: SourceClient) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    # Hidden ones too: hiding a calendar in one's own view must not delete its events here.
    for page in google_pages(client, contracts.CALENDARS_PAGE, "/users/me/calendarList", {"showHidden": "true"}):
        found.update((record["id"], record) for record in page.records if record.get("deleted") is not True)
    return list(found.values())


def _read(client: SourceClient, calendar_id: str, sync_token: str | None) -> _Reading:
    try:
        if sync_token is not None:
            try:
                return _list_events(client, calendar_id, sync_token)
            except CursorExpiredError:
                pass  # Normal: the calendar is listed again, in a new generation.
        return _list_events(client, calendar_id, None)
    except AoError as error:
        raise name_culprit(error, f"calendar {calendar_id}") from error


def _list_events(client: SourceClient, calendar_id: str, sync_token: str | None) -> _Reading:
    path = f"/calendars/{quote(calendar_id, safe='@')}/events"
    params: Params = {"maxResults": PAGE_SIZE, **({"syncToken": sync_token} if sync_token else {})}
    records: list[dict[str, Any]] = []
    next_token: str | None = None
    pages = google_pages(client, contracts.EVENTS_PAGE, path, params, is_cursor_call=sync_token is not None)
    for page in pages:
        records.extend(page.records)
        next_token = page.body.get("nextSyncToken")
    if not next_token:
        raise ContractError("calendar.events.list: the last page has no sync token, so the listing is not complete")
    return _Reading(calendar_id, records, next_token, is_full=sync_token is None)
