"""Gmail messages to rows. The mailbox is the request's and is added by the collector."""

from __future__ import annotations

from typing import Any, Final

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.parse.mime import addresses, body_text, decode_words, headers, walk_parts
from ao_pipeline.collect.values import as_int, as_key, as_object, as_text, as_texts, clean_text, from_millis

_ROLES: Final = {"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to"}


def parse_message(record: Record) -> Row:
    """Return a row of `raw_gmail_messages` without its mailbox. Reads `format=full`."""
    payload = as_object(record.get("payload"), "payload")
    participants = _participants(payload)
    sender = next((item for item in participants if item["role"] == "from"), None)
    subject = next((decode_words(value) for name, value in headers(payload) if name == "subject"), None)
    return {
        "message_id": as_key(record.get("id"), "id"),
        "thread_id": as_text(record.get("threadId"), "threadId"),
        "history_id": as_text(record.get("historyId"), "historyId"),
        "sent_at": from_millis(record.get("internalDate"), "internalDate"),
        "from_email": sender["email"] if sender else None,
        "from_name": sender["name"] if sender else None,
        "subject": subject,
        "snippet": as_text(record.get("snippet"), "snippet"),
        "body_text": body_text(payload),
        "labels_json": canonical_json(sorted(set(as_texts(record.get("labelIds"), "labelIds")))),
        "participants_json": canonical_json(participants),
        "attachments_json": canonical_json(_attachments(payload)),
        "size_bytes": as_int(record.get("sizeEstimate"), "sizeEstimate"),
    }


def _participants(payload: dict[str, Any]) -> list[dict[str, str | None]]:
    return [
        {"role": _ROLES[header], "email": email, "name": name}
        for header, value in headers(payload)
        if header in _ROLES
        for email, name in addresses(value)
    ]


def _attachments(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Parts with a file name. The attachment id is left out: Gmail gives another one on every read."""
    return [
        {
            "part_id": as_text(part.get("partId"), "partId"),
            "filename": clean_text(decode_words(filename)),
            "mime_type": as_text(part.get("mimeType"), "mimeType"),
            "size_bytes": as_int(as_object(part.get("body"), "body").get("size"), "body.size"),
        }
        for part in walk_parts(payload)
        if (filename := as_text(part.get("filename"), "filename"))
    ]
