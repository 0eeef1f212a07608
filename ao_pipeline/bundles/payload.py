"""A bundle's payload: before and after images of the changed rows, as one zstd frame around an Arrow IPC stream.

An update keeps the whole row before, and after it only the cells that changed: `ao_changed` has one bit a column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from ao_pipeline.bundles.changes import ChangeSet, HashedRows
from ao_pipeline.bundles.hashing import Flags, Words, key_digests, row_digests
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

BYTES_WORTH_A_THREAD: Final = 256 << 10
"""From this size on, compressing takes longer than it takes to begin and end a thread."""

MAX_PAYLOAD_BYTES: Final = 8 << 30
"""Refuse to unpack more: a damaged length must not take the machine's memory."""


def lay_out(spec: TableSpec, changes: ChangeSet) -> pa.Buffer:
    """Return the payload of `changes` before compression: an Arrow stream, or no bytes when nothing changed."""
    if not changes.count:
        return pa.py_buffer(b"")
    sizes = [len(changes.inserted), len(changes.updated_after), len(changes.deleted)]
    inserted, before = changes.inserted.table, changes.updated_before.table
    deleted, after = changes.deleted.table, changes.updated_after.table
    columns: dict[str, pa.ChunkedArray | pa.Array] = {
        "ao_operation": pa.array(np.repeat(np.array([INSERT, UPDATE, DELETE], dtype=np.int8), sizes))
    }
    for name in spec.key_names:
        columns[name] = _stacked(inserted.column(name), after.column(name), deleted.column(name))
    changed = np.zeros(changes.count, dtype=np.uint64)
    updated = changed[sizes[0] : sizes[0] + sizes[1]]
    for position, column in enumerate(spec.columns):
        old, new = before.column(column.name), after.column(column.name)
        differs = changes.differing[column.name]
        updated |= differs.astype(np.uint64) << np.uint64(position)
        columns[_BEFORE + column.name] = _stacked(pa.nulls(sizes[0], old.type), old, deleted.column(column.name))
        columns[_AFTER + column.name] = _stacked(
            inserted.column(column.name), _where(differs, new), pa.nulls(sizes[2], new.type)
        )
    columns["ao_changed"] = pa.array(changed)
    return _stream(pa.table(columns).replace_schema_metadata({b"ao": _FORMAT}))


@contextmanager
def encoding(spec: TableSpec, changes: ChangeSet) -> Iterator[Callable[[], bytes]]:
    """Compress the payload of `changes` beside what is done inside; yields a function that returns it afterwards.

    Compressing needs no interpreter lock, so a database that is written to meanwhile is not slowed down.
    """
    stream = lay_out(spec, changes)
    if stream.size < BYTES_WORTH_A_THREAD:
        yield partial(pack, stream)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        packed = pool.submit(pack, stream)
        yield packed.result


def pack(stream: pa.Buffer) -> bytes:
    """Compress what `lay_out` returned."""
    if not stream.size:
        return b""
    packed = pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(stream)
    payload: bytes = stream.size.to_bytes(8, "little") + packed.to_pybytes()
    return payload


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


def _where(differs: Flags, new: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return only the cells that differ, NULL in place of the others."""
    if not differs.any():  # Most columns of most changes.
        return pa.nulls(len(new), new.type)
    return pc.if_else(pa.array(differs), new, pa.scalar(None, new.type))


def _stacked(*parts: pa.ChunkedArray | pa.Array) -> pa.Array:
    arrays: list[pa.Array] = []
    for part in parts:
        arrays.extend(part.chunks if isinstance(part, pa.ChunkedArray) else [part])
    return pa.concat_arrays(arrays)


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


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
