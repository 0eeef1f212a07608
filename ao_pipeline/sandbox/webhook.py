"""The sink of notifications: an incoming webhook as Google Chat offers it, and a list of what arrived."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.sandbox.replies import json_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_error
from ao_pipeline.sandbox.world.chats import chat_time
from ao_pipeline.sandbox.world.records import Json

KEPT_MESSAGES: Final = 10_000
"""Older ones are forgotten; a soak of days must not grow the process."""
_LONGEST_TEXT: Final = 4096
_SPACE: Final = "spaces/AAAAwebhook"


async def post_message(site: Site, request: Request) -> Response:
    """POST a message with `text` or `cardsV2`; the same requestId gives the message that is already there."""
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise google_error(400, "Invalid JSON payload received.", "badRequest") from error
    if not isinstance(body, dict) or not (body.get("text") or body.get("cardsV2")):
        raise google_error(400, "Message cannot be empty.", "badRequest")
    if len(str(body.get("text", ""))) > _LONGEST_TEXT:
        raise google_error(400, "Message is too long.", "badRequest")
    request_id = request.query_params.get("requestId", "")
    for known in site.webhook_messages if request_id else ():
        if known["requestId"] == request_id:
            known["deliveries"] += 1
            return json_reply(known["message"])
    number = site.webhook_count = site.webhook_count + 1
    message: Json = {
        "name": f"{_SPACE}/messages/m{number}",
        "createTime": chat_time(site.clock.micros()),
        "sender": {"name": "users/webhook", "type": "BOT"},
        "space": {"name": _SPACE},
        "thread": {"name": f"{_SPACE}/threads/{request.query_params.get('threadKey', f't{number}')}"},
        **{key: body[key] for key in ("text", "cardsV2") if key in body},
    }
    site.webhook_messages.append({"requestId": request_id, "deliveries": 1, "message": message})
    del site.webhook_messages[:-KEPT_MESSAGES]
    return json_reply(message)


async def list_arrived(site: Site, request: Request) -> Response:
    """GET what arrived, oldest first, with the number of deliveries of each."""
    return json_reply({"messages": site.webhook_messages})


async def forget(site: Site, request: Request) -> Response:
    """DELETE what arrived."""
    site.webhook_messages.clear()
    return json_reply({})


ROUTES: Final = [
    Route(SANDBOX_PATHS["webhook"], endpoint(post_message), methods=["POST"]),
    Route("/webhook/messages", endpoint(list_arrived), methods=["GET"]),
    Route("/webhook/messages", endpoint(forget), methods=["DELETE"]),
]
