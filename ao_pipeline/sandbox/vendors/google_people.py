"""Google People's API: the contacts of the caller, with sync tokens that die a week after the full listing."""

from __future__ import annotations

import zlib
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.sandbox.replies import (
    RefusedError,
    decode_token,
    encode_token,
    join_objects,
    json_reply,
    object_text,
    text_reply,
)
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.records import Json, Record
from ao_pipeline.sandbox.world.size import DAY_MICROS
from ao_pipeline.sandbox.world.workspace import PEOPLE

BASE: Final = SANDBOX_PATHS["people"]
SYNC_LASTS_MICROS: Final = 7 * DAY_MICROS
_ALWAYS: Final = ("resourceName", "etag", "metadata")
_PAGING: Final = frozenset({"pageToken", "syncToken", "pageSize"})


def _expired() -> RefusedError:
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "EXPIRED_SYNC_TOKEN",
        "domain": "people.googleapis.com",
    }
    message = "Sync token is expired. Clear local cache and retry call without the sync token."
    error = {"code": 400, "message": message, "status": "FAILED_PRECONDITION", "details": [detail]}
    return RefusedError(json_reply({"error": error}, status=400))


def _signature(site: Site, request: Request) -> int:
    """Return a number of everything that must be equal between a full listing and its syncs."""
    pairs = sorted((key, value) for key, value in request.query_params.multi_items() if key not in _PAGING)
    return zlib.crc32(repr((site.options.seed, pairs)).encode())


def _start(site: Site, request: Request, token: str, sequence: int) -> tuple[int, int]:
    """Return the sequence that a sync token stands at, and when its full listing was made."""
    values = decode_token(token, "people", int, int, int)
    if values is None or values[0] != _signature(site, request):
        raise google_error(400, "Request must set the same parameters as the full sync.", "invalidParameter")
    _, start, listed_at = values
    oldest = max(site.clock.micros() - SYNC_LASTS_MICROS, site.expired_before.get("people", 0))
    if listed_at < oldest or start > sequence:
        raise _expired()
    return start, listed_at


async def list_connections(site: Site, request: Request) -> Response:
    """GET people/me/connections."""
    google_caller(site, request, "contacts")
    query, collection = request.query_params, site.world()[PEOPLE]
    fields = frozenset(query.get("personFields", "").split(","))
    if not query.get("personFields"):
        raise google_error(400, "personFields mask is required.", "invalidParameter")
    records: list[Record] = list(collection.records.values())
    upto, listed_at, last = collection.sequence, site.clock.micros(), ""
    if query.get("syncToken"):
        start, listed_at = _start(site, request, query["syncToken"], collection.sequence)
        records = collection.changed_after(start)
    if query.get("pageToken"):
        values = decode_token(query["pageToken"], "people-page", int, int, str)
        if values is None:
            raise google_error(400, "Invalid page token.", "invalidParameter")
        upto, listed_at, last = values
    records = sorted((record for record in records if record.key > last), key=lambda record: record.key)
    limit = page_size(request, "pageSize", default=100, cap=1000)
    page = records[:limit]
    head: dict[str, Any] = {}
    if len(records) > limit:
        head["nextPageToken"] = encode_token("people-page", upto, listed_at, page[-1].key)
    elif query.get("requestSyncToken") == "true" or query.get("syncToken"):
        head["nextSyncToken"] = encode_token("people", _signature(site, request), upto, listed_at)
    if not query.get("syncToken"):
        head |= {"totalPeople": len(collection.records), "totalItems": len(collection.records)}

    def view(data: Json) -> Json:
        return {key: value for key, value in data.items() if key in fields or key in _ALWAYS}

    shown = join_objects(record.text(query["personFields"], view) for record in page)
    return text_reply(object_text(head, **({"connections": shown} if page else {})))


ROUTES: Final = [Route(BASE + "/people/me/connections", endpoint(list_connections))]
