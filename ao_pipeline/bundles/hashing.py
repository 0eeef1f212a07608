"""Row hashes and state hashes, defined byte for byte in `docs/hash-format.md`.

Invariants:
1. The encoding of a row is injective within a table (`test_different_rows_have_different_bytes`).
2. A NULL in a column added at the end leaves every hash as it was (`test_a_new_null_column_moves_no_hash`).
3. The state hash depends on the rows, not on their order (`test_order_does_not_matter`).
4. Both databases give the same hashes (`test_hashes_are_the_same_on_both_databases`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ao_pipeline.bundles.schema import ARROW_TYPES, TEXT_TYPES, Column, ColumnType, TableSpec
from ao_pipeline.errors import ContractError

Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Digests = npt.NDArray[np.uint64]
"""Shape (rows, 2): high and low half of each 128-bit hash."""

ROWS_PER_CHUNK: Final = 8_192
"""Rows whose words are built at a time: bounds the extra memory. Fewer cost more calls a column, more leave the cache."""

ROWS_PER_JOIN: Final = 1_024
"""Rows whose bytes are put together at a time: they stay in the cache until they are hashed, which halves the time."""

_CANONICAL_NAN: Final = np.uint64(0x7FF8_0000_0000_0000)
_MODULUS: Final = 1 << 128
_EMPTY: Final = pa.scalar(b"", pa.large_binary())
_LOW_32: Final = np.uint64(0xFFFF_FFFF)
_SHIFT_32: Final = np.uint64(32)


@dataclass(frozen=True)
class StateHash:
    """Sum of the row hashes modulo 2^128: proves equality of two states, does not resist a forger (the seal does)."""

    value: int = 0

    @classmethod
    def of(cls, digests: Digests) -> StateHash:
        """Return the state hash of the rows with these digests."""
        return cls(_sum(digests))

    @classmethod
    def from_hex(cls, text: str) -> StateHash:
        return cls(int(text, 16))

    def plus(self, digests: Digests) -> StateHash:
        """Return the hash after rows with these digests came in."""
        return StateHash((self.value + _sum(digests)) % _MODULUS)

    def minus(self, digests: Digests) -> StateHash:
        """Return the hash after rows with these digests went out."""
        return StateHash((self.value - _sum(digests)) % _MODULUS)

    @property
    def hex(self) -> str:
        """32 lower-case hexadecimal digits."""
        return f"{self.value:032x}"


def row_digests(spec: TableSpec, table: pa.Table) -> Digests:
    """Return the 128-bit hash of every row of `table`, which has the shape of `spec`.

    Raises:
        ContractError: The table does not have the shape of `spec`.
    """
    return _digests(spec.all_columns, table)


def key_digests(spec: TableSpec, table: pa.Table) -> Digests:
    """Return the 128-bit hash of every row's key; other columns may be absent."""
    return _digests(spec.key, table)


def encode_rows(columns: tuple[Column, ...], table: pa.Table) -> pa.LargeBinaryArray:
    """Return the canonical bytes of each row over `columns`: presence word, one word a present value, text bytes."""
    return _join(_parts(columns, table))


def _digests(columns: tuple[Column, ...], table: pa.Table) -> Digests:
    _require_shape(columns, table)
    digest = xxhash.xxh3_128_digest
    digests: list[bytes] = []
    for start in range(0, table.num_rows, ROWS_PER_CHUNK):
        parts = _parts(columns, table.slice(start, ROWS_PER_CHUNK))
        for first in range(0, len(parts[0]), ROWS_PER_JOIN):
            rows = _join([part.slice(first, ROWS_PER_JOIN) for part in parts])
            digests.extend(map(digest, rows.to_numpy(zero_copy_only=False)))
    halves = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)
    return halves.reshape(-1, 2)


def _parts(columns: tuple[Column, ...], table: pa.Table) -> list[pa.Array]:
    """Return what each row's bytes are joined from: presence word and words, then one text after the other."""
    named = dict(zip(table.column_names, table.columns, strict=True))
    arrays = [single(named[column.name]) for column in columns]
    heads = _heads(*_words(columns, arrays))
    texts = [values for column, values in zip(columns, arrays, strict=True) if column.type in TEXT_TYPES]
    return [heads, *(values.view(pa.large_binary()) for values in texts)]


def _join(parts: list[pa.Array]) -> pa.LargeBinaryArray:
    if len(parts) == 1:
        return parts[0]
    return pc.binary_join_element_wise(*parts, _EMPTY, null_handling="replace", null_replacement="")


def _require_shape(columns: tuple[Column, ...], table: pa.Table) -> None:
    types = {field.name: field.type for field in table.schema}
    wrong = [column.name for column in columns if types.get(column.name) != ARROW_TYPES[column.type]]
    if wrong:
        raise ContractError(f"columns {wrong} are missing or have a foreign type; pass the rows through `conform`")


def _words(columns: tuple[Column, ...], arrays: list[pa.Array]) -> tuple[Words, Flags]:
    """Return each row's presence word and one word a column, and which of them are there."""
    rows = len(arrays[0])
    words = np.empty((rows, len(columns) + 1), dtype=np.uint64)
    present = np.ones(words.shape, dtype=np.bool_)
    for position, (column, values) in enumerate(zip(columns, arrays, strict=True), start=1):
        words[:, position] = _column_words(column, values)
        if values.null_count:
            present[:, position] = validity(values)
    presence = np.zeros((rows, 8), dtype=np.uint8)
    packed = np.packbits(present[:, 1:], axis=1, bitorder="little")
    presence[:, : packed.shape[1]] = packed
    words[:, 0] = presence.view("<u8")[:, 0]
    return words, present


def validity(values: pa.Array) -> Flags:
    """Tell which values are there."""
    return _bits(values, 0) if values.null_count else np.ones(len(values), dtype=np.bool_)


def _bits(values: pa.Array, buffer: int) -> Flags:
    """View one of the array's bitmaps: 0 says which values are there, 1 holds the values of booleans."""
    if not len(values):
        return np.zeros(0, dtype=np.bool_)
    first, shift = divmod(values.offset, 8)
    bitmap = np.frombuffer(values.buffers()[buffer], np.uint8, offset=first)
    bits = np.unpackbits(bitmap, count=shift + len(values), bitorder="little")
    return bits[shift:].view(np.bool_)


def _column_words(column: Column, values: pa.Array) -> Words:
    """Return a word for each value. What stands in the place of a NULL does not matter: `_heads` drops it."""
    match column.type:
        case ColumnType.TEXT | ColumnType.JSON | ColumnType.DECIMAL:
            return np.diff(_buffer(values, np.dtype(np.int64), extra=1)).view(np.uint64)
        case ColumnType.FLOAT:
            floats = _buffer(values, np.dtype(np.float64)) + 0.0  # Adding +0.0 turns -0.0 into +0.0.
            return np.where(np.isnan(floats), _CANONICAL_NAN, floats.view(np.uint64))
        case ColumnType.BOOL:
            return _bits(values, 1).astype(np.uint64)
        case ColumnType.INT | ColumnType.INSTANT:
            return _buffer(values, np.dtype(np.int64)).view(np.uint64)
        case ColumnType.DATE:
            return _buffer(values, np.dtype(np.int32)).astype(np.int64).view(np.uint64)
        case _:  # A new type without an encoding must not hash as something else.
            raise ContractError(f"column {column.name} has type {column.type!r}, which has no byte encoding")


def _buffer(values: pa.Array, dtype: np.dtype[Any], *, extra: int = 0) -> npt.NDArray[Any]:
    """View the array's numbers (for texts: its offsets, one more than values) without a copy."""
    if not len(values):
        return np.zeros(extra, dtype=dtype)
    return np.frombuffer(values.buffers()[1], dtype, count=len(values) + extra, offset=values.offset * dtype.itemsize)


def _heads(words: Words, present: Flags) -> pa.LargeBinaryArray:
    """Drop absent words, then view each row's remaining words as one binary value."""
    rows = len(words)
    flat = words[present].astype("<u8", copy=False)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(8 + 8 * np.bitwise_count(words[:, 0]).astype(np.int64), out=offsets[1:])
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(flat)])


def single(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    return values


def _sum(digests: Digests) -> int:
    """Add 128-bit integers exactly through 32-bit limbs; a limb's sum fits 64 bits below 2^32 rows."""
    if not len(digests):
        return 0
    high, low = digests[:, 0], digests[:, 1]
    limbs = (low & _LOW_32, low >> _SHIFT_32, high & _LOW_32, high >> _SHIFT_32)
    total = sum(int(limb.sum(dtype=np.uint64)) << (32 * position) for position, limb in enumerate(limbs))
    return total % _MODULUS
