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


def encode_token(*parts: Any) -> str:
    """Return an opaque token of JSON values."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_token(token: str) -> list[Any] | None:
    """Return a token's values, or None when it is not one of ours."""
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        return None
    return values if isinstance(values, list) else None


async def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form-encoded body."""
    return dict(parse_qsl((await request.body()).decode("utf-8", errors="replace"), keep_blank_values=True))
