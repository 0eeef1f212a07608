"""Faults on request: what the next requests to a source suffer, by count and by duration."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ao_pipeline.clock import monotonic_seconds
from ao_pipeline.sandbox.replies import json_reply
from ao_pipeline.settings import SANDBOX_PATHS

KINDS: Final = frozenset(
    {
        "status",
        "latency",
        "hang",
        "truncated",
        "html",
        "malformed_record",
        "unknown_field",
        "empty",
        "disconnect",
        "revoke_subject",
    }
)
_GOOGLE: Final = frozenset({"gmail", "calendar", "chat", "gtasks", "people", "drive"})
SOURCES: Final = _GOOGLE | {"asana", "xero", "xero_token", "google_token", "webhook", "*"}
_MOUNTS: Final = {path.split("/")[1]: source for source, path in SANDBOX_PATHS.items() if source != "xero_token"}
_LIST_KEYS: Final = (
    "data", "items", "messages", "history", "spaces", "memberships", "labels", "connections", "files", "changes",
    "Invoices", "Contacts", "Payments", "CreditNotes",
)  # fmt: skip
_LONGEST_HANG_SECONDS: Final = 600.0
_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
)


@dataclass
class Fault:
    """One fault and what is left of it."""

    source: str
    kind: str
    status: int = 503
    seconds: float = 0.0
    """Latency, or how long a hang lasts."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """Replaces the vendor's own error body."""
    path_contains: str = ""
    skip: int = 0
    """Matching requests that pass first: the fault hits in the middle of a listing."""
    count: int | None = None
    """Requests to hit; None has no limit."""
    until: float | None = None
    """Monotonic second at which it ends."""
    subject: str = ""

    def takes(self, source: str, path: str, now: float) -> bool:
        """Return whether this request is hit, and count it."""
        if (self.until is not None and now >= self.until) or self.count == 0:
            return False
        if self.source not in (source, "*") or self.path_contains not in path:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count is not None:
            self.count -= 1
        return True


class FaultBook:
    """The faults in force."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.hits = 0
        self.revoked_subjects: set[str] = set()

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Add a fault described by the admin API.

        Raises:
            ValueError: The source, the kind or a field is unknown; nothing was added.
        """
        fields = dict(wanted)
        duration = fields.pop("duration_seconds", None)
        if duration is not None:
            fields["until"] = monotonic_seconds() + float(duration)
        try:
            fault = Fault(**fields)
        except TypeError as error:
            raise ValueError(f"fault has a missing or unknown field: {error}") from error
        if fault.source not in SOURCES or fault.kind not in KINDS:
            raise ValueError(f"fault needs a source of {sorted(SOURCES)} and a kind of {sorted(KINDS)}")
        if fault.kind == "revoke_subject":
            self.revoked_subjects.add(fault.subject)
        else:
            self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """End every fault."""
        self.faults.clear()
        self.revoked_subjects.clear()

    def take(self, source: str, path: str) -> Fault | None:
        """Return the first fault that hits this request."""
        if not self.faults:
            return None
        now = monotonic_seconds()
        for fault in self.faults:
            if fault.takes(source, path, now):
                self.hits += 1
                return fault
        return None


def source_of(path: str) -> str:
    """Return the source that a path belongs to, empty for the sandbox's own paths."""
    if path == "/webhook/messages":
        return ""
    if path.startswith("/xero/identity"):
        return "xero_token"
    if path.startswith("/google/"):
        return "google_token"
    return _MOUNTS.get(path.split("/", 2)[1] if "/" in path else "", "")


class FaultGate:
    """ASGI wrapper that makes requests suffer what the book says."""

    def __init__(self, app: ASGIApp, book: FaultBook) -> None:
        self._app = app
        self._book = book

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
        elif fault.kind == "disconnect":
            await _promise_more_than_is_sent(send)
        elif fault.kind == "status":
            body = fault.body if fault.body is not None else error_body(source, fault.status)
            await json_reply(body, status=fault.status, headers=fault.headers)(scope, receive, send)
        else:
            await self._app(scope, receive, _Rewriter(fault.kind, send))


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


def spoil(kind: str, body: bytes) -> bytes:
    """Return a body spoiled in one way."""
    if kind == "html":
        return _HTML
    if kind == "truncated":
        return body[: max(1, len(body) // 2)]
    if kind == "empty":
        return b"{}"
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    if not isinstance(answer, dict):
        return body
    if kind == "unknown_field":
        answer["x_new_vendor_field"] = {"since": "today"}
    for key in _LIST_KEYS:
        rows = answer.get(key)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            rows[0] = {**rows[0], "x_new_vendor_field": 1} if kind == "unknown_field" else _break_record(rows[0])
            break
    else:
        if kind == "malformed_record":
            inner = answer.get("data")
            answer = {"data": _break_record(inner)} if isinstance(inner, dict) else _break_record(answer)
    return json.dumps(answer, separators=(",", ":")).encode()


def _break_record(row: dict[str, Any]) -> dict[str, Any]:
    """Return the record with its times, amounts and names of the wrong type; the key stays, so that it can be named."""
    keys = ("gid", "id", "name", "InvoiceID", "ContactID", "PaymentID", "CreditNoteID", "threadId",
            "resourceName", "fileId", "changeType", "removed")  # fmt: skip
    has_gid = "gid" in row
    return {
        key: value if key in keys and not (has_gid and key == "name") else {"unexpected": [1]}
        for key, value in row.items()
    }


def error_body(source: str, status: int) -> Any:
    """Return the error body that a vendor gives with a status."""
    if source == "asana":
        return {
            "errors": [
                {
                    "message": "You have made too many requests." if status == 429 else "Server Error",
                    "phrase": "7 sad cats",
                }
            ]
        }
    if source in _GOOGLE:
        reason = {403: "rateLimitExceeded", 429: "rateLimitExceeded", 410: "fullSyncRequired"}.get(
            status, "backendError"
        )
        message = "Rate Limit Exceeded" if reason == "rateLimitExceeded" else "Backend Error"
        return {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"message": message, "domain": "global", "reason": reason}],
            }
        }
    if source in ("xero_token", "google_token"):
        return {"error": "temporarily_unavailable"}
    return {"Type": None, "Title": "Error", "Status": status, "Detail": "injected", "Instance": None, "Extensions": {}}
