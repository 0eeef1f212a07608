"""Google Calendar's API: sync tokens that only an unfiltered listing gives, tombstones, 410 when a token is too old."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import from_micros, to_iso, to_micros
from ao_pipeline.sandbox.replies import decode_token, encode_token, join_objects, json_reply, object_text, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.agency import ORG_ZONE
from ao_pipeline.sandbox.world.meetings import event_collection
from ao_pipeline.sandbox.world.records import Collection, Record
from ao_pipeline.sandbox.world.size import DAY_MICROS

BASE: Final = SANDBOX_PATHS["calendar"]
SYNC_LASTS_MICROS: Final = 28 * DAY_MICROS
_UPDATED_MIN_LASTS_MICROS: Final = 29 * DAY_MICROS
_NO_SYNC: Final = (
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
)
"""Parameters that a sync token forbids; a first listing with one of them gives no token."""
_PAGING: Final = frozenset({"pageToken", "syncToken", "maxResults"})


async def list_calendars(site: Site, request: Request) -> Response:
    """GET users/me/calendarList."""
    google_caller(site, request, "calendar")
    records = list(site.world()["calendars"].records.values())
    limit, start = page_size(request, "maxResults", default=100, cap=250), 0
    token = request.query_params.get("pageToken")
    if token is not None:
        values = decode_token(token, "calendars", int)
        if values is None:
            raise google_error(400, "Invalid page token value.", "invalid")
        start = values[0]
    head: dict[str, Any] = {"kind": "calendar#calendarList", "etag": '"p1"'}
    if start + limit < len(records):
        head["nextPageToken"] = encode_token("calendars", start + limit)
    else:
        head["nextSyncToken"] = encode_token("calendarList", site.options.seed)
    return text_reply(
        object_text(head, items=join_objects(record.text("full") for record in records[start : start + limit]))
    )


def _calendar(site: Site, request: Request) -> Collection:
    caller = google_caller(site, request, "calendar")
    calendar_id = request.path_params["calendar_id"]
    collection = site.collection(event_collection(caller if calendar_id == "primary" else calendar_id))
    if collection is None:
        raise google_error(404, "Not Found", "notFound")
    return collection


def _signature(site: Site, request: Request) -> int:
    """Return a number of everything that must be equal between a first listing and its later syncs."""
    pairs = sorted((key, value) for key, value in request.query_params.multi_items() if key not in _PAGING)
    return zlib.crc32(repr((site.options.seed, request.path_params["calendar_id"], pairs)).encode())


def _instant(request: Request, name: str) -> int | None:
    raw = request.query_params.get(name)
    if not raw:
        return None
    try:
        moment = datetime.fromisoformat(raw)
        return to_micros(moment)
    except ValueError as error:
        raise google_error(400, "Bad Request", "badRequest", location=name) from error


def _sync_start(site: Site, request: Request, token: str, sequence: int) -> int:
    if any(name in request.query_params for name in _NO_SYNC):
        raise google_error(400, "Sync token cannot be used with other query restrictions.", "invalid")
    values = decode_token(token, "sync", int, int, int)
    oldest = max(site.clock.micros() - SYNC_LASTS_MICROS, site.expired_before.get("calendar", 0))
    signature, start, issued = values or (0, 0, 0)
    # A token from beyond this calendar's last change was given by another world, before a restart.
    if signature != _signature(site, request) or issued < oldest or start > sequence:
        raise google_error(
            410,
            "Sync token is no longer valid, a full sync is required.",
            "fullSyncRequired",
            location="syncToken",
            locationType="parameter",
        )
    return start


def _is_exception(record: Record) -> bool:
    return "recurringEventId" in record.data


def _selected(site: Site, request: Request, collection: Collection, after: int | None) -> list[Record]:
    """Return present and, where the vendor shows them, cancelled events, by key."""
    if after is not None:
        return collection.changed_after(after)
    everything = collection.view(
        "with_tombstones",
        lambda: sorted([*collection.records.values(), *collection.tombstones.values()], key=lambda r: r.key),
    )
    updated_min = _instant(request, "updatedMin")
    if updated_min is not None and updated_min < site.clock.micros() - _UPDATED_MIN_LASTS_MICROS:
        raise google_error(
            410, "The requested minimum modification time lies too far in the past.", "updatedMinTooLongAgo"
        )
    if updated_min is not None:
        return [record for record in everything if record.at >= updated_min]
    if request.query_params.get("showDeleted") == "true":
        return list(everything)
    low, high = _instant(request, "timeMin"), _instant(request, "timeMax")
    shown = [record for record in everything if not record.is_dropped or _is_exception(record)]
    if low is None and high is None:
        return shown
    return [record for record in shown if not record.is_dropped and _overlaps(record, low, high)]


def _overlaps(record: Record, low: int | None, high: int | None) -> bool:
    if "recurrence" in record.data:
        return True
    start, end = (_bound(record.data[side]) for side in ("start", "end"))
    return (low is None or end > low) and (high is None or start < high)


def _bound(moment: dict[str, str]) -> int:
    if "dateTime" in moment:
        return to_micros(datetime.fromisoformat(moment["dateTime"]))
    return to_micros(datetime.fromisoformat(moment["date"] + "T00:00:00+04:00"))


async def list_events(site: Site, request: Request) -> Response:
    """GET calendars/{id}/events, masters and exceptions; instances are not expanded."""
    collection, query = _calendar(site, request), request.query_params
    if query.get("singleEvents") == "true":
        raise google_error(400, "The sandbox does not expand recurring events; use singleEvents=false.", "invalid")
    sync_token, page_token = query.get("syncToken"), query.get("pageToken")
    # The last page's token must date from the first page: a change between two pages must come with the next sync.
    after, upto, last = None, collection.sequence, ""
    if sync_token is not None:
        after = _sync_start(site, request, sync_token, collection.sequence)
    if page_token is not None:
        values = decode_token(page_token, "page", int, int, str)
        if values is None or values[0] != _signature(site, request):
            raise google_error(400, "Invalid page token value.", "invalid", location="pageToken")
        upto, last = values[1], values[2]
    records = [record for record in _selected(site, request, collection, after) if record.key > last]
    limit = page_size(request, "maxResults", default=250, cap=2500)
    page = records[:limit]
    head: dict[str, Any] = {
        "kind": "calendar#events",
        "etag": f'"p{collection.sequence}"',
        "summary": collection.name.partition(":")[2],
        "updated": to_iso(from_micros(collection.sequence)),
        "timeZone": ORG_ZONE,
        "accessRole": "reader",
        "defaultReminders": [],
    }
    if len(records) > limit:
        head["nextPageToken"] = encode_token("page", _signature(site, request), upto, page[-1].key)
    elif not any(name in query for name in _NO_SYNC):
        head["nextSyncToken"] = encode_token("sync", _signature(site, request), upto, site.clock.micros())
    return text_reply(object_text(head, items=join_objects(record.text("full") for record in page)))


async def get_event(site: Site, request: Request) -> Response:
    """GET calendars/{id}/events/{eventId}."""
    collection, key = _calendar(site, request), request.path_params["event_id"]
    record = collection.records.get(key) or collection.tombstones.get(key)
    if record is None:
        raise google_error(404, "Not Found", "notFound")
    return text_reply(record.text("full"))


async def get_calendar(site: Site, request: Request) -> Response:
    """GET users/me/calendarList/{id}."""
    google_caller(site, request, "calendar")
    record = site.world()["calendars"].records.get(request.path_params["calendar_id"])
    if record is None:
        raise google_error(404, "Not Found", "notFound")
    return json_reply(record.data)


ROUTES: Final = [
    Route(BASE + path, endpoint(handler))
    for path, handler in (
        ("/calendars/{calendar_id}/events", list_events),
        ("/calendars/{calendar_id}/events/{event_id}", get_event),
        ("/users/me/calendarList", list_calendars),
        ("/users/me/calendarList/{calendar_id}", get_calendar),
    )
]
