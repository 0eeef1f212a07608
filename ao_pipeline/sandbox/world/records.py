"""Live vendor objects and what happened to them: the store that changes are applied to and vendors read from."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
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

    __slots__ = ("_texts", "at", "data", "is_dropped", "key", "sequence")

    def __init__(self, key: str, data: Json, *, at: int, sequence: int) -> None:
        self.key = key
        self.data = data
        self.at = at
        self.sequence = sequence
        self.is_dropped = False
        self._texts: dict[str, str] | None = None

    def text(self, variant: str, view: Callable[[Json], Json] | None = None) -> str:
        """Return the JSON text of `view(data)`, made once until the object changes."""
        if self._texts is None:
            self._texts = {}
        text = self._texts.get(variant)
        if text is None:
            text = json.dumps(self.data if view is None else view(self.data), separators=(",", ":"))
            self._texts[variant] = text
        return text

    def forget_texts(self) -> None:
        """Make the text anew: something inside the object was changed in place."""
        self._texts = None


Places = Callable[[Record], Sequence[tuple[str, str]]]


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
        self.newest_key = ""
        """The object that was put last."""
        self._views: dict[str, tuple[int, Any]] = {}
        self._indexes: dict[str, Index] = {}
        # What changed, in the order of the sequence: the same keys as above, so an entry costs sixteen bytes.
        self._changed_keys: list[str] = []
        self._changed_at = array("q")

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
            if change.action == "put":
                self.newest_key = change.key
        self._changed_keys.append(change.key)
        self._changed_at.append(self.sequence)
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

    def current(self, key: str) -> Record | None:
        """Return the object or its tombstone."""
        return self.records.get(key) or self.tombstones.get(key)

    def changed_after(self, sequence: int) -> list[Record]:
        """Return the objects and tombstones that changed after `sequence`, by key."""
        keys = sorted(set(self._changed_keys[bisect_right(self._changed_at, sequence) :]))
        return [record for key in keys if (record := self.current(key)) is not None]

    def index(self, name: str, places: Places) -> Index:
        """Return an index that is brought up to date with what changed since it was last asked for, and no more."""
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = Index(self, places)
        index.catch_up(self._changed_keys)
        return index


class Index:
    """Records and tombstones in named groups, each in an order of its own."""

    def __init__(self, collection: Collection, places: Places) -> None:
        """Make an empty index.

        Args:
            collection: Whose records these are.
            places: Gives the groups of a record, and its place in each; those of equal place go by their key.
        """
        self._collection = collection
        self._places = places
        self._groups: dict[str, list[tuple[str, str]]] = {}
        self._seen_count = 0
        self._present: dict[str, tuple[int, list[Record]]] = {}

    def catch_up(self, changed_keys: list[str]) -> None:
        """Take in what changed since the last time. What left a group stays in it and is passed over when it is read."""
        fresh = set(changed_keys[self._seen_count :])
        # From scratch a sort is quicker than a search for every entry.
        is_bulk = self._seen_count == 0
        self._seen_count = len(changed_keys)
        for key in fresh:
            record = self._collection.current(key)
            for group, place in self._places(record) if record is not None else ():
                entries = self._groups.setdefault(group, [])
                if is_bulk:
                    entries.append((place, key))
                    continue
                at = bisect_left(entries, (place, key))
                if at == len(entries) or entries[at] != (place, key):
                    entries.insert(at, (place, key))
        if is_bulk:
            for entries in self._groups.values():
                entries.sort()

    def walk(
        self, group: str, *, after: tuple[str, str] | None = None, is_descending: bool = False
    ) -> Iterator[Record]:
        """Yield the records of a group in order, from the first one beyond `after` on."""
        entries = self._groups.get(group, [])
        if is_descending:
            chosen = range((len(entries) if after is None else bisect_left(entries, after)) - 1, -1, -1)
        else:
            chosen = range(0 if after is None else bisect_right(entries, after), len(entries))
        for number in chosen:
            place, key = entries[number]
            record = self._collection.current(key)
            if record is not None and (group, place) in self._places(record):
                yield record

    def present(self, group: str) -> list[Record]:
        """Return the records of a group, without tombstones."""
        known = self._present.get(group)
        if known is None or known[0] != self._seen_count:
            known = (self._seen_count, [record for record in self.walk(group) if not record.is_dropped])
            self._present[group] = known
        return known[1]
