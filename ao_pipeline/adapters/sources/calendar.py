"""The list of calendars; and the events of each of them, each with its own sync token; masters and exceptions only.

Nothing tells which calendars changed, so each costs a request. The `ALWAYS_ASKED` that changed last are asked each time, the
others in turn: once in `SILENT_EVERY` (`test_an_event_in_a_silent_calendar_is_seen_within_two_hours`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
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
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, widened
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.calendar import is_tombstone, parse_calendar, parse_event
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_CALENDAR_CALENDARS, RAW_CALENDAR_EVENTS
from ao_pipeline.errors import AoError, ContractError, CursorExpiredError

PAGE_SIZE: Final = 1000
"""Of 2,500 at most: four such pages of events at once would be 150 MB. The same on every call: a sync token holds only for the parameters of its first listing."""


MAX_ROWS: Final = 30_000
"""Events after which no further calendar is listed from its beginning: the next collection goes on. Those that are told
by a sync token are always asked."""


ALWAYS_ASKED: Final = 20
"""Calendars that are asked in every collection, those with the newest changes: one that is used goes on being used."""

SILENT_EVERY: Final = timedelta(hours=2)
"""How late at most an event is noticed in a calendar that twenty others have newer changes than."""

MOST_A_TURN: Final = 6
"""Such calendars asked in one collection, on average. Up to 48 have their turn within two hours, 96 within four."""


@dataclass(frozen=True)
class _Reading:
    """What one calendar answered."""

    calendar_id: str
    batch: Batch
    drift: Drift
    deleted: set[Key]
    sync_token: str
    is_full: bool
    changed_at: str
    """When a calendar that was listed in full changed last, as it says itself; empty where it does not."""


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
    deleted: set[Key] = set()
    tokens: dict[str, str] = {}
    relisted: list[str] = []
    changed = _recent(request)
    with request.open("calendar") as client:
        calendars = [record["id"] for record in _list_calendars(client)]
        for reading in _read_all(client, _to_ask(request, calendars, known), known):
            if reading.is_full or len(reading.batch) or reading.deleted:
                # Listed in full is not changed now: after many tokens expired, none of them would be asked as a used one.
                is_listed = reading.is_full or reading.calendar_id not in known
                at = reading.changed_at if is_listed else to_iso(request.now)
                changed[reading.calendar_id] = max(at, changed.get(reading.calendar_id, ""))
            batch.absorb(reading.batch)
            drift.absorb(reading.drift)
            deleted |= reading.deleted
            if reading.sync_token:
                tokens[reading.calendar_id] = reading.sync_token
            relisted += [reading.calendar_id] * reading.is_full
        # A calendar whose turn did not come keeps its token, if it has one.
        kept = {calendar: known[calendar] for calendar in calendars if calendar in known}
        recent = sorted((one for one in changed if one in calendars), key=lambda one: changed[one], reverse=True)
        new_cursor: Cursor = {
            "generation": request.generation() + bool(relisted),
            "calendars": kept | tokens,
            "recent": {one: changed[one] for one in recent[:ALWAYS_ASKED]},
            "listed_at": to_iso(request.now),
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0, "calendars": {}})
        if set(relisted) == set(calendars):
            return full_listing(request, client, RAW_CALENDAR_EVENTS, batch, cursor=cursor, drift=drift)
        gone = _gone(request, batch, known=known, present=calendars, relisted=relisted)
        taken = batch.keys | batch.quarantined_keys if deleted or gone else set()
        return collected(
            client,
            RAW_CALENDAR_EVENTS,
            batch.table(),
            cursor=cursor,
            drift=drift,
            deleted=key_table(RAW_CALENDAR_EVENTS, (deleted | gone) - taken),
            quarantined=batch.quarantined,
        )


def _recent(request: CollectionRequest) -> dict[str, str]:
    """Return the calendars that changed last, and when. A list, of an earlier version, says no times: as of its collection."""
    cursor = request.cursor or {}
    recent = cursor.get("recent", {})
    if isinstance(recent, list):
        return dict.fromkeys((str(calendar) for calendar in recent), str(cursor.get("listed_at", "")))
    return dict(recent)


def _to_ask(request: CollectionRequest, calendars: list[str], known: Mapping[str, str]) -> list[str]:
    """Return the calendars to ask: those that changed last, those whose turn has come, those never read."""
    listed_at = (request.cursor or {}).get("listed_at")
    if not listed_at:
        return calendars
    here = dict.fromkeys(one for one in [*_recent(request), *calendars] if one in known and one in calendars)
    always = set(list(here)[:ALWAYS_ASKED])
    slots = widened(slot_count(SILENT_EVERY), len(known) - len(always), most=MOST_A_TURN)
    turns = due_slots(datetime.fromisoformat(str(listed_at)), request.now, slots)
    return [one for one in calendars if one in always or one not in known or slot_of(one, slots) in turns]


def _read_all(client: SourceClient, calendars: list[str], known: dict[str, str]) -> Iterator[_Reading]:
    """Yield what the calendars answer, those with a sync token first, and as many of the others as fit."""
    rows = 0

    def wanted() -> Iterator[str]:
        for calendar in sorted(calendars, key=lambda one: one not in known):
            if rows >= MAX_ROWS and calendar not in known:
                return
            yield calendar

    for reading in client.in_turn(lambda calendar: _read(client, calendar, known.get(calendar)), wanted()):
        rows += len(reading.batch)
        yield reading


def _gone(
    request: CollectionRequest, batch: Batch, *, known: dict[str, str], present: list[str], relisted: list[str]
) -> set[Key]:
    """Return the stored keys of calendars that left, and those that a calendar's full listing lacks."""
    spec = RAW_CALENDAR_EVENTS
    tables = [left_scopes(request, spec, known=known, present=present, column="calendar_id")]
    request = replace(request, stored_keys=cache(request.stored_keys))
    listed: dict[str, set[Key]] = {calendar: set() for calendar in relisted}
    for key in batch.keys | batch.quarantined_keys if relisted else ():
        listed.get(key[0], set()).add(key)
    tables += [
        relisted_scope(request, spec, column="calendar_id", scope=calendar, listed=listed[calendar])
        for calendar in relisted
    ]
    return {key for table in tables for key in zip(*(column.to_pylist() for column in table.columns), strict=True)}


def _list_calendars(client: SourceClient) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    # Hidden ones too: hiding a calendar in one's own view must not delete its events here.
    for page in google_pages(client, contracts.CALENDARS_PAGE, "/users/me/calendarList", {"showHidden": "true"}):
        found.update((record["id"], record) for record in page.records if record.get("deleted") is not True)
    return list(found.values())


def _read(client: SourceClient, calendar_id: str, sync_token: str | None) -> _Reading:
    try:
        if sync_token is not None:
            with suppress(CursorExpiredError):  # Normal: the calendar is listed again, in a new generation.
                return _list_events(client, calendar_id, sync_token)
        return _list_events(client, calendar_id, None)
    except AoError as error:
        raise name_culprit(error, f"calendar {calendar_id}") from error


def _list_events(client: SourceClient, calendar_id: str, sync_token: str | None) -> _Reading:
    path = f"/calendars/{quote(calendar_id, safe='@')}/events"
    params: Params = {"maxResults": PAGE_SIZE, **({"syncToken": sync_token} if sync_token else {})}
    drift = Drift()
    batch = Batch(RAW_CALENDAR_EVENTS, contracts.EVENT, parse_event, drift)
    deleted: set[Key] = set()
    next_token: str | None = None
    changed_at = ""
    pages = google_pages(client, contracts.EVENTS_PAGE, path, params, is_cursor_call=sync_token is not None)
    for page in pages:
        for record in page.records:
            if is_tombstone(record):
                deleted.add((calendar_id, record["id"]))
            else:
                batch.add(record, scope={"calendar_id": calendar_id})
        next_token, changed_at = page.body.get("nextSyncToken"), str(page.body.get("updated") or "")
    if not next_token:
        if not len(batch) and not deleted:
            raise ContractError("calendar.events.list: neither events nor a sync token; the listing is not complete")
        # What came is kept, nothing is taken for deleted, and the next collection starts where this one did.
        drift.add("calendar.events.no_sync_token")
    is_full = sync_token is None and bool(next_token)
    return _Reading(calendar_id, batch, drift, deleted, next_token or "", is_full, changed_at)
