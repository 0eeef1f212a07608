"""Bytes of any system to lines: the ends of three systems, UTF-16, and a bound on one line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Final

from ao_pipeline.collect.values import BadValueError

MAX_LINE_BYTES: Final = 16 << 20
"""Longest line. A longer one is a file of another kind, and would be held in memory as a whole."""

_FIRST_END: Final = re.compile(rb"\r*\n|\r(?=[^\r\n])")


def byte_lines(chunks: Iterable[bytes], *, encoding: str = "") -> Iterator[bytes]:
    """Yield a file's lines without their ends, as UTF-8 when it was decoded, else as they are.

    A file whose first line ends with a lone carriage return was written on an old Mac: there each of them ends a line.
    Elsewhere one inside a line is a space.

    Args:
        chunks: The file's bytes.
        encoding: Python's name of its charset; empty means UTF-16 with its mark, else the bytes as they are.

    Raises:
        BadValueError: A line is longer than `MAX_LINE_BYTES`. The iterator has ended.
    """
    carried = b""
    is_mac: bool | None = None
    for chunk in _decoded(chunks, encoding):
        found = _FIRST_END.search(carried + chunk) if is_mac is None else None
        if found is not None:
            is_mac = found.group() == b"\r"
            carried = carried.replace(b"\r", b"\n") if is_mac else carried
        pieces = (carried + (chunk.replace(b"\r", b"\n") if is_mac else chunk)).split(b"\n")
        carried = pieces.pop()
        if len(carried) > MAX_LINE_BYTES:
            raise BadValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        for piece in pieces:
            yield piece.rstrip(b"\r").replace(b"\r", b" ")
    if carried:
        yield carried.rstrip(b"\r").replace(b"\r", b" ")


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder: codecs.IncrementalDecoder | None = None
    is_first = True
    for chunk in chunks:
        if is_first:
            is_first = False
            name = "utf-16" if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else encoding
            decoder = codecs.getincrementaldecoder(name)("replace") if name else None
        yield chunk if decoder is None else decoder.decode(chunk).encode("utf-8", "replace")
    if decoder is not None:
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")
