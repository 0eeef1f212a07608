"""Gmail's API: one mailbox per token, newest first, history that is forgotten after a week."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.sandbox.replies import decode_token, encode_token, join_objects, json_reply, object_text, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.mails import USER_LABEL, mail_collection
from ao_pipeline.sandbox.world.records import Collection, Entry, Json, Record
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS

BASE: Final = SANDBOX_PATHS["gmail"] + "/users/{mailbox}"
HISTORY_LASTS_MICROS: Final = 7 * DAY_MICROS
_HIDDEN: Final = frozenset({"TRASH", "SPAM"})
_NEWER: Final = {"d": DAY_MICROS, "h": HOUR_MICROS, "m": 30 * DAY_MICROS, "y": 365 * DAY_MICROS}


def _mailbox(site: Site, request: Request) -> Collection:
    caller, mailbox = google_caller(site, request, "gmail"), request.path_params["mailbox"]
    if mailbox not in ("me", caller):
        raise google_error(403, f"Delegation denied for {caller}", "forbidden")
    collection = site.collection(mail_collection(caller))
    if collection is None:
        raise google_error(400, "Mail service not enabled", "failedPrecondition")
    return collection


def _newest_first(collection: Collection) -> list[Record]:
    return sorted(collection.records.values(), key=_place, reverse=True)


def _place(record: Record) -> tuple[int, str]:
    return int(record.data["internalDate"]), record.key


def _reference(data: Json) -> Json:
    return {"id": data["id"], "threadId": data["threadId"]}


async def get_profile(site: Site, request: Request) -> Response:
    """GET profile."""
    collection = _mailbox(site, request)
    threads = len({record.data["threadId"] for record in collection.records.values()})
    return json_reply(
        {
            "emailAddress": collection.name.partition(":")[2],
            "messagesTotal": len(collection.records),
            "threadsTotal": threads,
            "historyId": str(collection.sequence),
        }
    )


def _wanted(site: Site, request: Request, collection: Collection) -> list[Record]:
    records: list[Record] = collection.view("newest_first", lambda: _newest_first(collection))
    labels = request.query_params.getlist("labelIds")
    if request.query_params.get("includeSpamTrash", "false") != "true" and not _HIDDEN & set(labels):
        records = [record for record in records if not _HIDDEN.intersection(record.data["labelIds"])]
    if labels:
        records = [record for record in records if set(labels) <= set(record.data["labelIds"])]
    for word in request.query_params.get("q", "").split():
        name, _, value = word.partition(":")
        if name == "newer_than" and value[:-1].isdigit() and value[-1] in _NEWER:
            oldest = (site.clock.micros() - int(value[:-1]) * _NEWER[value[-1]]) // 1000
            records = [record for record in records if int(record.data["internalDate"]) >= oldest]
    return records


async def list_messages(site: Site, request: Request) -> Response:
    """GET messages: ids only; an empty mailbox has no `messages` key."""
    records = _wanted(site, request, _mailbox(site, request))
    limit, token = page_size(request, "maxResults", default=100, cap=500), request.query_params.get("pageToken")
    if token is not None:
        values = decode_token(token, "gmail", int, str)
        if values is None:
            raise google_error(400, "Invalid pageToken", "invalidArgument")
        last = (values[0], values[1])
        records = [record for record in records if _place(record) < last]
    page = records[:limit]
    # The estimate is a wild guess at Google too: it must never be taken for a count.
    head: dict[str, Any] = {"resultSizeEstimate": min(201, len(records))}
    if len(records) > limit:
        head["nextPageToken"] = encode_token("gmail", *_place(page[-1]))
    if not page:
        return json_reply(head)
    return text_reply(object_text(head, messages=join_objects(record.text("reference", _reference) for record in page)))


async def get_message(site: Site, request: Request) -> Response:
    """GET messages/{id} in `full`, `metadata` or `minimal` format."""
    collection = _mailbox(site, request)
    record = collection.records.get(request.path_params["id"])
    if record is None:
        raise google_error(404, "Requested entity was not found.", "notFound")
    shape = request.query_params.get("format", "full")
    if shape == "full":
        return text_reply(record.text("full"))
    if shape == "minimal":
        return text_reply(record.text("minimal", lambda data: {k: v for k, v in data.items() if k != "payload"}))
    if shape != "metadata":
        raise google_error(400, f"Invalid value for format: {shape}", "invalidArgument")
    wanted = {name.lower() for name in request.query_params.getlist("metadataHeaders")}
    payload = record.data["payload"]
    headers = [item for item in payload["headers"] if not wanted or item["name"].lower() in wanted]
    return json_reply({**record.data, "payload": {"mimeType": payload["mimeType"], "headers": headers}})


def history_item(entry: Entry, types: set[str]) -> Json | None:
    """Return a history line as Gmail shows it, or None where nothing of the asked types happened."""
    shown = entry.after if entry.action != "drop" else entry.before
    message = {"id": entry.key, "threadId": shown["threadId"], "labelIds": shown["labelIds"]}
    item: Json = {"id": str(entry.sequence), "messages": [_reference(message)]}
    if entry.action == "put":
        item["messagesAdded"] = [{"message": message}]
    elif entry.action == "drop":
        item["messagesDeleted"] = [{"message": message}]
    else:
        before, after = entry.before["labelIds"], entry.after["labelIds"]
        added, removed = [x for x in after if x not in before], [x for x in before if x not in after]
        if added:
            item["labelsAdded"] = [{"message": message, "labelIds": added}]
        if removed:
            item["labelsRemoved"] = [{"message": message, "labelIds": removed}]
    kept = {
        "messagesAdded": "messageAdded",
        "messagesDeleted": "messageDeleted",
        "labelsAdded": "labelAdded",
        "labelsRemoved": "labelRemoved",
    }
    for name, kind in kept.items():
        if types and kind not in types:
            item.pop(name, None)
    return item if len(item) > 2 else None


async def list_history(site: Site, request: Request) -> Response:
    """GET history: what happened after `startHistoryId`; 404 when that is too old, or from another world."""
    collection = _mailbox(site, request)
    raw = request.query_params.get("startHistoryId", "")
    if not raw.isdigit():
        raise google_error(400, "Missing or invalid startHistoryId", "invalidArgument")
    start, now = int(raw), site.clock.micros()
    oldest = max(now - HISTORY_LASTS_MICROS, site.expired_before.get("gmail", 0))
    if start < oldest or start > collection.sequence:
        raise google_error(404, "Requested entity was not found.", "notFound")
    limit, token = page_size(request, "maxResults", default=100, cap=500), request.query_params.get("pageToken")
    if token is not None:
        values = decode_token(token, "history", int)
        if values is None:
            raise google_error(400, "Invalid pageToken", "invalidArgument")
        start = values[0]
    types = set(request.query_params.getlist("historyTypes"))
    newer = (entry for entry in collection.history[_first_after(collection.history, start) :])
    items = list(islice((item for entry in newer if (item := history_item(entry, types)) is not None), limit + 1))
    body: Json = {"historyId": str(collection.sequence)}
    if len(items) > limit:
        body["nextPageToken"] = encode_token("history", int(items[limit - 1]["id"]))
    if items:
        body["history"] = items[:limit]
    return json_reply(body)


def _first_after(history: list[Entry], sequence: int) -> int:
    low, high = 0, len(history)
    while low < high:
        middle = (low + high) // 2
        if history[middle].sequence <= sequence:
            low = middle + 1
        else:
            high = middle
    return low


async def list_labels(site: Site, request: Request) -> Response:
    """GET labels."""
    _mailbox(site, request)
    system = ("INBOX", "SENT", "TRASH", "SPAM", "UNREAD", "STARRED", "IMPORTANT", "DRAFT", "CATEGORY_UPDATES")
    labels = [{"id": name, "name": name, "type": "system"} for name in system]
    return json_reply({"labels": [*labels, {"id": USER_LABEL, "name": "عملاء / Clients", "type": "user"}]})


ROUTES: Final = [
    Route(BASE + path, endpoint(handler))
    for path, handler in (
        ("/messages", list_messages),
        ("/messages/{id}", get_message),
        ("/history", list_history),
        ("/profile", get_profile),
        ("/labels", list_labels),
    )
]
