"""Bytes of any age to text: labels that lie, labels that nobody registered, words of RFC 2047 in odd forms.

Nothing here raises, and no byte vanishes: what no charset explains becomes a Windows-1252 character.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import groupby
from typing import Final

from ao_pipeline.collect.files.jis import decode_jis
from ao_pipeline.collect.values import clean_text

_ALIASES: Final[Mapping[str, str]] = {
    "": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "ansi_x3.4-1968": "utf-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "sjis": "cp932",
    "windows-31j": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "hz-gb-2312": "hz",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "x-windows-949": "cp949",
    "big5": "big5hkscs",
    "windows-874": "cp874",
    "tis-620": "cp874",
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-6-e": "iso-8859-6",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "visual": "iso-8859-8",
    "cp-850": "cp850",
    "cp-1252": "cp1252",
    "cp-1256": "cp1256",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-ce": "mac-latin2",
    "utf8mb4": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "unicode": "utf-8",
    "iso-10646-ucs-2": "utf-16-be",
}
"""Labels that mails carry and Python does not know, or knows by a smaller table than their writers used.

Source: WHATWG Encoding Standard, where the label of a subset means its Windows superset.
"""

_NOT_CHARSETS: Final = frozenset(
    {"undefined", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "mbcs", "oem"}
)
"""Python codecs that are no charset: they raise, warn or run code paths of their own on foreign bytes."""

_UNKNOWN_LABELS: Final = frozenset(
    {"unknown", "unknown-8bit", "x-unknown", "x-user-defined", "default", "8bit", "binary"}
)
_CODE_PAGE: Final = re.compile(r"(?:x-)?(?:windows|win|cp|ansi|ms|ibm)[-_]?(\d{3,4})")
_STATEFUL: Final = frozenset(
    {"iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_ext", "iso2022_kr", "utf-7", "hz"}
)
"""Charsets whose bytes are all ASCII: that they also read as UTF-8 says nothing."""

_ESCAPED_BYTE: Final = re.compile("[\udc80-\udcff]")
_JAPANESE_ESCAPE: Final = re.compile(rb"\x1b(\$[@B]|\([BJI])")
_WORD: Final = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?(.{0,2000}?)\?=", re.DOTALL)
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_NOT_BASE64: Final = bytes(set(range(256)) - set(_BASE64))
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._:+-]{0,40}")


def decode(raw: bytes, label: str | None = None) -> str:
    """Return the text of `raw`.

    Args:
        raw: The bytes.
        label: What the sender says their charset is; believed when the bytes agree.
    """
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[len(codecs.BOM_UTF8) :]
        label = "utf-8"
    codec = known_codec(label)
    if codec is None or codec == "utf-8":
        return clean_text(_guess(raw, is_japanese=codec is None or not label))
    with suppress(ValueError):  # The bytes do not agree with the label.
        return clean_text(raw.decode(codec))
    if codec == "cp1252":
        return clean_text(_guess(raw, is_japanese=False))
    if codec.startswith("iso2022_jp") and b"\x1b" in raw:
        return clean_text(decode_jis(raw))
    if codec in _STATEFUL and raw.isascii():
        return clean_text(raw.decode(codec, "replace"))
    with suppress(UnicodeDecodeError):  # A label that lies is most often one whose writer meant UTF-8.
        return clean_text(raw.decode("utf-8"))
    try:
        return clean_text(raw.decode(codec, "replace"))
    except (UnicodeError, ValueError):
        return clean_text(_guess(raw, is_japanese=False))


def known_codec(label: str | None) -> str | None:
    """Return Python's name of a charset label; None when nobody knows what it means."""
    name = (label or "").strip().strip("'\";").lower().partition("*")[0]
    if name in _UNKNOWN_LABELS:
        return None
    name = _ALIASES.get(name, name)
    if name not in _ALIASES.values() and (page := _CODE_PAGE.fullmatch(name)) is not None:
        name = f"cp{page.group(1)}"
    if not _LABEL.fullmatch(name):
        return None
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if not found._is_text_encoding or found.name.replace("-", "_") in _NOT_CHARSETS:
        return None
    return found.name


def _guess(raw: bytes, *, is_japanese: bool) -> str:
    """Read UTF-8 where it is valid; every other byte is a Windows-1252 character, so none is lost."""
    if is_japanese and _JAPANESE_ESCAPE.search(raw):
        return decode_jis(raw)
    text = raw.decode("utf-8", "surrogateescape")
    return _ESCAPED_BYTE.sub(lambda match: bytes([ord(match.group()) - 0xDC00]).decode("cp1252", "replace"), text)


def plain_words(value: str) -> str:
    """Return a header value with its encoded words read: for subjects, file names and labels.

    Forms that RFC 2047 forbids and mailers write are read too: spaces inside a word, words glued to text, words in
    quotes, characters split over two words, a language after the charset, missing padding.
    """
    if "=?" not in value:
        return clean_text(value)
    return clean_text(_replace_runs(value, str))


def standard_words(value: str) -> str:
    """Return a header value whose every run of encoded words is one UTF-8 word that any parser reads.

    For address headers: a decoded name may hold commas and angle brackets, so it is decoded after the addresses are split.
    """
    if "=?" not in value:
        return clean_text(value)
    return clean_text(_replace_runs(value, _as_word))


def _as_word(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(clean_text(text).encode()).decode('ascii')}?="


def _replace_runs(value: str, write: Callable[[str], str]) -> str:
    """Replace every run of encoded words; the white space between two words is not text."""
    pieces: list[str] = []
    run: list[tuple[str, bytes]] = []
    position = 0
    for match in _WORD.finditer(value):
        between = value[position : match.start()]
        if run and between.strip():
            pieces.append(write(_decode_run(run)))
            run = []
        if not run:
            pieces.append(between)
        run.append((match.group(1), _word_bytes(match.group(2), match.group(3))))
        position = match.end()
    if run:
        pieces.append(write(_decode_run(run)))
    pieces.append(value[position:])
    return "".join(pieces)


def _decode_run(run: list[tuple[str, bytes]]) -> str:
    """Decode neighbours of one charset together: mailers split a character over two words."""
    text = ""
    for label, group in groupby(run, key=lambda word: word[0].lower()):
        text += decode(b"".join(raw for _, raw in group), label)
    return text


def _word_bytes(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    return loose_base64(raw) if encoding in "bB" else binascii.a2b_qp(raw, header=True)


def loose_base64(raw: bytes) -> bytes:
    """Return what base64 says, without line ends, foreign characters or padding counting; a lone last digit is dropped."""
    digits = raw.translate(_URL_SAFE, _NOT_BASE64)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
