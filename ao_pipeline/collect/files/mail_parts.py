"""One raw mail to the MIME tree that Gmail would give of it, so that one parser reads both. Total over any bytes.

Nothing is copied that is not text: of attachments only the size is taken, from where they start and end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from email.message import Message
from functools import cached_property
from typing import Any, Final

from ao_pipeline.collect.files.charsets import decode, loose_base64, plain_words, standard_words
from ao_pipeline.collect.files.mbox import unescape
from ao_pipeline.collect.parse.mime import MAX_PARTS, addresses

MAX_HEADER_BYTES: Final = 256 * 1024
"""Headers beyond it are not read; real ones end at a tenth of it."""

MAX_DEPTH: Final = 20
"""Multiparts inside multiparts; forwards of forwards reach six."""

MAX_TEXT_BYTES: Final = 1_500_000
"""Text decoded of one part. The stored body is cut far below; markup shrinks by ten."""

_FIELD: Final = re.compile(rb"([!-9;-~]{1,200})[ \t]*:[ \t]*(.*)", re.DOTALL)
_ADDRESS_FIELDS: Final = frozenset({"from", "to", "cc", "bcc", "reply-to", "sender"})
_ADDRESS: Final = re.compile(r"[^\s<>\"',;:()\[\]]{1,200}@[^\s<>\"',;:()\[\]]{1,200}")
_SNIFFED_BOUNDARY: Final = re.compile(rb"^--([^\s-][^\r\n]{0,100}?)[ \t]*\r?\n[A-Za-z-]+[ \t]*:", re.MULTILINE)
_CHARSET: Final = re.compile(rb"charset=[\"']?([A-Za-z0-9._:-]{2,40})", re.IGNORECASE)
_KIND: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]*(/[a-z0-9.+_*-]+)?")
_MARKUP: Final = re.compile(rb"<(!doctype html|html|body|div|p|table|br)\b", re.IGNORECASE)

Fields = list[tuple[str, bytes]]
Part = dict[str, Any]


def read_fields(raw: bytes, start: int = 0, end: int | None = None) -> tuple[Fields, int]:
    """Return (lower-case name, unfolded raw value) of each header field, and where the body starts.

    A line that is neither a field nor folded rightly belongs to the field before it: mailers break lines and forget the
    space. Lines before the first field are passed over only when a field follows.
    """
    stop = min(len(raw) if end is None else end, start + MAX_HEADER_BYTES)
    fields: list[tuple[str, bytes]] = []
    folded: list[bytes] = []
    position = start
    while position < stop:
        found = raw.find(b"\n", position, stop)
        after = stop if found < 0 else found + 1
        line = raw[position:after].rstrip(b"\r\n")
        if not line:
            position = after
            break
        match = None if line[:1] in b" \t" else _FIELD.match(line)
        if match is not None:
            _unfold(fields, folded)
            fields.append((match.group(1).decode("ascii").lower(), match.group(2)))
        elif fields and not line.startswith((b"From ", b">From ")):
            folded.append(line.strip())
        position = after
    _unfold(fields, folded)
    return fields, position


def _unfold(fields: Fields, folded: list[bytes]) -> None:
    """Put the lines that continue a field behind it, all at once: one at a time is quadratic."""
    if folded:
        name, value = fields[-1]
        fields[-1] = (name, b" ".join([value, *folded]))
        folded.clear()


def field_text(value: bytes, label: str | None = None) -> str:
    """Return a raw header value as text, encoded words still encoded. 8-bit bytes are read by the mail's own charset."""
    return value.decode("ascii") if value.isascii() else decode(value, label)


def build_payload(raw: bytes) -> Part:
    """Return the MIME tree of one mail; without any header field `headers` is empty."""
    return _Builder(raw).part(0, len(raw), part_id="", depth=0, default="text/plain")


class _Builder:
    """Walks one mail. Bounded by `MAX_PARTS` and `MAX_DEPTH`; what lies beyond is left out."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._left = MAX_PARTS

    def part(self, start: int, end: int, *, part_id: str, depth: int, default: str) -> Part:
        self._left -= 1
        fields, body = read_fields(self._raw, start, end)
        kind = _ContentType(next((value for name, value in fields if name == "content-type"), b""), default)
        disposition = _ContentType(next((value for name, value in fields if name == "content-disposition"), b""), "")
        encoding = field_text(next((value for name, value in fields if name == "content-transfer-encoding"), b""))
        filename = plain_words(disposition.filename() or kind.filename())
        built: Part = {
            "partId": part_id,
            "mimeType": kind.mime_type,
            "filename": filename,
            "headers": _headers(fields, kind.charset or self._charset_within(fields, body, end)),
        }
        if kind.mime_type.startswith("multipart/") and depth < MAX_DEPTH:
            built["parts"] = self._children(kind, body, end, part_id=part_id, depth=depth)
        elif kind.mime_type == "message/rfc822" and depth < MAX_DEPTH and self._left > 0:
            built["filename"] = filename or "noname.eml"
            built["body"] = {"size": _decoded_size(self._raw, "", body, end)}
            if encoding.strip().lower() not in ("base64", "quoted-printable"):
                built["parts"] = [
                    self.part(body, end, part_id=f"{part_id}.0".lstrip("."), depth=depth + 1, default="text/plain")
                ]
        else:
            self._leaf(
                built, kind, encoding.strip().lower(), body, end, is_attached=disposition.mime_type == "attachment"
            )
        return built

    def _charset_within(self, fields: Fields, body: int, end: int) -> str | None:
        """Return the charset of the first part that names one, for 8-bit headers of a mail that has none itself."""
        if all(value.isascii() for _, value in fields):
            return None
        match = _CHARSET.search(self._raw, body, min(end, body + 65_536))
        return match.group(1).decode("ascii") if match else None

    def _children(self, kind: _ContentType, body: int, end: int, *, part_id: str, depth: int) -> list[Part]:
        default = "message/rfc822" if kind.mime_type == "multipart/digest" else "text/plain"
        children: list[Part] = []
        for start, stop in self._places(kind.boundary, body, end):
            if self._left <= 0:
                break
            own_id = f"{part_id}.{len(children)}".lstrip(".")
            children.append(self.part(start, stop, part_id=own_id, depth=depth + 1, default=default))
        if not children and self._left > 0:
            # No boundary is where one was promised: the text is there all the same.
            self._left -= 1
            is_markup = _MARKUP.search(self._raw, body, min(end, body + 4096)) is not None
            whole: Part = {"partId": "0", "mimeType": "text/html" if is_markup else "text/plain", "filename": ""}
            self._leaf(whole, kind, "", body, end, is_attached=False)
            children.append({"headers": _headers([], None), **whole})
        return children

    def _places(self, boundary: bytes, body: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where each part of a multipart starts and ends; a closing boundary that is missing is the end."""
        if not boundary:
            sniffed = _SNIFFED_BOUNDARY.search(self._raw, body, min(end, body + 65_536))
            if sniffed is None:
                return
            boundary = sniffed.group(1)
        line = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?$", re.MULTILINE)
        start: int | None = None
        for match in line.finditer(self._raw, body, end):
            if start is not None:
                stop = match.start() - 1
                yield start, max(start, stop - self._raw.startswith(b"\r", stop - 1))
            start = min(match.end() + 1, end)
            if match.group(1):
                return
        if start is not None and start < end:
            yield start, end

    def _leaf(self, built: Part, kind: _ContentType, encoding: str, body: int, end: int, *, is_attached: bool) -> None:
        built["body"] = {"size": _decoded_size(self._raw, encoding, body, end)}
        if not built["mimeType"].startswith("text/") or built["filename"] or is_attached:
            if not built["filename"] and (is_attached or not built["mimeType"].startswith("text/")) and end > body:
                built["filename"] = "noname" if is_attached else ""
            return
        raw = _transfer_decoded(unescape(self._raw[body : min(end, body + MAX_TEXT_BYTES)]), encoding)
        text = decode(raw, kind.charset)
        built["body"]["data"] = base64.urlsafe_b64encode(text.encode()).decode("ascii")
        # The data is UTF-8 now, whatever the mail said; the last header of a name is not read twice.
        built["headers"] = [
            *(header for header in built.get("headers", []) if header["name"] != "content-type"),
            {"name": "content-type", "value": f"{built['mimeType']}; charset=utf-8"},
        ]


class _ContentType:
    """A `Content-Type` or `Content-Disposition`: its value and parameters, whatever they look like."""

    def __init__(self, value: bytes, default: str) -> None:
        self._text = field_text(value).replace("\r", " ").replace("\n", " ")[:4000]
        kind = self._text.partition(";")[0].strip().lower()
        is_type = _KIND.fullmatch(kind) is not None
        is_whole = is_type and ("/" in kind or not default)
        self.mime_type = kind if is_whole else default

    @cached_property
    def boundary(self) -> bytes:
        return (self._parameter("boundary") or "").encode("utf-8", "replace")

    @cached_property
    def charset(self) -> str | None:
        return self._parameter("charset")

    def filename(self) -> str:
        """Return the file name, from either parameter that mailers write it into."""
        return self._parameter("filename") or self._parameter("name") or ""

    @cached_property
    def _message(self) -> Message:
        message = Message()
        message["content-type"] = self._text
        return message

    def _parameter(self, name: str) -> str | None:
        if ";" not in self._text or name not in self._text.lower():
            return None
        try:
            value = self._message.get_param(name)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        if isinstance(value, tuple):
            label, _, encoded = value
            return decode(encoded.encode("latin-1", "replace"), label)
        return str(value).strip() if value is not None else None


def _headers(fields: Fields, label: str | None) -> list[dict[str, str]]:
    return [{"name": name, "value": _header_value(name, value, label)} for name, value in fields]


def _header_value(name: str, value: bytes, label: str | None) -> str:
    text = field_text(value, label)
    if name not in _ADDRESS_FIELDS:
        return plain_words(text) if name == "subject" else text
    text = standard_words(text)
    if "@" in text and not addresses(text):
        # Python gives up on the whole header over one stray quote; the addresses are still in it.
        return ", ".join(dict.fromkeys(_ADDRESS.findall(text)))
    return text


def _transfer_decoded(raw: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return loose_base64(raw)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(raw)
    return raw


def _decoded_size(raw: bytes, encoding: str, start: int, end: int) -> int:
    # Line ends differ between copies of one mail, and are no content.
    digits = end - start - raw.count(b"\r", start, end)
    if encoding != "base64":
        return digits
    digits -= raw.count(b"\n", start, end)
    padding = raw.count(b"=", max(start, end - 8), end)
    return max(digits * 3 // 4 - padding, 0)
