"""Read what changed in the folder, up to a bound, and remember how far: the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ao_pipeline import clock
from ao_pipeline.adapters.files_source.folder import Found, content_digest
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.batch import Batch, Key, Record, Row
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.values import BadValueError

_UNREADABLE: Final = "unreadable"
"""Field of a record that stands for something that could not be read as one."""

ORIGIN: Final = "files"
"""Mark of a cursor that belongs to files: an upstream's own cursor means nothing here, and the other way round."""


@dataclass(frozen=True)
class Limits:
    """How much one collection takes; what is left comes with the next cycles.

    Attributes:
        rows: Items; a first archive of 100,000 mails takes five cycles.
        text_bytes: Their text. Rows, their Arrow form and their hashes are in memory at once, some five times this.
        seconds: Time; the commit comes after it.
    """

    rows: int = 20_000
    text_bytes: int = 32 << 20
    seconds: float = 90.0


@dataclass(frozen=True)
class FilesRequest:
    """One collection from files.

    Attributes:
        root: The folder.
        zone: The organisation's time zone: days and floating times are in it.
        cursor: What the last committed collection of this asset left.
        stored_keys: Reads the key columns of all stored rows.
        now: The cycle's end.
        limits: Bounds of this collection.
        monotonic: Measures durations.
    """

    root: Path
    zone: tzinfo
    cursor: Mapping[str, Any] | None
    stored_keys: Callable[[], pa.Table]
    now: datetime
    limits: Limits = field(default_factory=Limits)
    monotonic: Callable[[], float] = clock.monotonic_seconds

    @property
    def known(self) -> dict[str, dict[str, Any]]:
        """What the cursor remembers of each file, in the order in which they were first seen."""
        if not is_files_cursor(self.cursor) or self.cursor is None:
            return {}
        return {str(entry["name"]): dict(entry) for entry in self.cursor["files"]}


def is_files_cursor(cursor: Mapping[str, Any] | None) -> bool:
    """Return whether a cursor was written by a collection from files."""
    return cursor is not None and cursor.get("origin") == ORIGIN


class Intake:
    """Rows of one table out of many files: a batch that counts what comes twice and knows when it is full."""

    def __init__(
        self, request: FilesRequest, spec: TableSpec, contract: RecordContract, parse: Callable[[Record], Row]
    ) -> None:
        self.drift = Drift()
        self.spec = spec
        self.deleted: set[Key] = set()
        self._keys: set[Key] = set()
        self._key_field = contract.key_field
        contract = replace(contract, known_fields=contract.known_fields | {_UNREADABLE})
        self._batch = Batch(spec, contract, partial(_parse_or_refuse, parse), self.drift)
        self._limits = request.limits
        self._request = request
        self._started = request.monotonic()
        self._text_bytes = 0
        self._items = 0

    def add(self, record: Record, *, size: int, scope: Mapping[str, str] | None = None) -> Key | None:
        """Take one item in; None when it was quarantined. A key that comes again counts as `repeated`.

        Args:
            record: The item.
            size: Bytes of text that it brings, roughly.
            scope: Key columns that the file decides.
        """
        known = len(self._keys) + len(self._batch.quarantined_keys)
        key = self._batch.add(record, scope=scope)
        if key is not None:
            self._keys.add(key)
        if len(self._keys) + len(self._batch.quarantined_keys) == known:
            self.count("repeated")
        if key is not None:
            self.deleted.discard(key)
        self._items += 1
        self._text_bytes += size
        return key

    def refuse(self, unit: Found, number: int, problem: str, *, item: Any = None) -> None:
        """Quarantine what is no item at all, or the rest of a file that cannot be read on.

        Args:
            unit: Its file.
            number: Its place in the file.
            problem: Why.
            item: What is there.
        """
        record = {self._key_field: f"{unit.name}#{number}", _UNREADABLE: problem}
        self.add(record if item is None else {**record, "item": str(item)[:2000]}, size=len(problem))
        self.count("unreadable")

    def delete(self, key: Key) -> None:
        """Take out a row that its file says is gone, also one that was taken in before; a later item brings it back."""
        self.deleted.add(key)

    def count(self, name: str) -> None:
        """Count a surprise."""
        self.drift.add(f"files.{name}")

    def is_full(self) -> bool:
        """Return whether the rest waits for the next cycle."""
        return (
            self._items >= self._limits.rows
            or self._text_bytes >= self._limits.text_bytes
            or self._request.monotonic() - self._started >= self._limits.seconds
        )

    def _without(self, keys: set[Key]) -> pa.Table:
        rows = self._batch.table()
        if not keys:
            return rows
        columns = [rows.column(name).to_pylist() for name in self.spec.key_names]
        return rows.filter(pa.array([key not in keys for key in zip(*columns, strict=True)], pa.bool_()))

    def collected(self, cursor: Cursor, *, files: int) -> Collected:
        """Return the outcome: always partial, for a folder that lacks something proves nothing."""
        deleted = self.deleted - self._batch.quarantined_keys
        return Collected(
            rows=self._without(self.deleted & self._keys),
            is_full=False,
            deleted=_key_table(self.spec, deleted),
            cursor=cursor,
            quarantined=self._batch.quarantined,
            drift=self.drift.counts,
            pages=files,
        )


def _parse_or_refuse(parse: Callable[[Record], Row], record: Record) -> Row:
    if _UNREADABLE in record:
        raise BadValueError(str(record[_UNREADABLE]))
    return parse(record)


Reader = Callable[[Found, int, Intake], Iterator[int]]
"""Reads a unit from a position on; takes in one item per step and yields the position behind it."""


def collect_changed(request: FilesRequest, units: Sequence[Found], intake: Intake, read: Reader) -> Collected:
    """Read every new or changed unit into `intake`, as far as its limits go.

    Invariants:
        1. A unit whose content is the remembered one is not read.
        2. A unit counts as read when its last item was taken in; until then the cursor holds the position.
        3. Units that vanished are forgotten, their rows stay.
    """
    known = request.known
    entries: list[dict[str, Any]] = []
    files = 0
    for unit in in_order(units, known):
        entry = _entry(unit, known.get(unit.name))
        if entry["next"] is None or intake.is_full():
            entries.append(entry)
            continue
        files += 1
        begin = int(entry["next"])
        entry["next"] = None
        for position in read(unit, begin, intake):
            if intake.is_full():
                entry["next"] = position
                break
        entries.append(entry)
    cursor: Cursor = {"origin": ORIGIN, "generation": 1, "files": entries}
    return intake.collected(cursor, files=files)


def in_order(units: Sequence[Found], known: Mapping[str, Any]) -> list[Found]:
    """Return units in the order in which they were first seen; new ones at the end, by name."""
    places = {name: place for place, name in enumerate(known)}
    return sorted(units, key=lambda unit: (places.get(unit.name, len(places)), unit.name))


def _entry(unit: Found, old: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is to be remembered of a unit; `next` is where to read on, None when it has been read."""
    fresh: dict[str, Any] = {"name": unit.name, "size": unit.size_bytes, "modified": unit.modified_ns, "next": 0}
    if old is not None and (old["size"], old["modified"]) == (unit.size_bytes, unit.modified_ns) and not unit.mapping:
        return {**fresh, "digest": old["digest"], "next": old["next"]}
    digest = content_digest(unit)
    if old is not None and old["digest"] == digest:
        return {**fresh, "digest": digest, "next": old["next"]}
    return {**fresh, "digest": digest}


def _key_table(spec: TableSpec, keys: set[Key]) -> pa.Table:
    ordered = sorted(keys)
    columns = [pa.array([key[i] for key in ordered], kind.type) for i, kind in enumerate(spec.key_schema)]
    return pa.table(columns, schema=spec.key_schema)
