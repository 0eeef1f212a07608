"""One raw mail to a row of `raw_gmail_messages`: its identity, its date, its labels. The MIME tree is `mail_parts`."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.clock import EPOCH
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.files.charsets import plain_words
from ao_pipeline.collect.files.mail_dates import read_date
from ao_pipeline.collect.files.mail_parts import Fields, build_payload, field_text, read_fields
from ao_pipeline.collect.parse.gmail import parse_message
from ao_pipeline.collect.values import BadValueError

MAX_ID_CHARS: Final = 500
"""A longer Message-ID is a fault of its sender; its digest stands for it."""

SNIPPET_CHARS: Final = 200

_TELLING: Final = frozenset({"from", "to", "subject", "date", "message-id", "received", "cc", "sender", "return-path"})
"""A mail has one of these. Text with a colon in its first line has none, and is no mail."""

_VOLATILE: Final = re.compile(
    rb"^(x-gmail-labels|x-gm-thrid|status|x-status|x-keywords|x-mozilla-[a-z0-9-]*|x-uid|x-imap[a-z]*)[ \t]*:[^\n]*\n([ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""Headers that another export of the same mail writes differently."""

_LABELS: Final[Mapping[str, str]] = {
    "inbox": "INBOX",
    "sent": "SENT",
    "sent mail": "SENT",
    "sent items": "SENT",
    "sent messages": "SENT",
    "unread": "UNREAD",
    "starred": "STARRED",
    "important": "IMPORTANT",
    "draft": "DRAFT",
    "drafts": "DRAFT",
    "spam": "SPAM",
    "junk": "SPAM",
    "junk e-mail": "SPAM",
    "trash": "TRASH",
    "bin": "TRASH",
    "deleted items": "TRASH",
    "chat": "CHAT",
    "category promotions": "CATEGORY_PROMOTIONS",
    "category updates": "CATEGORY_UPDATES",
    "category social": "CATEGORY_SOCIAL",
    "category forums": "CATEGORY_FORUMS",
    "category personal": "CATEGORY_PERSONAL",
}
"""Names that exports write, by the id that Gmail's API gives the same label."""

_STATES: Final = frozenset({"opened", "archived"})
"""Takeout's names for the absence of `UNREAD` and `INBOX`."""

_MOZILLA_FLAGS: Final = re.compile(r"[0-9A-Fa-f]{1,8}")
_MOZILLA_LABELS: Final = ((0x0004, "STARRED"), (0x0008, "TRASH"))
"""Thunderbird leaves deleted mails in the file, with this mark, until the folder is compacted. Source: `nsMsgMessageFlags.idl`."""

_IDENTIFIER: Final = re.compile(r"<\s*([^<>\s]{1,2000})\s*>")
_WEEKDAY_DATE: Final = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s.+")


@dataclass(frozen=True)
class Identity:
    """What a mail says of itself and of its thread. Identifiers are without brackets; empty means none.

    Attributes:
        message_id: Its `Message-ID`.
        parent_id: What it answers: `In-Reply-To`, else the last of `References`.
        root_id: The first of `References`.
        thread: `X-GM-THRID` as Gmail's API writes it, hexadecimal.
        subject: The subject without its reply prefixes, folded; empty when too short to tell threads apart.
        is_reply: Whether the subject had such a prefix.
    """

    message_id: str
    parent_id: str
    root_id: str
    thread: str
    subject: str
    is_reply: bool


def identify(raw: bytes) -> Identity:
    """Return what the header fields of a mail say; reads no further than its headers."""
    fields, _ = read_fields(raw)
    return identify_fields(fields)


def identify_fields(fields: Fields) -> Identity:
    """Return what header fields say."""
    found: dict[str, bytes] = {}
    for name, value in fields:
        found.setdefault(name, value)
    references = _identifiers(found.get("references", b""))
    answered = _identifiers(found.get("in-reply-to", b""))
    own = _identifiers(found.get("message-id", b""))
    thread = found.get("x-gm-thrid", b"").strip()
    subject, is_reply = fold_subject(plain_words(field_text(found.get("subject", b"")[:1000])))
    return Identity(
        message_id=own[0] if own else _bare(found.get("message-id", b"")),
        parent_id=(references[-1] if references else "") or (answered[0] if answered else ""),
        root_id=references[0] if references else "",
        thread=f"{int(thread):x}" if thread.isdigit() and len(thread) < 25 else "",
        subject=subject,
        is_reply=is_reply,
    )


_PREFIX: Final = re.compile(
    r"\s*(?:(?:re|r|aw|antw|antwort|sv|vs|fw|fwd|wg|tr|rv|res|enc|ref|odp|ynt|回复|答复|转发|返信|رد|إعادة توجيه)"
    r"(?:\[\d+\]|\(\d+\))?\s*[:：]|\[[^\[\]]{1,40}\]\s*(?=.{3}))",
    re.IGNORECASE,
)
"""Reply and forward marks in the languages of the mailers that write them, and list tags in brackets."""

_MIN_SUBJECT_CHARS: Final = 6
"""Shorter subjects (`hi`, `test`) join mails that have nothing to do with one another."""


def fold_subject(subject: str) -> tuple[str, bool]:
    """Return a subject without reply prefixes, folded, and whether it had one."""
    rest, is_reply = subject, False
    for _ in range(20):
        match = _PREFIX.match(rest)
        if match is None:
            break
        is_reply = is_reply or not match.group().lstrip().startswith("[")
        rest = rest[match.end() :]
    folded = " ".join(rest.casefold().split())
    return (folded if len(folded) >= _MIN_SUBJECT_CHARS else ""), is_reply


def raw_digest(raw: bytes) -> str:
    """Return the identity of a mail without Message-ID: the digest of all of it, but for volatile headers and line ends."""
    raw = raw.replace(b"\r\n", b"\n").rstrip(b"\r\n")
    fields_end = raw.find(b"\n\n")
    head, body = (raw, b"") if fields_end < 0 else (raw[: fields_end + 1], raw[fields_end + 1 :])
    digest = hashlib.sha256(_VOLATILE.sub(b"", head))
    digest.update(body)
    return f"sha256:{digest.hexdigest()}"


def mail_record(
    raw: bytes, *, message_id: str, thread_id: str, envelope: str, labels: Collection[str], size_bytes: int
) -> Record:
    """Return a mail as Gmail's API would answer it.

    Args:
        raw: The mail without its separator line; cut when it was longer than memory allows.
        message_id: Its key.
        thread_id: Its thread.
        envelope: Its mbox separator line: the last source of a date.
        labels: Label ids known from the folder or file name.
        size_bytes: Its whole length.
    """
    payload = build_payload(raw)
    sent_at = sent_instant(payload["headers"], envelope)
    return {
        "id": message_id,
        "threadId": thread_id,
        "internalDate": str((sent_at - EPOCH) // timedelta(milliseconds=1)) if sent_at is not None else None,
        "labelIds": sorted({*labels, *_own_labels(payload["headers"])}),
        "sizeEstimate": size_bytes,
        "payload": payload,
    }


def parse_mail(record: Record) -> Row:
    """Return a row of `raw_gmail_messages` without its mailbox.

    Raises:
        BadValueError: No header field that a mail has could be read.
    """
    names = {header["name"] for header in record["payload"]["headers"]}
    if not names & _TELLING:
        raise BadValueError("no header field of a mail was found; the text is no mail, or its headers are lost")
    row = parse_message(record)
    # Gmail's HTML-escaped preview; ours is the first line of what was read.
    row["snippet"] = " ".join((row["body_text"] or "")[: 4 * SNIPPET_CHARS].split())[:SNIPPET_CHARS]
    return row


def fingerprint(record: Record) -> str:
    """Return a digest of what a reader sees of a mail: equal for two copies, also when they took different ways."""
    telling = ("from", "to", "cc", "subject", "date")
    headers = [[h["name"], h["value"]] for h in record["payload"]["headers"] if h["name"] in telling]
    row = parse_message(record)
    seen = [headers, (row["body_text"] or "").split(), row["attachments_json"]]
    return hashlib.sha256(canonical_json(seen).encode()).hexdigest()[:12]


def label_id(name: str) -> str:
    """Return the API's id of a label or folder name; names of people's own labels stay as they are."""
    return _LABELS.get(name.strip().casefold(), name.strip())


def folder_label(name: str) -> set[str]:
    """Return the label that a file or folder name stands for; names that say nothing (`archive`) give none."""
    found = _LABELS.get(name.strip().strip(".").casefold())
    return {found} if found else set()


def sent_instant(headers: list[dict[str, str]], envelope: str = "") -> datetime | None:
    """Return when a mail was sent: `Date`, else the newest `Received`, else its separator line, else None."""
    for wanted in ("date", "received", "x-received", "delivery-date", "resent-date"):
        for header in headers:
            if header["name"] == wanted:
                moment = read_date(header["value"].rpartition(";")[2])
                if moment is not None:
                    return moment
    match = _WEEKDAY_DATE.search(envelope)
    return read_date(match.group()) if match else None


def _own_labels(headers: list[dict[str, str]]) -> Iterator[str]:
    for header in headers:
        value = header["value"]
        if header["name"] == "x-gmail-labels":
            for name in _label_names(" ".join(plain_words(value).split())):
                if name.strip() and name.strip().casefold() not in _STATES:
                    yield label_id(name)
        elif header["name"] == "status" and "R" not in value.upper():
            yield "UNREAD"
        elif header["name"] == "x-mozilla-status" and _MOZILLA_FLAGS.fullmatch(value.strip()):
            flags = int(value, 16)
            yield from (label for bit, label in _MOZILLA_LABELS if flags & bit)
            if not flags & 1:
                yield "UNREAD"


def _label_names(value: str) -> list[str]:
    try:
        return next(csv.reader([value], skipinitialspace=True), [])
    except csv.Error:  # Longer than a cell may be.
        return value.split(",")


def _identifiers(value: bytes) -> list[str]:
    return [_bounded(found) for found in _IDENTIFIER.findall(field_text(value[-20_000:]))]


def _bare(value: bytes) -> str:
    text = field_text(value[:4000]).strip().strip("<>").strip()
    return _bounded("".join(text.split()))


def _bounded(identifier: str) -> str:
    if len(identifier) <= MAX_ID_CHARS:
        return identifier
    return f"sha256:{hashlib.sha256(identifier.encode('utf-8', 'replace')).hexdigest()}"
