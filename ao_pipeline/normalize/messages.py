"""Mails: direction, the outside party, and whether somebody waits for an answer."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from ao_pipeline.collect.tables import RAW_GMAIL_MESSAGES
from ao_pipeline.normalize.rows import Frame, Row, load_list, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_MESSAGES

MESSAGES_VERSION: Final = "1"

MAX_BODY_CHARACTERS: Final = 20_000
"""Text kept of one mail. Longer ones are newsletters or long quoted threads; promises stand at the top."""

RESPONSE_TIME: Final = timedelta(hours=48)
"""How long a client waits before silence counts as a missed answer."""

_LEFT_OUT_LABELS: Final = frozenset({"DRAFT", "SPAM", "TRASH"})
_AUTOMATED: Final = re.compile(
    r"^(no-?reply|do-?not-?reply|notifications?|mailer-daemon|postmaster|bounces?|alerts?|newsletter|updates?)([+._-]|@)"
)
_ASKS: Final = re.compile(
    r"\?|؟|\b(please|pls|kindly|can you|could you|would you|will you|let me know|get back to me|waiting for your|"
    r"your thoughts|need your|asap)\b|يرجى|الرجاء|من فضلك|هل يمكن"
)
_MARKUP: Final = re.compile(
    r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[/!]?[a-zA-Z][^<>]{0,2000}>", re.DOTALL | re.IGNORECASE
)
_SPACES: Final = re.compile(r"[ \t\r\f\v\xa0]+")
_BLANK_LINES: Final = re.compile(r"\n\s*\n\s*\n+")


def normalize_messages(messages: Frame, *, org_domains: Collection[str], zone: ZoneInfo) -> list[Row]:
    """Describe every sent or received mail in our own words.

    Args:
        messages: `raw_gmail_messages`.
        org_domains: The agency's own mail domains, lower case; they tell inbound from outbound.
        zone: The organisation's time zone.

    Returns:
        Rows of `norm_messages`; drafts, spam and trash are left out.
    """
    ours = frozenset(domain.strip().lower() for domain in org_domains)
    rows = []
    for raw in read_rows(messages, RAW_GMAIL_MESSAGES):
        labels = frozenset(map(str, load_list(raw["labels_json"])))
        if labels & _LEFT_OUT_LABELS:
            continue
        rows.append(_normalize(raw, labels, ours, zone))
    return sort_rows(rows, NORM_MESSAGES)


def plain_text(text: str | None) -> str:
    """Return `text` without markup or entities, with calm white space, cut to `MAX_BODY_CHARACTERS`."""
    cut = (text or "")[: 4 * MAX_BODY_CHARACTERS]
    plain = html.unescape(_MARKUP.sub(" ", cut)).replace("\x00", "")
    lines = "\n".join(_SPACES.sub(" ", line).strip() for line in plain.splitlines())
    return _BLANK_LINES.sub("\n\n", lines).strip()[:MAX_BODY_CHARACTERS]


def domain_of(email: str | None) -> str | None:
    """Return what stands after the last @, lower case; None when there is none."""
    if email is None or "@" not in email:
        return None
    return email.rpartition("@")[2].lower() or None


def _normalize(raw: Row, labels: frozenset[str], ours: frozenset[str], zone: ZoneInfo) -> Row:
    participants = load_list(raw["participants_json"])
    from_email = raw["from_email"]
    direction = _direction(from_email, participants, ours)
    counterpart = from_email if direction == "inbound" else None
    if direction == "outbound":
        counterpart = next(iter(_outside(participants, ours)), None)
    subject = plain_text(raw["subject"])
    body = plain_text(raw["body_text"])
    is_automated = from_email is not None and _AUTOMATED.match(from_email) is not None
    asks = _ASKS.search(f"{subject}\n{raw['snippet'] or body[:500]}".lower()) is not None
    sent_at = raw["sent_at"]
    requires_response = direction == "inbound" and not is_automated and asks
    sent_on = sent_at.astimezone(zone).date() if sent_at is not None else None
    return {
        "mailbox": raw["mailbox"],
        "message_id": raw["message_id"],
        "thread_id": raw["thread_id"],
        "sent_at": sent_at,
        "sent_on": sent_on,
        "direction": direction,
        "from_email": from_email,
        "from_name": raw["from_name"],
        "counterpart_email": counterpart,
        "counterpart_domain": domain_of(counterpart),
        "subject": subject,
        "body": body,
        "content_hash": _digest(str(from_email), str(sent_on), subject, body),
        "is_automated": is_automated,
        "requires_response": requires_response,
        "response_due_at": sent_at + RESPONSE_TIME if requires_response and sent_at is not None else None,
        "attachment_count": len(load_list(raw["attachments_json"])),
        "is_unread": "UNREAD" in labels,
    }


def _direction(from_email: str | None, participants: list[Any], ours: frozenset[str]) -> str:
    domain = domain_of(from_email)
    if domain is None:
        return "unknown"
    if domain not in ours:
        return "inbound"
    return "outbound" if any(True for _ in _outside(participants, ours)) else "internal"


def _outside(participants: Iterable[Mapping[str, Any]], ours: frozenset[str]) -> Iterable[str]:
    """Yield the recipients from outside: `to` before `cc` before `bcc`, in header order."""
    ranked = list(participants)
    for role in ("to", "cc", "bcc"):
        for person in ranked:
            email = str(person.get("email") or "").lower()
            domain = domain_of(email)
            if person.get("role") == role and domain is not None and domain not in ours:
                yield email


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
