"""Sentences of a mail that promise or ask: what its author wrote, without quotes and signature, matched by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PATTERNS_VERSION: Final = "1"
"""Part of the code version of `truth/commitments`: raise it when a sentence could be read in another way."""

MIN_SENTENCE_CHARACTERS: Final = 15
MAX_SENTENCE_CHARACTERS: Final = 400
MAX_SENTENCES: Final = 200
"""Sentences read of one mail. Promises stand near its top; the rest is a pasted document."""

_QUOTE_HEAD: Final = re.compile(
    r"^(on\b.{0,200}\bwrote:|-{2,}\s*(original|forwarded) message\b.*|_{5,}|from:\s.{0,200}|"
    r"begin forwarded message:|في .{0,200} كتب.{0,80}:)\s*$",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(
    r"^(--+|—|(best|kind|warm|many)?\s*(regards|wishes|thanks)|best|thanks|thank you|cheers|sincerely|yours\b.{0,20}|"
    r"sent from my .{0,60}|مع التحية|تحياتي|شكرا|شكراً)[\s,.!،]*$",
    re.IGNORECASE,
)
_HEADER_LINE: Final = re.compile(r"^(from|to|cc|bcc|subject|date|sent)\s*:", re.IGNORECASE)
_SPLIT: Final = re.compile(r"(?<=[.!?؟])(?<!\b[ap]\.m\.)\s+|\n+|[;•]\s+")

_WEEKDAY: Final = r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"


@dataclass(frozen=True)
class Found:
    """One sentence that promises or asks."""

    kind: str
    text: str
    confidence: float


# Requests first: "please let me know" asks, although "let me" alone offers.
_PATTERNS: Final = tuple(
    (kind, confidence, re.compile(pattern, re.IGNORECASE))
    for kind, confidence, pattern in (
        ("request", 0.9, r"\b(i need you to|i'?d like you to|we need you to)\b"),
        ("request", 0.85, r"\b(can|could|would|will) you\b"),
        ("request", 0.8, r"\b(please|pls|kindly)\b|يرجى|الرجاء|من فضلك|هل يمكن(ك|كم)|ممكن ترسل"),
        ("request", 0.75, r"\b(when|how soon) can you\b|\bwaiting for your\b"),
        ("request", 0.7, r"\b(do you think you could|is it possible (for you )?to)\b"),
        ("promise", 0.9, r"\b(i will|i'll|i'm going to|i am going to)\b(?! (not|never)\b)|(?<!\w)(سأ|سوف أ)\w+"),
        ("promise", 0.85, r"\b(we will|we'll|we're going to|we are going to)\b(?! (not|never)\b)|(?<!\w)(سن|سوف ن)\w+"),
        ("promise", 0.85, r"^(will do|on it|consider it done)\b"),
        ("promise", 0.8, r"\b(i'm|i am|we're|we are) (sending|working on|preparing|finali[sz]ing)\b"),
        (
            "promise",
            0.75,
            rf"\b(you'?ll (have|get|receive)|will be (ready|sent|delivered|with you))\b.*\b(by|before|on|tomorrow|{_WEEKDAY})\b",
        ),
        ("promise", 0.7, r"\b(let me|allow me to) (?!know\b)(check|get|send|prepare|look|follow|confirm|see)\b"),
        ("promise", 0.6, r"\b(i|we) (can|could)\b"),
        ("request", 0.6, r"\b(i|we|the team) needs?\b"),
    )
)
_CONDITIONAL: Final = re.compile(
    r"^(if|unless|in case|would it|had)\b|\b(would have|could have|should have)\b", re.IGNORECASE
)


def own_text(body: str) -> str:
    """Return what the author wrote: the text above the first quote head and the signature, without quoted lines."""
    kept: list[str] = []
    for line in body.splitlines():
        stripped = line.strip()
        if _QUOTE_HEAD.match(stripped):
            break
        # A closing word on the first line is the message itself ("Thanks!"), not a signature.
        if kept and _SIGNATURE.match(stripped):
            break
        if not stripped.startswith(">") and not _HEADER_LINE.match(stripped):
            kept.append(stripped)
    return "\n".join(kept).strip()


def find_sentences(body: str, *, min_confidence: float) -> Iterator[Found]:
    """Yield the sentences of a mail that promise or ask, each once, in order, at its first pattern that matches."""
    for sentence in _SPLIT.split(own_text(body))[:MAX_SENTENCES]:
        text = " ".join(sentence.split())[:MAX_SENTENCE_CHARACTERS]
        if len(text) < MIN_SENTENCE_CHARACTERS or _CONDITIONAL.search(text):
            continue
        plain = text.replace("’", "'")
        for kind, confidence, pattern in _PATTERNS:
            if pattern.search(plain):
                if confidence >= min_confidence:
                    yield Found(kind, text, confidence)
                break
