"""Google Tasks' API: twenty a page by default, deleted and hidden tasks only when asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import to_micros
from ao_pipeline.sandbox.replies import decode_token, encode_token, join_objects, object_text, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.records import Collection, Record
from ao_pipeline.sandbox.world.size import DAY_MICROS
from ao_pipeline.sandbox.world.workspace import TASK_LISTS, task_collection

BASE: Final = SANDBOX_PATHS["gtasks"]
TOMBSTONE_LASTS_MICROS: Final = 30 * DAY_MICROS
"""Deleted tasks are shown this long; the vendor does not say how long they are."""
_DEFAULT_PAGE: Final = 20
_LARGEST_PAGE: Final = 100


def _page(request: Request, kind: str, records: list[Record]) -> Response:
    limit = page_size(request, "maxResults", default=_DEFAULT_PAGE, cap=_LARGEST_PAGE)
    token = request.query_params.get("pageToken")
    if token:
        values = decode_token(token, kind, str)
        if values is None:
            raise google_error(400, "Invalid page token.", "invalid", location="pageToken")
        records = [record for record in records if record.key > values[0]]
    page = records[:limit]
    head: dict[str, Any] = {"kind": kind, "etag": f'"{len(records)}"'}
    if len(records) > limit:
        head["nextPageToken"] = encode_token(kind, page[-1].key)
    items = {"items": join_objects(record.text("full") for record in page)} if page else {}
    return text_reply(object_text(head, **items))


async def list_lists(site: Site, request: Request) -> Response:
    """GET users/@me/lists."""
    google_caller(site, request, "tasks")
    return _page(request, "tasks#taskLists", site.world()[TASK_LISTS].in_order())


def _is_on(request: Request, name: str, *, default: bool) -> bool:
    raw = request.query_params.get(name)
    return default if raw is None else raw.lower() == "true"


def _since(request: Request) -> int | None:
    raw = request.query_params.get("updatedMin")
    if not raw:
        return None
    try:
        moment = datetime.fromisoformat(raw.replace("Z", "+00:00"))
    except ValueError as error:
        raise google_error(400, "Invalid value for updatedMin.", "invalid", location="updatedMin") from error
    return to_micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _wanted(site: Site, request: Request, collection: Collection) -> list[Record]:
    records = list(collection.records.values())
    if _is_on(request, "showDeleted", default=False):
        oldest = site.clock.micros() - TOMBSTONE_LASTS_MICROS
        records += [record for record in collection.tombstones.values() if record.at >= oldest]
    if not _is_on(request, "showHidden", default=False):
        records = [record for record in records if not record.data.get("hidden")]
    if not _is_on(request, "showCompleted", default=True):
        records = [record for record in records if record.data["status"] != "completed"]
    since = _since(request)
    return [record for record in records if since is None or record.at >= since]


async def list_tasks(site: Site, request: Request) -> Response:
    """GET lists/{tasklist}/tasks."""
    google_caller(site, request, "tasks")
    collection = site.collection(task_collection(request.path_params["list_id"]))
    if collection is None:
        raise google_error(404, "Task list not found.", "notFound")
    wanted = sorted(_wanted(site, request, collection), key=lambda record: record.key)
    return _page(request, "tasks#tasks", wanted)


ROUTES: Final = [
    Route(BASE + "/users/@me/lists", endpoint(list_lists)),
    Route(BASE + "/lists/{list_id}/tasks", endpoint(list_tasks)),
]
