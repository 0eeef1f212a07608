"""Gather parsed records column by column into one Arrow table; set the bad ones aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.result import MAX_PAYLOAD_BYTES, Drift, Quarantined
from ao_pipeline.collect.values import BadValueError, clean_json, clean_text

Record = Mapping[str, Any]
Row = dict[str, Any]
Key = tuple[str, ...]


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
        self._columns: dict[str, list[Any]] = {name: [] for name in spec.column_names}
        self._positions: dict[Key, int] = {}
        self._quarantined: dict[str, Quarantined] = {}
        self.quarantined_keys: set[Key] = set()

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        return tuple(self._quarantined.values())

    @property
    def keys(self) -> set[Key]:
        """Keys of the rows."""
        return set(self._positions)

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
        key = tuple(row[name] for name in self._spec.key_names)
        position = self._positions.get(key)
        if position is None:
            self._positions[key] = len(self._positions)
            for name, values in self._columns.items():
                values.append(row[name])
        else:
            for name, values in self._columns.items():
                values[position] = row[name]
        return key

    def table(self) -> pa.Table:
        """Return the rows in the table's Arrow schema."""
        schema = self._spec.arrow_schema
        return pa.table([pa.array(self._columns[field.name], field.type) for field in schema], schema=schema)

    def _set_aside(self, record: Record, scope: Mapping[str, str], reason: str) -> None:
        raw_key = record.get(self._contract.key_field) if isinstance(record, dict) else None
        own_key = clean_text(str(raw_key))[:200] if isinstance(raw_key, (str, int)) else "?"
        self.quarantined_keys.add((*scope.values(), own_key))
        label = "/".join((*scope.values(), own_key))
        self._quarantined[label] = Quarantined(
            record_key=label, reason=f"{self._contract.name}: {clean_text(reason)[:500]}", payload=_payload(record)
        )


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
