"""Find the messages of an mbox in a stream of chunks. Only what bounds a message is looked at, never what it says.

Source: RFC 4155 and the `mboxrd` variant, in which `>From ` of any depth stands for one depth less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

MAX_LINE_BYTES: Final = 1_000
"""Longest separator line looked at, and how much of the line after it."""

_CANDIDATE: Final = b"\nFrom "
_DATED: Final = re.compile(
    rb"From [^\r\n]{0,400}?\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+([A-Z][a-z]{2}|\d{1,2})\s+([A-Z][a-z]{2}|\d{1,2})\b"
    rb"[^\r\n]*\d{1,2}:\d\d[^\r\n]*\r?$"
)
_BARE: Final = re.compile(rb"From (- ?)?\r?$")
"""A separator that says nothing. Thunderbird writes it since 2023, into files that begin with dated ones."""

_HEADER: Final = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_ESCAPED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)


@dataclass(frozen=True)
class Segment:
    """One message's place: `start` is its first byte, its separator line included; `end` is exclusive."""

    start: int
    end: int


class _Separators:
    """Tell a separator from a sentence that starts with `From`."""

    def __init__(self, head: bytes) -> None:
        # Archives whose separators carry no date are split by what follows.
        line = head.partition(b"\n")[0]
        self._needs_date = not line.startswith(b"From ") or _DATED.match(line) is not None

    def accepts(self, before: bytes, text: bytes) -> bool:
        """Return whether a separator starts at `text`; `before` are the bytes before it."""
        line, _, following = text.partition(b"\n")
        has_blank = before.endswith((b"\n\n", b"\n\r\n")) or not before
        is_dated = _DATED.match(line) is not None
        if not is_dated and (not has_blank or (self._needs_date and _BARE.match(line) is None)):
            return False
        if is_dated and has_blank:
            # Some writers leave a line empty before the headers; at the file's end a mail may be all empty.
            following = following.lstrip(b"\r\n")
            if not following:
                return True
        return _HEADER.match(following) is not None or following.startswith((b">From ", b"From "))


def split_mbox(chunks: Iterable[bytes], *, head: bytes, start: int = 0) -> Iterator[Segment]:
    """Yield every message's place, in order; no byte belongs to none. Memory is one chunk and two lines.

    What stands before the first separator is a segment too; the caller passes over white space.

    Args:
        chunks: The archive's bytes from `start` on.
        head: The archive's first bytes: they say how its separators look.
        start: Where a message starts: 0, or the start of a segment found earlier.
    """
    separators = _Separators(head)
    window, base, begin = b"", start, start
    for chunk in chunks:
        window += chunk
        # A candidate near the end waits for the next chunk, so that its line and the one after it are whole.
        limit = len(window) - 2 * MAX_LINE_BYTES
        for found in _candidates(window, limit, separators):
            if base + found > begin:
                yield Segment(begin, base + found)
                begin = base + found
        keep = max(limit - 4, 0)
        window, base = window[keep:], base + keep
    for found in _candidates(window, len(window), separators):
        if base + found > begin:
            yield Segment(begin, base + found)
            begin = base + found
    if base + len(window) > begin:
        yield Segment(begin, base + len(window))


def _candidates(window: bytes, limit: int, separators: _Separators) -> Iterator[int]:
    position = window.find(_CANDIDATE)
    while 0 <= position < limit:
        begin = position + 1
        if separators.accepts(window[max(begin - 3, 0) : begin], window[begin : begin + 2 * MAX_LINE_BYTES]):
            yield begin
        position = window.find(_CANDIDATE, begin)


def separator_line(raw: bytes) -> tuple[bytes, int]:
    """Return a message's separator line and where the message behind it starts; no line gives an empty one."""
    if not raw.startswith(b"From "):
        return b"", 0
    end = raw.find(b"\n")
    return (raw, len(raw)) if end < 0 else (raw[:end].rstrip(b"\r"), end + 1)


def unescape(raw: bytes) -> bytes:
    """Take one `>` off every line that an mbox writer put one on."""
    return _ESCAPED.sub(rb"\1", raw) if b">From " in raw else raw


def unix_ends(raw: bytes) -> bytes:
    """Return bytes of an old Mac, whose lines end with a carriage return alone, with line feeds at the same places."""
    begin = raw[:4096]
    return raw.replace(b"\r", b"\n") if b"\r" in begin and b"\n" not in begin else raw
