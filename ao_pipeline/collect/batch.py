"""Gather parsed records into one Arrow table, a portion at a time; set the bad ones aside.

Python's objects take five times the room of Arrow's columns, so no more than `CHUNK_ROWS` rows are held as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.result import MAX_PAYLOAD_BYTES, Drift, Quarantined
from ao_pipeline.collect.values import BadValueError, clean_json, clean_text

Record = Mapping[str, Any]
Row = dict[str, Any]
Key = tuple[str, ...]

CHUNK_ROWS: Final = 2_000
"""Rows that are turned into Arrow columns at once. Far fewer cost time, far more hold memory as Python objects."""

_PLACE: Final = "place in the batch"


class Batch:
    """Rows of one table from many records.

    Invariants:
        1. Each key appears once; the record that came last wins.
        2. A record ends as one row or as one quarantined entry, never as an exception.
    """

    def __init__(self, spec: TableSpec, contract: RecordContract, parse: Callable[[Record], Row], drift: Drift) -> None:
        self._spec = spec
        self._contract = contract
        self._parse = parse
        self._drift = drift
        self._open: dict[str, list[Any]] = {name: [] for name in spec.column_names}
        self._closed: list[pa.Table] = []
        self._is_distinct = True
        self._quarantined: dict[str, Quarantined] = {}
        self.quarantined_keys: set[Key] = set()

    def __len__(self) -> int:
        return int(self.table().num_rows)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        return tuple(self._quarantined.values())

    @property
    def keys(self) -> set[Key]:
        """Keys of the rows."""
        columns = [self.table().column(name).to_pylist() for name in self._spec.key_names]
        return set(zip(*columns, strict=True))

    def add(self, record: Record, *, scope: Mapping[str, str] | None = None) -> Key | None:
        """Take one record in.

        Args:
            record: The vendor's object.
            scope: Columns that the request decided, such as the mailbox; also part of the record's key.

        Returns:
            The row's key, None when the record was quarantined.
        """
        scope = scope or {}
        try:
            cleaned: Record = clean_json(record)
            for name in self._contract.drift(cleaned):
                self._drift.add(name)
            self._contract.require(cleaned)
            row = {**self._parse(cleaned), **scope}
        except BadValueError as error:
            self._set_aside(record, scope, str(error))
            return None
        for name, values in self._open.items():
            values.append(row[name])
        self._is_distinct = False
        if len(values) >= CHUNK_ROWS:
            self._close()
        return tuple(row[name] for name in self._spec.key_names)

    def absorb(self, other: Batch) -> None:
        """Take over what another batch of the same table holds; its records count as the later ones."""
        self._close()
        self._closed.append(other.table())
        self._is_distinct = False
        self._quarantined.update({entry.record_key: entry for entry in other.quarantined})
        self.quarantined_keys |= other.quarantined_keys

    def table(self) -> pa.Table:
        """Return the rows in the table's Arrow schema, in the order in which their keys came first."""
        self._close()
        if not self._is_distinct:
            rows = pa.concat_tables(self._closed) if self._closed else self._spec.empty()
            self._closed = [_last_of_each_key(rows, list(self._spec.key_names))]
            self._is_distinct = True
        return self._closed[0] if self._closed else self._spec.empty()

    def _close(self) -> None:
        """Turn the open rows into Arrow columns."""
        schema = self._spec.arrow_schema
        if self._open[schema.names[0]]:
            arrays = [pa.array(self._open[field.name], field.type) for field in schema]
            self._closed.append(pa.table(arrays, schema=schema))
            self._open = {name: [] for name in self._open}

    def _set_aside(self, record: Record, scope: Mapping[str, str], reason: str) -> None:
        raw_key = record.get(self._contract.key_field) if isinstance(record, dict) else None
        own_key = clean_text(str(raw_key))[:200] if isinstance(raw_key, (str, int)) else "?"
        self.quarantined_keys.add((*scope.values(), own_key))
        label = "/".join((*scope.values(), own_key))
        self._quarantined[label] = Quarantined(
            record_key=label, reason=f"{self._contract.name}: {clean_text(reason)[:500]}", payload=_payload(record)
        )


def _last_of_each_key(rows: pa.Table, names: list[str]) -> pa.Table:
    """Return each key's last row, at the place of its first."""
    places = pa.array(np.arange(rows.num_rows))
    keys = rows.select(names).append_column(_PLACE, places)
    found = keys.group_by(names).aggregate([(_PLACE, "min"), (_PLACE, "max")])
    if found.num_rows == rows.num_rows:
        return rows
    return rows.take(found.sort_by(f"{_PLACE}_min").column(f"{_PLACE}_max"))


def _payload(record: Record) -> str:
    try:
        text = canonical_json(_plain(clean_json(record)))
    except BadValueError:
        text = canonical_json({"unreadable": "nested too deeply"})
    return text.encode()[:MAX_PAYLOAD_BYTES].decode("utf-8", "ignore")


def _plain(value: Any) -> Any:
    """Replace what canonical JSON refuses (exact decimals, NaN, infinity) by its text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) < 2**64):
        return value
    return _number_text(value)


def _number_text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # An integer beyond Python's digit limit.
        return "number too long to print"
