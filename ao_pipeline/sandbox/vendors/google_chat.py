"""Google Chat's API: oldest first by default, `{}` for nothing, strict comparison of create times in filters."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.sandbox.replies import decode_token, encode_token, join_objects, json_reply, object_text, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.chats import chat_collection
from ao_pipeline.sandbox.world.records import Collection, Record
from ao_pipeline.settings import SANDBOX_PATHS

BASE: Final = SANDBOX_PATHS["chat"]
_CLAUSE: Final = re.compile(r'^\s*(?:(create_?time)\s*([<>])|(thread\.name)\s*=)\s*"?([^"\s]+)"?\s*$', re.IGNORECASE)


async def list_spaces(site: Site, request: Request) -> Response:
    """GET spaces."""
    google_caller(site, request, "chat")
    return _page(request, site.world()["spaces"].in_order(), "spaces", default=100)


def _page(request: Request, records: list[Record], kind: str, *, default: int) -> Response:
    limit, start = page_size(request, "pageSize", default=default, cap=1000), 0
    token = request.query_params.get("pageToken")
    if token:
        values = decode_token(token, kind, int)
        if values is None:
            raise google_error(400, "Invalid page token", "badRequest")
        start = values[0]
    page = records[start : start + limit]
    if not page:
        return json_reply({})
    head = {"nextPageToken": encode_token(kind, start + limit)} if start + limit < len(records) else {}
    return text_reply(object_text(head, **{kind: join_objects(record.text("full") for record in page)}))


def _space(site: Site, request: Request) -> Collection:
    google_caller(site, request, "chat")
    collection = site.collection(chat_collection(f"spaces/{request.path_params['space']}"))
    if collection is None:
        raise google_error(404, "Space not found.", "notFound")
    return collection


def _place(record: Record) -> tuple[str, str]:
    return record.data["createTime"], record.key


def _wanted(request: Request, collection: Collection) -> list[Record]:
    query = request.query_params
    records: list[Record]
    if query.get("showDeleted") == "true":
        records = collection.view(
            "with_deleted", lambda: sorted([*collection.records.values(), *collection.tombstones.values()], key=_place)
        )
    else:
        records = collection.view("by_time", lambda: sorted(collection.records.values(), key=_place))
    for clause in filter(None, re.split(r"\s+AND\s+", query.get("filter", ""), flags=re.IGNORECASE)):
        found = _CLAUSE.match(clause)
        if found is None:
            raise google_error(400, f"Invalid filter: {clause}", "badRequest")
        _, comparison, thread, value = found.groups()
        if thread:
            records = [record for record in records if record.data["thread"]["name"] == value]
            continue
        bound = _six_decimals(value)
        newer = comparison == ">"
        records = [
            record
            for record in records
            if (record.data["createTime"] > bound) == newer and record.data["createTime"] != bound
        ]
    return records


def _six_decimals(value: str) -> str:
    """Return an instant in the text form of create times, so that text order is time order."""
    whole, _, decimals = value.removesuffix("Z").removesuffix("+00:00").partition(".")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", whole):
        raise google_error(400, f"Invalid create_time: {value}", "badRequest")
    return f"{whole}.{decimals[:6]:0<6}Z"


async def list_messages(site: Site, request: Request) -> Response:
    """GET spaces/{space}/messages."""
    collection = _space(site, request)
    records = _wanted(request, collection)
    order = request.query_params.get("orderBy", "createTime ASC").replace("create_time", "createTime")
    if order.upper() not in ("CREATETIME ASC", "CREATETIME DESC", "ASC", "DESC", "CREATETIME"):
        raise google_error(400, f"Invalid order_by: {order}", "badRequest")
    is_descending = order.upper().endswith("DESC")
    if is_descending:
        records = records[::-1]
    token = request.query_params.get("pageToken")
    if token:
        values = decode_token(token, "messages", str, str)
        if values is None:
            raise google_error(400, "Invalid page token", "badRequest")
        last = (values[0], values[1])
        records = [record for record in records if _place(record) != last and (_place(record) < last) == is_descending]
    limit = page_size(request, "pageSize", default=25, cap=1000)
    page = records[:limit]
    if not page:
        return json_reply({})
    head: dict[str, Any] = {}
    if len(records) > limit:
        head["nextPageToken"] = encode_token("messages", *_place(page[-1]))
    return text_reply(object_text(head, messages=join_objects(record.text("full") for record in page)))


async def get_message(site: Site, request: Request) -> Response:
    """GET spaces/{space}/messages/{message}; a deleted message still answers, without content."""
    collection = _space(site, request)
    key = f"spaces/{request.path_params['space']}/messages/{request.path_params['message']}"
    record = collection.records.get(key) or collection.tombstones.get(key)
    if record is None:
        raise google_error(404, "Message not found.", "notFound")
    return text_reply(record.text("full"))


async def get_space(site: Site, request: Request) -> Response:
    """GET spaces/{space}."""
    _space(site, request)
    return json_reply(site.world()["spaces"].records[f"spaces/{request.path_params['space']}"].data)


def _by_space(records: list[Record]) -> dict[str, list[Record]]:
    index: dict[str, list[Record]] = {}
    for record in records:
        index.setdefault(record.key.partition("/members/")[0], []).append(record)
    return index


async def list_members(site: Site, request: Request) -> Response:
    """GET spaces/{space}/members."""
    _space(site, request)
    memberships = site.world()["memberships"]
    by_space = memberships.view("by_space", lambda: _by_space(memberships.in_order()))
    records = by_space.get(f"spaces/{request.path_params['space']}", [])
    return _page(request, records, "memberships", default=100)


ROUTES: Final = [
    Route(BASE + path, endpoint(handler))
    for path, handler in (
        ("/spaces/{space}/messages", list_messages),
        ("/spaces/{space}/messages/{message}", get_message),
        ("/spaces", list_spaces),
        ("/spaces/{space}", get_space),
        ("/spaces/{space}/members", list_members),
    )
]
