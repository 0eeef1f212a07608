"""Google Chat's API: oldest first by default, `{}` for nothing, strict comparison of create times in filters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.sandbox.replies import decode_token, encode_token, join_objects, json_reply, object_text, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.chats import chat_collection
from ao_pipeline.sandbox.world.records import Collection, Record

BASE: Final = SANDBOX_PATHS["chat"]
_LAST_KEY: Final = "\U0010ffff"
"""After every key: a bound that is to be passed is passed with everything that stands at it."""

_CLAUSE: Final = re.compile(r'^\s*(?:(create_?time)\s*([<>])|(thread\.name)\s*=)\s*"?([^"\s]+)"?\s*$', re.IGNORECASE)


async def list_spaces(site: Site, request: Request) -> Response:
    """GET spaces."""
    google_caller(site, request, "chat")
    return _page(
        request, [_as_shown(site, record) for record in site.world()["spaces"].in_order()], "spaces", default=100
    )


def _as_shown(site: Site, space: Record) -> Record:
    """Return a space with what its messages and members make of it: when the last message came, and how many people."""
    messages, members = site.collection(chat_collection(space.key)), site.world()["memberships"]
    last = None if messages is None else messages.current(messages.newest_key)
    active = {} if last is None else {"lastActiveTime": last.data["createTime"]}
    joined = len(members.index("by_space", _place_in_space).present(space.key))
    shown = {**space.data, **active, "membershipCount": {"joinedDirectHumanUserCount": joined}}
    return Record(space.key, shown, at=space.at, sequence=space.sequence)


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


def _place_in_time(record: Record) -> list[tuple[str, str]]:
    return [("", record.data["createTime"])]


def _place_in_space(record: Record) -> list[tuple[str, str]]:
    return [(record.key.partition("/members/")[0], "")]


@dataclass
class _Filter:
    """What a query keeps: create times strictly between two bounds, and one thread or all."""

    after: str = ""
    before: str = ""
    thread: str = ""

    def keeps(self, record: Record) -> bool:
        """Return whether a record is among what is asked for."""
        created, thread = record.data["createTime"], record.data["thread"]["name"]
        return created > self.after and (not self.before or created < self.before) and self.thread in ("", thread)


def _read_filter(text: str) -> _Filter:
    found = _Filter()
    for clause in filter(None, re.split(r"\s+AND\s+", text, flags=re.IGNORECASE)):
        match = _CLAUSE.match(clause)
        if match is None:
            raise google_error(400, f"Invalid filter: {clause}", "badRequest")
        _, comparison, thread, value = match.groups()
        if thread:
            found.thread = value
        elif comparison == ">":
            found.after = max(found.after, _six_decimals(value))
        else:
            bound = _six_decimals(value)
            found.before = min(found.before or bound, bound)
    return found


def _six_decimals(value: str) -> str:
    """Return an instant in the text form of create times, so that text order is time order."""
    whole, _, decimals = value.removesuffix("Z").removesuffix("+00:00").partition(".")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", whole):
        raise google_error(400, f"Invalid create_time: {value}", "badRequest")
    return f"{whole}.{decimals[:6]:0<6}Z"


async def list_messages(site: Site, request: Request) -> Response:
    """GET spaces/{space}/messages."""
    collection, query = _space(site, request), request.query_params
    wanted, shows_deleted = _read_filter(query.get("filter", "")), query.get("showDeleted") == "true"
    order = query.get("orderBy", "createTime ASC").replace("create_time", "createTime")
    if order.upper() not in ("CREATETIME ASC", "CREATETIME DESC", "ASC", "DESC", "CREATETIME"):
        raise google_error(400, f"Invalid order_by: {order}", "badRequest")
    is_descending = order.upper().endswith("DESC")
    beyond: tuple[str, str] | None = (wanted.after, _LAST_KEY) if wanted.after and not is_descending else None
    token = query.get("pageToken")
    if token:
        values = decode_token(token, "messages", str, str)
        if values is None:
            raise google_error(400, "Invalid page token", "badRequest")
        beyond = (values[0], values[1])
    found = collection.index("by_time", _place_in_time).walk("", after=beyond, is_descending=is_descending)
    limit = page_size(request, "pageSize", default=25, cap=1000)
    kept = (record for record in found if wanted.keeps(record) and (shows_deleted or not record.is_dropped))
    records = list(islice(kept, limit + 1))
    page = records[:limit]
    if not page:
        return json_reply({})
    head: dict[str, Any] = {}
    if len(records) > limit:
        head["nextPageToken"] = encode_token("messages", page[-1].data["createTime"], page[-1].key)
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
    return json_reply(_as_shown(site, site.world()["spaces"].records[f"spaces/{request.path_params['space']}"]).data)


async def list_members(site: Site, request: Request) -> Response:
    """GET spaces/{space}/members."""
    _space(site, request)
    space = f"spaces/{request.path_params['space']}"
    records = site.world()["memberships"].index("by_space", _place_in_space).present(space)
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
