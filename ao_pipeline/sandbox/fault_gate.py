"""The door that every request passes: what the fault book says happens to it here."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ao_pipeline.sandbox.fault_bodies import error_body, limit_headers, spoil
from ao_pipeline.sandbox.faults import FaultBook, source_of
from ao_pipeline.sandbox.options import SandboxClock
from ao_pipeline.sandbox.replies import json_reply

_LONGEST_HANG_SECONDS: Final = 600.0


class FaultGate:
    """ASGI wrapper that makes requests suffer what the book says."""

    def __init__(self, app: ASGIApp, book: FaultBook, clock: SandboxClock) -> None:
        self._app = app
        self._book = book
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        source = source_of(path) if scope["type"] == "http" else ""
        fault = self._book.take(source, path) if source else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.kind == "latency":
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)
        elif fault.kind == "hang":
            await asyncio.sleep(min(fault.seconds or _LONGEST_HANG_SECONDS, _LONGEST_HANG_SECONDS))
        elif fault.kind == "skewed_clock":
            await self._app(scope, receive, self._dated(send, fault.seconds))
        elif fault.kind == "rate_limit":
            await json_reply(error_body(source, 429), status=429, headers=limit_headers(source))(scope, receive, send)
        elif fault.kind == "disconnect":
            await _promise_more_than_is_sent(send)
        elif fault.kind == "status":
            body = fault.body if fault.body is not None else error_body(source, fault.status)
            await json_reply(body, status=fault.status, headers=fault.headers)(scope, receive, send)
        else:
            await self._app(scope, receive, _Rewriter(fault.kind, send))

    def _dated(self, send: Send, seconds: float) -> Send:
        async def send_skewed(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._clock.now() + timedelta(seconds=seconds), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date)]
            await send(message)

        return send_skewed


async def _promise_more_than_is_sent(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # Returning without the rest makes the server cut the connection.
    await send({"type": "http.response.body", "body": b'{"data":[', "more_body": True})


class _Rewriter:
    """Hold back an answer, spoil its body, send it with the right length."""

    def __init__(self, kind: str, send: Send) -> None:
        self._kind = kind
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = spoil(self._kind, self._body)
        dropped = {b"content-length", b"content-type"} if self._kind == "html" else {b"content-length"}
        headers = [pair for pair in self._start["headers"] if pair[0].lower() not in dropped]
        headers.append((b"content-length", str(len(body)).encode()))
        if self._kind == "html":
            headers.append((b"content-type", b"text/html; charset=utf-8"))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
