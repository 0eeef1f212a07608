"""What Dagster shows of a bundle: identity, counts that plot, and a bounded preview. The bundle itself stays in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from ao_pipeline.adapters.state.model import Receipt
from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.bundles.schema import TableSpec

MAX_NOTE_CHARACTERS = 2_000
"""Longest JSON note kept in metadata: Dagster stores each about four times."""


def materialize_result(receipt: Receipt) -> dg.MaterializeResult[None]:
    """Report a bundle: its data version is the state hash, so Dagster's staleness is exact."""
    metadata = header_metadata(receipt.header)
    if receipt.is_replay:
        metadata["ao/replayed"] = True
    if receipt.preview.num_rows:
        metadata["ao/changes"] = _preview(receipt)
    return dg.MaterializeResult(
        metadata=metadata,
        data_version=dg.DataVersion(receipt.header.state_hash_after),
        tags=_tags(receipt.header),
    )


def materialization(header: BundleHeader, description: str, *, partition: str | None = None) -> dg.AssetMaterialization:
    """Return the event of a bundle that is not the result of a step of its own; by default for its newest cycle."""
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey(header.asset.split("/")),
        partition=partition or header.cycle,
        description=description,
        metadata=header_metadata(header),
        tags={"dagster/data_version": header.state_hash_after, **_tags(header)},
    )


def header_metadata(header: BundleHeader) -> dict[str, Any]:
    """Return what is shown of a bundle: identity, hashes, and counts that plot."""
    stats: dict[str, Any] = json.loads(header.stats)
    metadata: dict[str, Any] = {
        "dagster/row_count": header.row_count_after,
        "ao/bundle": header.bundle_id,
        "ao/kind": header.kind,
        "ao/seq": header.seq,
        "ao/parent": header.parent_seal[:16],
        "ao/state_hash": header.state_hash_after,
        "ao/state_hash_before": header.state_hash_before,
        "ao/rows_inserted": header.rows_inserted,
        "ao/rows_updated": header.rows_updated,
        "ao/rows_deleted": header.rows_deleted,
        "ao/payload_bytes": header.payload_bytes,
        "ao/duration_ms": header.duration_ms,
    }
    metadata |= {f"ao/{name}": _note(value) for name, value in stats.items()}
    if header.kind == BundleKind.REVERT:
        metadata["ao/restored_bundle"] = header.target_id
    if header.reason:
        metadata["ao/reason"] = header.reason
    return metadata


def _tags(header: BundleHeader) -> dict[str, str]:
    return {"ao/bundle": header.bundle_id, "ao/kind": header.kind}


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """Return the table's columns for the UI."""
    keys = set(spec.key_names)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type.value,
                description=column.description or None,
                constraints=dg.TableColumnConstraints(nullable=column.name not in keys),
            )
            for column in spec.all_columns
        ]
    )


def _preview(receipt: Receipt) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({name: value if value is not None else "" for name, value in row.items()})
        for row in receipt.preview.to_pylist()
    ]
    columns = [dg.TableColumn(name) for name in receipt.preview.column_names]
    return dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))


def _note(value: Any) -> Any:
    if isinstance(value, (int, float, str, bool)):
        return value
    if isinstance(value, Mapping) and not value:
        return "none"
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= MAX_NOTE_CHARACTERS else text[: MAX_NOTE_CHARACTERS - 1] + "…"
