"""The items of one list inside a JSON file, one at a time: memory follows the longest item, not the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ao_pipeline.collect.values import BadValueError

MAX_ITEM_CHARS: Final = 16 << 20
"""Longest item. A longer one is a file that was cut or is of another kind."""

_SPACE: Final = re.compile(r"[\s,]*")


def stream_items(chunks: Iterable[bytes], key: str) -> Iterator[Any]:
    """Yield the items of the list `key` of the file's outermost object, or of the file when it is itself a list.

    Args:
        chunks: The file's bytes, UTF-8 or UTF-16 with a mark.
        key: Name of the list.

    Raises:
        BadValueError: The text is no JSON from some item on. What came before has been yielded.
    """
    texts = _decoded(chunks)
    text = ""
    opening = re.compile(rf'\s*\[|.*?"{re.escape(key)}"\s*:\s*\[', re.DOTALL)
    match = None
    while match is None:
        piece = next(texts, None)
        if piece is None or len(text) > MAX_ITEM_CHARS:
            raise BadValueError(f"the file holds no list {key!r}")
        text += piece
        match = opening.match(text)
    text = text[match.end() :]
    decoder = json.JSONDecoder()
    number = 0
    while True:
        space = _SPACE.match(text)
        text = text[space.end() :] if space else text
        if text.startswith("]"):
            return
        try:
            item, end = decoder.raw_decode(text) if text else (None, -1)
        except (ValueError, RecursionError):
            end = -1
        if end == len(text) and text[-1] not in '}]"':
            # A number at the end of what was read may go on.
            end = -1
        if end < 0:
            # Read as much again as there is: an item is then tried a few times, not once a chunk.
            grown = _more(texts, max(len(text), 1))
            if not grown or len(text) > MAX_ITEM_CHARS:
                raise BadValueError(f"the list {key!r} is broken or cut off behind item {number}")
            text += grown
            continue
        yield item
        number += 1
        text = text[end:]


def _more(texts: Iterator[str], wanted: int) -> str:
    pieces: list[str] = []
    length = 0
    for piece in texts:
        pieces.append(piece)
        length += len(piece)
        if length >= wanted:
            break
    return "".join(pieces)


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder | None = None
    for chunk in chunks:
        if decoder is None:
            is_wide = chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            decoder = codecs.getincrementaldecoder("utf-16" if is_wide else "utf-8-sig")("replace")
        yield from _pieces(decoder.decode(chunk))
    if decoder is not None:
        yield decoder.decode(b"", final=True)


def _pieces(text: str, size: int = 65_536) -> Iterator[str]:
    """Short pieces: what is left of one is moved for every item."""
    for start in range(0, len(text), size):
        yield text[start : start + size]
