"""Read a MIME tree as Gmail gives it: headers, text, attachments. A failure is a replacement, never an exception."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses
from html.parser import HTMLParser
from typing import Any, Final

from ao_pipeline.collect.values import clean_text

MAX_BODY_BYTES: Final = 100_000
"""Longest kept body. Rules read the first screens; a newsletter's markup must not fill the store."""

MAX_PARTS: Final = 500
"""Parts read of one message; beyond it the rest is attachments of attachments."""

MAX_HEADER_CHARS: Final = 20_000
"""A longer header is cut before it is decoded; header decoding is quadratic on hostile input."""

Part = dict[str, Any]

_BLOCK_TAGS: Final = frozenset(
    [
        "p",
        "div",
        "br",
        "tr",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "ul",
        "ol",
        "blockquote",
        "hr",
        "section",
        "article",
    ]
)
_SKIPPED_TAGS: Final = frozenset({"script", "style", "head", "title", "template"})
_SPACES: Final = re.compile(r"[ \t\r\f\v\u00a0]+")
_BLANK_LINES: Final = re.compile(r"\n\s*\n+")


def walk_parts(payload: Part) -> Iterator[Part]:
    """Yield every part, parents first, in order; at most `MAX_PARTS`, without recursion."""
    stack: list[Part] = [payload]
    for _ in range(MAX_PARTS):
        if not stack:
            return
        part = stack.pop()
        yield part
        children = part.get("parts")
        if isinstance(children, list):
            stack.extend(child for child in reversed(children) if isinstance(child, dict))


def body_text(payload: Part) -> str | None:
    """Return the text of a message: its plain parts, else its HTML parts as text, else None."""
    plain: list[str] = []
    markup: list[str] = []
    for part in walk_parts(payload):
        kind = _text(part.get("mimeType")).lower()
        if _text(part.get("filename")) or kind not in ("text/plain", "text/html"):
            continue
        text = _decoded(part)
        if text:
            (plain if kind == "text/plain" else markup).append(text)
    text = "\n".join(plain) if any(item.strip() for item in plain) else "\n".join(html_to_text(item) for item in markup)
    return _bounded(text.replace("\r\n", "\n")) if text else None


def headers(part: Part) -> Iterator[tuple[str, str]]:
    """Yield (lower-case name, decoded value) of each header, in order."""
    found = part.get("headers")
    for header in found if isinstance(found, list) else []:
        if isinstance(header, dict):
            name, value = header.get("name"), header.get("value")
            if isinstance(name, str) and isinstance(value, str):
                yield name.lower(), value[:MAX_HEADER_CHARS]


def decode_words(value: str) -> str:
    """Return a header value with its encoded words read. Source: RFC 2047."""
    if "=?" not in value:
        return clean_text(value)
    try:
        pieces = decode_header(value.replace("\r", "").replace("\n", ""))
    except (HeaderParseError, ValueError, binascii.Error):
        return clean_text(value)
    words = [
        piece if isinstance(piece, str) else _decode(piece, charset or "raw-unicode-escape")
        for piece, charset in pieces
    ]
    return clean_text("".join(words)).strip()


def addresses(value: str) -> list[tuple[str, str | None]]:
    """Return (lower-case address, name) of each address in a header; entries without an address are left out."""
    try:
        # Addresses first, encoded words after: a decoded name may hold commas and angle brackets.
        pairs = getaddresses([value])
    except (ValueError, IndexError, AttributeError, TypeError, RecursionError):
        # The standard parser descends once a bracket: a thousand of them end it.
        return []
    found: list[tuple[str, str | None]] = []
    for name, address in pairs:
        email = clean_text(address).strip().lower()
        if "@" in email:
            found.append((email, decode_words(name).strip() or None))
    return found


def html_to_text(markup: str) -> str:
    """Return the readable text of HTML: blocks on lines of their own, no scripts, no styles."""
    reader = _TextReader()
    # The standard parser gives up on some hostile markup; what it read so far stands.
    with suppress(ValueError, AssertionError, IndexError):
        reader.feed(markup[: MAX_BODY_BYTES * 10])
        reader.close()
    text = _SPACES.sub(" ", "".join(reader.pieces))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()


class _TextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._skipped_depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED_TAGS:
            self._skipped_depth += 1
        elif tag in _BLOCK_TAGS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED_TAGS:
            self._skipped_depth = max(0, self._skipped_depth - 1)
        elif tag == "body":
            # An unclosed <title> must not hide the whole body.
            self._skipped_depth = 0
        elif tag in _BLOCK_TAGS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._skipped_depth:
            self.pieces.append(data)


def _decoded(part: Part) -> str:
    body = part.get("body")
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, str) or not data:
        return ""
    try:
        raw = base64.urlsafe_b64decode(data.encode("ascii", "ignore") + b"===")
    except (binascii.Error, ValueError):
        return ""
    return clean_text(_decode(raw, _charset(part)))


def _charset(part: Part) -> str:
    for name, value in headers(part):
        if name == "content-type":
            message = Message()
            try:
                message["content-type"] = value.replace("\r", " ").replace("\n", " ")
                return message.get_content_charset("utf-8")
            except (ValueError, LookupError, TypeError, IndexError, AttributeError):
                return "utf-8"
    return "utf-8"


def _decode(raw: bytes, charset: str) -> str:
    with suppress(LookupError, ValueError, AttributeError):  # No charset that Python knows: most likely it is UTF-8.
        if codecs.lookup(charset)._is_text_encoding:
            return raw.decode(charset, "replace")
    return raw.decode("utf-8", "replace")


def _bounded(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= MAX_BODY_BYTES else encoded[:MAX_BODY_BYTES].decode("utf-8", "ignore")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
