"""Which thread a mail belongs to, and whether it was there before: an index of a whole mailbox in a few bytes a mail.

Identifiers are kept as 64-bit digests, so a mailbox of a million mails takes some fifty megabytes. Two that collide by
chance (one in 10^8 at a million mails) would share a thread; keys are compared in full before a mail counts as a copy.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from ao_pipeline.collect.files.mail import Identity

MAX_HOPS: Final = 1_000
"""Answers upon answers followed to the root; beyond it the mail reached stands for the root."""


@dataclass(frozen=True)
class Root:
    """Where a thread starts: a mail of the index, or an identifier that the mail at `position` names."""

    position: int
    is_named: bool
    """Whether the root itself is not in the mailbox: then it is what the mail at `position` answers or refers to."""


@dataclass
class MailIndex:
    """One mailbox, mail by mail in a fixed order. Positions are numbers from 0."""

    _own: array[int] = field(default_factory=lambda: array("Q"))
    _parents: array[int] = field(default_factory=lambda: array("Q"))
    _roots: array[int] = field(default_factory=lambda: array("Q"))
    _subjects: array[int] = field(default_factory=lambda: array("Q"))
    _replies: bytearray = field(default_factory=bytearray)
    places: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    files: array[int] = field(default_factory=lambda: array("L"))

    def add(self, identity: Identity, *, key: str, file: int, start: int, length: int) -> None:
        """Append one mail.

        Args:
            identity: What its headers say.
            key: Its Message-ID, or the digest that stands for it.
            file: Number of its file.
            start: Its place in the file.
            length: Its length.
        """
        self._own.append(_digest(key))
        self._parents.append(_digest(identity.parent_id))
        self._roots.append(_digest(identity.root_id))
        self._subjects.append(_digest(identity.subject))
        self._replies.append(identity.is_reply)
        self.files.append(file)
        self.places.append(start)
        self.lengths.append(length)

    def __len__(self) -> int:
        return len(self._own)

    def between(self, position: int, *, begin: int) -> list[int]:
        """Return the mails from `begin` on and before `position` that have the key of the one there, first one first."""
        return self._ids.within(self._own[position], begin, position)

    def group(self, position: int) -> int:
        """Return what the mails with the key of the one at `position` have in common."""
        return self._own[position]

    def is_shared(self, position: int) -> bool:
        """Return whether another mail has the same key."""
        return self._ids.count(self._own[position]) > 1

    def root(self, position: int) -> Root:
        """Return the root of a mail's thread: by references, by what it answers, by the subject of a reply."""
        seen = {position}
        current = position
        for _ in range(MAX_HOPS):
            following = self._above(current)
            if following is None:
                is_named = bool(self._roots[current] or self._parents[current])
                return Root(current, is_named)
            if following in seen:
                # Mails that answer one another: the first of them stands for all.
                return Root(min(seen), False)
            seen.add(following)
            current = following
        return Root(current, False)

    def _above(self, current: int) -> int | None:
        for wanted in (self._roots[current], self._parents[current]):
            found = self._ids.first(wanted) if wanted else None
            if found is not None and self._own[found] != self._own[current]:
                return found
        has_reference = self._roots[current] or self._parents[current]
        if not has_reference and self._replies[current] and self._subjects[current]:
            first = self._by_subject.first(self._subjects[current])
            return first if first is not None and first != current else None
        return None

    @cached_property
    def _ids(self) -> _Lookup:
        return _Lookup(self._own)

    @cached_property
    def _by_subject(self) -> _Lookup:
        return _Lookup(self._subjects)


class _Lookup:
    """Positions by value of an array that does not change any more."""

    def __init__(self, values: array[int]) -> None:
        found: npt.NDArray[np.uint64] = np.frombuffer(values, dtype=np.uint64) if values else np.empty(0, np.uint64)
        self._order = np.argsort(found, kind="stable").astype(np.uint32)
        self._sorted = found[self._order]

    def first(self, value: int) -> int | None:
        return next(self.all(value), None)

    def all(self, value: int) -> Iterator[int]:
        left, right = self._range(value)
        for place in range(left, right):
            yield int(self._order[place])

    def within(self, value: int, begin: int, end: int) -> list[int]:
        left, right = self._range(value)
        places = self._order[left:right]
        # A stable sort keeps equal values in the order of their positions.
        return [int(place) for place in places[np.searchsorted(places, begin) : np.searchsorted(places, end)]]

    def count(self, value: int) -> int:
        left, right = self._range(value)
        return right - left

    def _range(self, value: int) -> tuple[int, int]:
        wanted = np.uint64(value)
        return int(np.searchsorted(self._sorted, wanted)), int(np.searchsorted(self._sorted, wanted, side="right"))


def _digest(text: str) -> int:
    """Return 64 bits of a text; 0 stands for none."""
    if not text:
        return 0
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1
