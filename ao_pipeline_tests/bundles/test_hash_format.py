"""The vectors in `docs/hash-format.md` hold."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.hashing import StateHash, encode_rows, key_digests, row_digests
from ao_pipeline.bundles.header import HEADER_FIELDS, BundleHeader, header_from
from ao_pipeline.bundles.schema import ColumnType
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "hash-format.md").read_text(encoding="utf-8")
VECTORS: list[dict[str, Any]] = [
    json.loads(line) for line in DOCUMENT.split("```vectors\n")[1].split("```")[0].splitlines() if line.strip()
]
ROWS = [vector for vector in VECTORS if "row" in vector]


def value_of(kind: ColumnType, value: Any) -> Any:
    """Return a vector's JSON value as the value it stands for."""
    if kind is ColumnType.FLOAT:
        return float(value)
    if kind is ColumnType.INSTANT:
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if kind is ColumnType.DATE else value


def row_of(vector: dict[str, Any]) -> Row:
    """Return a vector's row with every column."""
    cells = vector["row"]
    return {
        column.name: value_of(column.type, cells[column.name]) if column.name in cells else None
        for column in EVERY_TYPE.all_columns
    }


@pytest.mark.parametrize("vector", ROWS, ids=[vector["why"] for vector in ROWS])
def test_a_row_of_the_document_has_its_bytes_and_hashes(vector: dict[str, Any]) -> None:
    table = conform(EVERY_TYPE, [row_of(vector)])

    assert encode_rows(EVERY_TYPE.all_columns, table)[0].as_py().hex() == vector["bytes"]
    assert StateHash.of(row_digests(EVERY_TYPE, table)).hex == vector["row_hash"]
    assert StateHash.of(key_digests(EVERY_TYPE, table)).hex == vector["key_hash"]


def test_the_state_hash_of_the_rows_of_the_document_is_the_one_it_gives() -> None:
    (vector,) = [vector for vector in VECTORS if "state_hash" in vector]
    rows = {tuple(row["row"][name] for name in EVERY_TYPE.key_names): row_of(row) for row in ROWS}
    summed = sum(int(row["row_hash"], 16) for row in ROWS) % 2**128

    assert len(rows) == len(ROWS)
    assert StateHash.of(row_digests(EVERY_TYPE, conform(EVERY_TYPE, list(rows.values())))).hex == vector["state_hash"]
    assert f"{summed:032x}" == vector["state_hash"]


def test_the_header_of_the_document_has_its_seal() -> None:
    (vector,) = [vector for vector in VECTORS if "header" in vector]

    header = header_from(vector["header"] | {"seal": vector["seal"]})

    assert canonical_json(vector["header"]) == vector["canonical"]
    assert hashlib.sha256(vector["canonical"].encode()).hexdigest() == vector["seal"]
    assert header.computed_seal() == vector["seal"]
    assert header.bundle_id == vector["bundle_id"]


def test_the_document_names_every_header_field_and_every_type() -> None:
    assert all(f"`{name}`" in DOCUMENT for name in HEADER_FIELDS if name != "seal")
    assert all(f"| `{kind.value}` |" in DOCUMENT for kind in ColumnType)
    assert BundleHeader.__dataclass_fields__.keys() == set(HEADER_FIELDS)


def test_the_vectors_show_every_odd_value() -> None:
    floats = [float(vector["row"]["ratio"]) for vector in ROWS if "ratio" in vector["row"]]

    assert any(math.isnan(f) for f in floats)
    assert any(f == 0 and math.copysign(1, f) < 0 for f in floats)
    assert any(math.isinf(f) for f in floats)
