"""A seeded mail archive as people keep them: ten charsets, broken dates, reused ids, headers that forget RFC 5322."""

from __future__ import annotations

import base64
import quopri
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

CHARSETS = {
    "utf-8": "Grüße, naïve façade, 日本 🚀",
    "iso-8859-1": "Grüße aus Köln, déjà vu",
    "iso-8859-6": "مرحبا بكم في دبي",
    "iso-8859-15": "Prix: 100 €, œuvre",
    "windows-1252": "“Quoted” – 50 €",
    "windows-1256": "السلام عليكم",
    "koi8-r": "Привет, как дела",
    "gb18030": "你好,世界",
    "shift_jis": "こんにちは世界",
    "euc-kr": "안녕하세요 세계",
    "utf-7": "Grüße über sieben Bit",
    "iso-2022-jp": "日本語のメール",
}
BROKEN_DATES = (
    "yesterday",
    "Mon, 32 Foo 2026 99:99:99 +9900",
    "",
    "0000-00-00",
    "Thu, 01 Jan 1970",
    "31/12/2025 10:00",
    "Mon, 1 Jan 99999 00:00:00 +0000",
)


@dataclass(frozen=True)
class Archive:
    """What the generator knows of what it wrote."""

    messages: int
    copies: int
    garbage: int
    reused: int
    texts: dict[str, str]
    """A text that a mail's body or subject must contain, by message id."""
    threads: dict[str, str]
    """The root's message id, by message id."""


def encoded_word(text: str, charset: str, rng: random.Random) -> str:
    """Return a header text in one of the forms that mailers write."""
    raw = text.encode(charset)
    form = rng.randrange(4)
    if form == 0:
        return f"=?{charset}?B?{base64.b64encode(raw).decode()}?="
    if form == 1:
        return f"=?{charset.upper()}?q?{quopri.encodestring(raw, header=True).decode().replace('=' + chr(10), '')}?="
    if form == 2:  # No padding, a language, a lower-case encoding.
        return f"=?{charset}*en?b?{base64.b64encode(raw).decode().rstrip('=')}?="
    half = len(raw) // 2  # A character may be split over two words.
    return "\n ".join(f"=?{charset}?B?{base64.b64encode(part).decode()}?=" for part in (raw[:half], raw[half:]))


def _text_part(text: str, charset: str, rng: random.Random, *, kind: str = "plain") -> bytes:
    raw = text.encode(charset)
    encoding = rng.choice(["base64", "quoted-printable", "8bit"]) if charset != "utf-7" else "7bit"
    body = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring}.get(encoding, bytes)(raw)
    return f"Content-Type: text/{kind}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n".encode() + body


def _body(number: int, text: str, charset: str, rng: random.Random) -> bytes:
    mark = f"body {number}\n>From the start\nFrom here on we talk. {text}\n"
    plain = _text_part(mark, charset, rng)
    form = number % 8
    if form in (0, 1):
        return plain
    if form == 2:
        return _text_part(f"<html><body><p>body {number}</p><p>{text}</p></body>", charset, rng, kind="html")
    boundary = f"=_b{number}"
    attachment = (
        b'Content-Type: application/pdf; name="=?utf-8?B?' + base64.b64encode("Angebot ü.pdf".encode()) + b'?="\n'
        b"Content-Transfer-Encoding: base64\nContent-Disposition: attachment\n\n"
        + base64.encodebytes(rng.randbytes(300))
    )
    if form == 3:  # Nested: mixed(alternative(plain, html), attachment).
        inner = f"{boundary}i"
        alternative = (
            f"Content-Type: multipart/alternative; boundary={inner}\n\n--{inner}\n".encode()
            + plain
            + f"\n--{inner}\n".encode()
            + _text_part(f"<b>{text}</b>", charset, rng, kind="html")
            + f"\n--{inner}--\n".encode()
        )
        parts = [alternative, attachment]
    elif form == 4:
        forwarded = b"Content-Type: message/rfc822\n\nFrom: <old@x.example>\nSubject: forwarded\n\nold words\n"
        parts = [plain, forwarded]
    else:
        parts = [plain, attachment]
    joined = b"".join(f"\n--{boundary}\n".encode() + part for part in parts)
    if form == 5:  # The closing boundary is missing.
        return f'Content-Type: multipart/mixed; boundary="{boundary}"\n\npreamble'.encode() + joined
    if form == 6:  # The boundary's parameter is missing.
        return b"Content-Type: multipart/mixed\n\n" + joined + f"\n--{boundary}--\n".encode()
    if form == 7 and number % 16 == 7:  # No boundary is where one was promised.
        return f"Content-Type: multipart/mixed; boundary={boundary}\n\n".encode() + mark.encode("utf-8")
    return f"Content-Type: multipart/mixed; boundary={boundary}\n\n".encode() + joined + f"\n--{boundary}--\n".encode()


def _escaped(raw: bytes) -> bytes:
    lines = raw.split(b"\n")
    return b"\n".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines)


def write_archive(path: Path, *, count: int, seed: int) -> Archive:
    """Write an mbox of `count` messages, copies and garbage among them."""
    rng = random.Random(seed)
    charsets = list(CHARSETS)
    texts: dict[str, str] = {}
    threads: dict[str, str] = {}
    history: list[tuple[str, bytes]] = []
    copies = garbage = reused = 0
    start = datetime(2012, 3, 1, 8, tzinfo=UTC)
    with path.open("wb") as file:
        for number in range(count):
            sent = start + timedelta(minutes=37 * number)
            separator = f"From {number}@xxx {sent:%a %b %d %H:%M:%S} +0000 {sent.year}\n".encode()
            chance = rng.random()
            if chance < 0.02 and history:
                _, raw = rng.choice(history)
                extra = b"X-Gmail-Labels: Inbox\n" if raw.startswith(b"Received") else b""
                file.write(separator + extra + _escaped(raw) + b"\n\n")
                copies += 1
                continue
            if chance < 0.03:
                # Its first line must look like a header, or no splitter would see a message there.
                file.write(
                    separator
                    + b"x-nothing: "
                    + rng.randbytes(40).replace(b"\n", b" ").hex().encode()
                    + b"\n\n\xff\xfe\n\n"
                )
                garbage += 1
                continue
            charset = charsets[number % len(charsets)]
            text = CHARSETS[charset]
            identity = f"m{number}@seed.example"
            key = identity
            fields: list[bytes] = [b"Received: from a by b; " + format_datetime(sent).encode()]
            date = rng.choice(BROKEN_DATES) if rng.random() < 0.1 else format_datetime(sent)
            fields.append(f"Date: {date}".encode())
            if rng.random() < 0.02 and history:
                # Another mail with an id that was used before.
                identity = rng.choice(history)[0]
                reused += 1
                key = ""
            fields.append(f"Message-ID: <{identity}>".encode())
            name = encoded_word(text, charset, rng)
            fields.append(f'From: "{name}" <person{number % 97}@client{number % 13}.example>'.encode())
            fields.append(b"To: ops@agency.example,\n\tundisclosed-recipients:;")
            subject = encoded_word(f"{text} {number}", charset, rng)
            if number % 11 == 0 and number % 16 != 7 and charset not in ("utf-7", "iso-2022-jp"):
                fields.append(b"Subject: " + f"{text} {number}".encode(charset))  # 8-bit header
            elif number % 13 == 0:
                fields.append(f"Subject: {subject}\nfolded wrongly".encode())
            else:
                fields.append(f"Subject: {subject}".encode())
            if key and threads and rng.random() < 0.4:
                parent = rng.choice(list(threads)[-50:])
                threads[key] = threads[parent]
                if rng.random() < 0.5:
                    fields.append(f"References: <{threads[parent]}>\n <{parent}>".encode())
                fields.append(f"In-Reply-To: <{parent}>".encode())
            elif key:
                threads[key] = key
            if number % 5 == 0:
                fields.append(b'X-Gmail-Labels: Inbox,Unread,"Client, VIP"')
            raw = b"\n".join(fields) + b"\nMIME-Version: 1.0\n" + _body(number, text, charset, rng)
            if key:
                history.append((identity, raw))
                texts[key] = text
            if number % 3 == 0:
                raw = raw.replace(b"\n", b"\r\n")
            file.write(separator + _escaped(raw) + b"\n\n")
    return Archive(count, copies, garbage, reused, texts, threads)
