"""Lives of mail threads: messages arrive, are read, starred, labelled, put into the bin, deleted for good."""

from __future__ import annotations

import base64
from email.header import Header
from email.utils import format_datetime, formataddr
from typing import Final, NamedTuple

from ao_pipeline.clock import from_micros
from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import Agency, slug
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.mail_texts import SUBJECTS, html_text, plain_text, write_sentences
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS, MINUTE_MICROS

USER_LABEL: Final = "Label_1"
_CLIENT_SHARE: Final = 0.12
_INTERNAL_SHARE: Final = 0.38


class Person(NamedTuple):
    """Name and address in a header."""

    name: str
    email: str


def mail_collection(mailbox: str) -> str:
    """Return the name of the collection that holds a mailbox."""
    return f"mails:{mailbox}"


def thread_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of every message of one thread."""
    draw = Draw(agency.seed, "thread", number)
    mailbox = agency.mailboxes[number % len(agency.mailboxes)]
    owner = Person("Operations" if mailbox == agency.mailboxes[0] else "Accounts", mailbox)
    other, is_bulk = _correspondent(agency, draw)
    subject = draw.pick(SUBJECTS)
    changes: list[Change] = []
    thread_id = ""
    at, is_inbound = birth, is_bulk or draw.chance(0.7)
    for place in range(1 if is_bulk else draw.between(2, 5)):
        message_id = f"{(at // 1000) << 20 | draw.below(1 << 20):016x}"
        thread_id = thread_id or message_id
        message = build_message(
            draw,
            at=at,
            message_id=message_id,
            thread_id=thread_id,
            sender=other if is_inbound else owner,
            receiver=owner if is_inbound else other,
            subject=subject if place == 0 else f"Re: {subject}",
            is_bulk=is_bulk,
        )
        changes += _message_life(draw, mail_collection(mailbox), message, at, is_inbound=is_inbound)
        at += MINUTE_MICROS * 5 + draw.below(DAY_MICROS + DAY_MICROS // 2)
        is_inbound = not is_inbound if draw.chance(0.85) else is_inbound
    return changes


def _correspondent(agency: Agency, draw: Draw) -> tuple[Person, bool]:
    share = draw.fraction()
    if share < _CLIENT_SHARE:
        client = draw.skewed(agency.clients)
        return Person(client.contact_name, client.contact_email), False
    if share < _CLIENT_SHARE + _INTERNAL_SHARE:
        member = draw.skewed(agency.members)
        return Person(member.name, member.email), False
    vendor = draw.pick(names.VENDORS)
    if draw.chance(0.4):
        return Person(f"{vendor} news", f"no-reply@{vendor}.example"), True
    given = draw.pick(names.GIVEN)
    return Person(f"{given} ({vendor})", f"{slug(given)}@{vendor}.example"), False


def _message_life(draw: Draw, collection: str, message: Json, at: int, *, is_inbound: bool) -> list[Change]:
    key, labels = message["id"], ["INBOX", "UNREAD"] if is_inbound else ["SENT"]
    if is_inbound and draw.chance(0.2):
        labels.append("IMPORTANT")
    changes = [Change(at, collection, key, 0, "put", {**message, "labelIds": list(labels)})]
    planned: list[tuple[int, str]] = []
    for probability, within, what in (
        (0.75 if is_inbound else 0.0, 8 * HOUR_MICROS, "read"),
        (0.06, 2 * DAY_MICROS, "star"),
        (0.08, 3 * DAY_MICROS, "label"),
        (0.05, 5 * DAY_MICROS, "trash"),
        (0.02, 20 * DAY_MICROS, "delete"),
    ):
        wanted, delay = draw.chance(probability), draw.below(within)
        if wanted:
            planned.append((at + MINUTE_MICROS + delay, what))
    for step, (moment, what) in enumerate(sorted(planned), start=1):
        if what == "delete":
            changes.append(Change(moment, collection, key, step, "drop", {}))
            break
        labels = _relabel(labels, what)
        changes.append(Change(moment, collection, key, step, "patch", {"labelIds": labels}))
    return changes


def _relabel(labels: list[str], what: str) -> list[str]:
    added = {"star": "STARRED", "label": USER_LABEL, "trash": "TRASH"}.get(what)
    removed = {"read": "UNREAD", "trash": "INBOX"}.get(what)
    kept = [label for label in labels if label != removed]
    return kept if added is None else [*kept, added]


def build_message(
    draw: Draw,
    *,
    at: int,
    message_id: str,
    thread_id: str,
    sender: Person,
    receiver: Person,
    subject: str,
    is_bulk: bool = False,
    sentences: list[str] | None = None,
) -> Json:
    """Return a Gmail message in `full` format without labels."""
    sentences = write_sentences(draw) if sentences is None else sentences
    payload = _payload(draw, sentences, sender.name)
    payload["headers"] = _headers(draw, at, message_id, sender, receiver, subject, is_bulk=is_bulk)
    snippet = " ".join(sentences)[:200]
    return {
        "id": message_id,
        "threadId": thread_id,
        "labelIds": [],
        "snippet": snippet,
        "historyId": "0",
        "internalDate": str(at // 1000),
        "sizeEstimate": 1200 + sum(len(sentence) for sentence in sentences) * 3,
        "payload": payload,
    }


def _headers(
    draw: Draw, at: int, message_id: str, sender: Person, receiver: Person, subject: str, *, is_bulk: bool
) -> list[Json]:
    # Gmail mostly gives decoded headers, yet now and then one arrives as an RFC 2047 encoded word.
    name = Header(sender.name, "utf-8").encode() if draw.chance(0.04) else sender.name
    headers = [
        ("From", formataddr((name, sender.email))),
        ("To", formataddr((receiver.name, receiver.email))),
        ("Subject", subject),
        ("Date", format_datetime(from_micros(at))),
        ("Message-ID", f"<{message_id}@mail.example>"),
        ("MIME-Version", "1.0"),
    ]
    if draw.chance(0.2):
        member = draw.pick(names.GIVEN)
        headers.append(("Cc", f'"{member}, Studio" <studio@agency.example>, budget@agency.example'))
    if is_bulk:
        headers.append(("List-Unsubscribe", f"<mailto:off@{sender.email.split('@')[1]}>"))
    return [{"name": key, "value": value} for key, value in headers]


def _payload(draw: Draw, sentences: list[str], signature: str) -> Json:
    plain, rich = plain_text(sentences, signature), html_text(sentences, signature)
    shape = draw.fraction()
    if shape < 0.15:
        return {**_leaf("", "text/html", rich, draw), "filename": ""}
    if shape < 0.35:
        return _leaf("", "text/plain", plain, draw)
    alternative = _multipart("0" if shape > 0.8 else "", "multipart/alternative")
    prefix = "0." if shape > 0.8 else ""
    alternative["parts"] = [
        _leaf(f"{prefix}0", "text/plain", plain, draw),
        _leaf(f"{prefix}1", "text/html", rich, draw),
    ]
    if shape <= 0.8:
        return alternative
    mixed = _multipart("", "multipart/mixed")
    mixed["parts"] = [alternative, _attachment(draw)]
    return mixed


def _multipart(part_id: str, mime_type: str) -> Json:
    return {"partId": part_id, "mimeType": mime_type, "filename": "", "headers": [], "body": {"size": 0}}


def _leaf(part_id: str, mime_type: str, text: str, draw: Draw) -> Json:
    charset, data = "UTF-8", text.encode()
    if draw.chance(0.08):
        charset = "windows-1256"
        data = text.encode("cp1256", errors="replace")
    return {
        "partId": part_id,
        "mimeType": mime_type,
        "filename": "",
        "headers": [{"name": "Content-Type", "value": f'{mime_type}; charset="{charset}"'}],
        "body": {"size": len(data), "data": base64.urlsafe_b64encode(data).decode()},
    }


def _attachment(draw: Draw) -> Json:
    filename, mime_type = draw.pick(
        (("deck.pdf", "application/pdf"), ("عرض.docx", "application/msword"), ("plan.xlsx", "application/vnd.ms-excel"))
    )
    return {
        "partId": "1",
        "mimeType": mime_type,
        "filename": filename,
        "headers": [{"name": "Content-Disposition", "value": f'attachment; filename="{filename}"'}],
        "body": {"attachmentId": draw.hexadecimal(24), "size": draw.between(2_000, 4_000_000)},
    }
