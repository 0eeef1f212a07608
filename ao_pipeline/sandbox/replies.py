"""Answers, refusals and paging tokens that all vendors share. What a vendor's own body looks like is in its module."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response


class RefusedError(Exception):
    """The vendor refuses the request; carries its whole answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def json_reply(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return text_reply(json.dumps(body, separators=(",", ":")), status=status, headers=headers)


def text_reply(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer whose JSON text is ready."""
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def join_objects(texts: Iterable[str]) -> str:
    """Return a JSON array of JSON texts."""
    return "[" + ",".join(texts) + "]"


def object_text(head: Mapping[str, Any], **arrays: str) -> str:
    """Return a JSON object of plain values and of arrays whose text is ready."""
    parts = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in head.items()]
    parts += [f"{json.dumps(key)}:{value}" for key, value in arrays.items()]
    return "{" + ",".join(parts) + "}"


def encode_token(kind: str, *values: str | int) -> str:
    """Return an opaque token of a kind and its values."""
    return base64.urlsafe_b64encode(json.dumps((kind, *values), separators=(",", ":")).encode()).decode().rstrip("=")


def decode_token(token: str, kind: str, *value_types: type) -> list[Any] | None:
    """Return the values behind a token's kind, or None when it is not a token of this kind."""
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        return None
    if not isinstance(values, list) or not values or values[0] != kind:
        return None
    if [type(value) for value in values[1:]] != list(value_types):
        return None
    return values[1:]


async def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form-encoded body."""
    return dict(parse_qsl((await request.body()).decode("utf-8", errors="replace"), keep_blank_values=True))
