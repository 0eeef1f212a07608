"""Live vendor objects and what happened to them: the store that changes are applied to and vendors read from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]
Action = Literal["put", "patch", "drop"]
Stamp = Callable[[Json, int, int], None]
"""Write the vendor's own change marks (modified time, history id, etag) for a change at (micros, sequence)."""


class Change(NamedTuple):
    """One change to one vendor object. Ordered by time, then by name, so that a heap of them has one order only."""

    at: int
    """Microseconds since 1970-01-01 UTC."""
    collection: str
    key: str
    step: int
    """Number of the change within its object's life."""
    action: Action
    fields: Json
    """`put`: the whole object; `patch`: the keys that change; `drop`: what remains as a tombstone, usually nothing."""


class Record:
    """One vendor object, its last change, and its JSON text as the vendors ask for it."""

    __slots__ = ("at", "data", "is_dropped", "key", "sequence", "texts")

    def __init__(self, key: str, data: Json, *, at: int, sequence: int) -> None:
        self.key = key
        self.data = data
        self.at = at
        self.sequence = sequence
        self.is_dropped = False
        self.texts: dict[str, str] = {}

    def text(self, variant: str, view: Callable[[Json], Json] | None = None) -> str:
        """Return the JSON text of `view(data)`, made once until the object changes."""
        text = self.texts.get(variant)
        if text is None:
            text = json.dumps(self.data if view is None else view(self.data), separators=(",", ":"))
            self.texts[variant] = text
        return text


class Entry(NamedTuple):
    """One line of a collection's history."""

    sequence: int
    at: int
    key: str
    action: Action
    before: Json
    after: Json


def _no_stamp(_data: Json, _at: int, _sequence: int) -> None:
    return None


class Collection:
    """Objects of one kind by key, with a strictly growing sequence and, where a vendor serves one, a history."""

    def __init__(self, name: str, *, stamp: Stamp = _no_stamp, keeps_history: bool = False) -> None:
        self.name = name
        self.records: dict[str, Record] = {}
        self.tombstones: dict[str, Record] = {}
        self.history: list[Entry] = []
        self.sequence = 0
        self.version = 0
        self._stamp = stamp
        self._keeps_history = keeps_history
        self._views: dict[str, tuple[int, Any]] = {}

    def apply(self, change: Change) -> bool:
        """Apply one change; return false where its object is gone, so nothing happened."""
        record = self.records.get(change.key)
        if (record is None) == (change.action != "put"):
            return False
        # Several changes may fall on one microsecond (a frozen clock); a cursor must still tell them apart.
        self.sequence = max(self.sequence + 1, change.at)
        self.version += 1
        before = {} if record is None else record.data
        after = dict(change.fields) if change.action == "drop" else {**before, **change.fields}
        self._stamp(after, change.at, self.sequence)
        fresh = Record(change.key, after, at=change.at, sequence=self.sequence)
        if change.action == "drop":
            fresh.is_dropped = True
            del self.records[change.key]
            self.tombstones[change.key] = fresh
        else:
            self.tombstones.pop(change.key, None)
            self.records[change.key] = fresh
        if self._keeps_history:
            self.history.append(Entry(self.sequence, change.at, change.key, change.action, before, after))
        return True

    def view(self, name: str, build: Callable[[], Any]) -> Any:
        """Return what `build` made for the present version: sorted lists and indexes that many requests share."""
        known = self._views.get(name)
        if known is None or known[0] != self.version:
            known = (self.version, build())
            self._views[name] = known
        return known[1]

    def in_order(self) -> list[Record]:
        """Return the records by key."""
        ordered: list[Record] = self.view("in_order", lambda: [self.records[key] for key in sorted(self.records)])
        return ordered
