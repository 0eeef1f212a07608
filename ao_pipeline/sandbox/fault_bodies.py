"""What a spoiled answer looks like, and the error bodies that vendors give with a status."""

from __future__ import annotations

import json
from typing import Any, Final

GOOGLE: Final = frozenset({"gmail", "calendar", "chat", "gtasks", "people", "drive"})
_LIST_KEYS: Final = (
    "data", "items", "messages", "history", "spaces", "memberships", "labels", "connections", "files", "changes",
    "Invoices", "Contacts", "Payments", "CreditNotes",
)  # fmt: skip
_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
)
_FOREIGN: Final = b'{"coord":{"lon":55.3,"lat":25.3},"weather":[{"id":800,"main":"Clear"}],"cod":200}'


def spoil(kind: str, body: bytes) -> bytes:
    """Return a body spoiled in one way."""
    if kind == "html":
        return _HTML
    if kind == "truncated":
        return body[: max(1, len(body) // 2)]
    if kind == "empty":
        return b"{}"
    if kind == "foreign":
        return _FOREIGN
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    if not isinstance(answer, dict) or not answer:
        return body  # Nothing is in it that could be spoiled.
    if kind == "unknown_field":
        answer["x_new_vendor_field"] = {"since": "today"}
    if kind in ("duplicate_rows", "reordered_rows", "renamed_list"):
        return json.dumps(_rearranged(kind, answer), separators=(",", ":")).encode()
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


def _rearranged(kind: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the page with its rows twice, in the other order, or under a name of another version of the API."""
    key = next((key for key in _LIST_KEYS if isinstance(answer.get(key), list)), None)
    if key is None:
        return answer
    rows = answer[key]
    if kind == "renamed_list":
        return {name: value for name, value in answer.items() if name != key} | {f"{key}V2": rows}
    return answer | {key: [*rows, *rows] if kind == "duplicate_rows" else rows[::-1]}


def _break_record(row: dict[str, Any]) -> dict[str, Any]:
    """Return the record with its times, amounts and names of the wrong type; the key stays, so that it can be named."""
    keys = ("gid", "id", "name", "InvoiceID", "ContactID", "PaymentID", "CreditNoteID", "threadId",
            "resourceName", "fileId", "changeType", "removed")  # fmt: skip
    has_gid = "gid" in row
    return {
        key: value if key in keys and not (has_gid and key == "name") else {"unexpected": [1]}
        for key, value in row.items()
    }


def limit_headers(source: str) -> dict[str, str]:
    """Return what a vendor sends with a 429: Google promises no time to wait."""
    if source == "asana":
        return {"Retry-After": "30"}
    if source == "xero":
        return {"Retry-After": "20", "X-Rate-Limit-Problem": "minute", "X-MinLimit-Remaining": "0"}
    return {}


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
    if source in GOOGLE:
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
