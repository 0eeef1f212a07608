"""ISO-2022-JP as Japanese mailers write it: with the characters of Windows that the standard and Python's codecs lack."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\x1b(\$\(D|\$[@B]|\([BJI])")
_PRINTABLE: Final = range(0x21, 0x7F)
_HALF_WIDTH_OFFSET: Final = 0xFF61 - 0x21
"""From a byte of JIS X 0201's katakana to its code point."""


def decode_jis(raw: bytes) -> str:
    """Return the text of ISO-2022-JP bytes; circled numbers, company marks and half-width katakana are read too.

    A sequence that is cut off or broken gives U+FFFD, and the rest goes on.

    Source: Microsoft's code pages 50220 to 50222, which mails call `iso-2022-jp`.
    """
    pieces = _ESCAPE.split(raw)
    texts = [pieces[0].decode("cp932", "replace")]
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        # A line's end also ends the character set.
        coded, end, plain = piece.partition(b"\n")
        texts.append(_read(escape, coded) + (end + plain).decode("cp932", "replace"))
    return "".join(texts)


def _read(escape: bytes, coded: bytes) -> str:
    if escape in (b"(B", b"(J"):
        return coded.decode("cp932", "replace")
    if escape == b"(I":
        return "".join(chr(byte + _HALF_WIDTH_OFFSET) if 0x21 <= byte <= 0x5F else chr(byte & 0x7F) for byte in coded)
    wide = bytearray()
    place = 0
    while place < len(coded):
        pair = coded[place : place + 2]
        if len(pair) == 2 and pair[0] in _PRINTABLE and pair[1] in _PRINTABLE:
            wide += b"\x8f" + bytes(byte | 0x80 for byte in pair) if escape == b"$(D" else _shifted(*pair)
            place += 2
        else:
            wide += pair[:1] if pair[0] < 0x21 else b"\xff"
            place += 1
    text = wide.decode("euc_jp" if escape == b"$(D" else "cp932", "replace")
    # Windows has a private character for the byte that no character has.
    return text.replace("\uf8f3", "\ufffd")


def _shifted(row: int, cell: int) -> bytes:
    """Return a character of JIS X 0208 as Shift JIS writes it, which Windows' table reads with its own additions."""
    first = ((row - 0x21) >> 1) + 0x81
    second = (cell + 0x1F + (cell >= 0x60)) if row % 2 else cell + 0x7E
    return bytes((first + 0x40 if first > 0x9F else first, second))
