"""Write bundles as files that anybody can check without this project: one folder an asset, complete or not there at all.

The files are described in `docs/hash-format.md`, section 8. What is stored is written as it is: a damaged bundle is exported
damaged, and its verification says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.header import BundleHeader, header_from, layout_of
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConfigError, PermanentError, UnknownNameError

EXPORT_FORMAT: Final = "ao-export-1"


@dataclass(frozen=True)
class ExportedAsset:
    """One asset's part of an export."""

    asset: str
    folder: str
    bundles: int
    payload_bytes: int
    layout_sha256: str


def export_bundles(
    store: StateStore, specs: Sequence[TableSpec], folder: Path, *, since: Cycle | None = None, with_table: bool = False
) -> list[ExportedAsset]:
    """Write the bundles of `specs` to `folder`, which appears complete or not at all.

    Args:
        store: Where the bundles are.
        specs: Tables; each is read in one transaction.
        folder: Not there yet, or empty.
        since: Begin with the first bundle of this cycle or a later one; by default with the oldest.
        with_table: Write each table as of its head as well.

    Raises:
        ConfigError: The folder holds something, or the one around it is not there.
        UnknownNameError: An asset has no bundle.
        PermanentError: The disk refused. Nothing is left behind.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; name a folder that is new or empty")
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"{folder.absolute().parent} is not a folder; make it first")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
        try:
            exported = [_export_asset(store, spec, draft, since=since, with_table=with_table) for spec in specs]
            assets = {item.asset: [item.folder, item.layout_sha256] for item in exported}
            _write(draft / "export.json", _document({"format": EXPORT_FORMAT, "assets": assets}))
            _sync_folder(draft)
            draft.chmod(0o755)
            os.replace(draft, folder)
            _sync_folder(folder.absolute().parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise PermanentError(f"{folder} cannot be written: {error.strerror}") from error
    return exported


def _export_asset(
    store: StateStore, spec: TableSpec, root: Path, *, since: Cycle | None, with_table: bool
) -> ExportedAsset:
    folder = root / spec.name
    folder.mkdir()
    with store.database.read() as connection:
        head = history.read_head(connection, spec.asset)
        if head is None:
            raise UnknownNameError(f"{spec.asset} has no bundle; `ao log` shows the assets that have")
        headers = _headers(connection, spec, since=since)
        size = sum(_write_payload(connection, folder, header) for header in headers)
        digest = ""
        if with_table:
            pq.write_table(store.tables.read(connection, spec), folder / "table.parquet", compression="zstd")
            digest = _synced_digest(folder / "table.parquet")
    _write(folder / "bundles.jsonl", "".join(canonical_json(asdict(header)) + "\n" for header in headers).encode())
    layout = _document(
        {
            "asset": spec.asset,
            "table": spec.name,
            # The table may have columns that no bundle has written yet: those that the head knows count.
            "columns": json.loads(head.layout) if not with_table else json.loads(layout_of(spec)),
            "first_seq": headers[0].seq if headers else head.seq + 1,
            "since": "" if since is None else since.key,
            "head": {
                "seq": head.seq,
                "seal": head.seal,
                "state_hash": head.state_hash,
                "row_count": head.row_count,
            },
            "table_sha256": digest,
        }
    )
    _write(folder / "layout.json", layout)
    _sync_folder(folder)
    return ExportedAsset(spec.asset, spec.name, len(headers), size, hashlib.sha256(layout).hexdigest())


def _headers(connection: sa.Connection, spec: TableSpec, *, since: Cycle | None) -> list[BundleHeader]:
    query = sa.select(BUNDLE).where(BUNDLE.c.asset == spec.asset).order_by(BUNDLE.c.seq)
    headers = [header_from(dict(row._mapping)) for row in connection.execute(query)]
    if since is not None:
        begins = (position for position, header in enumerate(headers) if header.cycle >= since.key)
        headers = headers[next(begins, len(headers)) :]
    return headers


def _write_payload(connection: sa.Connection, folder: Path, header: BundleHeader) -> int:
    query = sa.select(BUNDLE_PAYLOAD.c.payload).where(BUNDLE_PAYLOAD.c.bundle_id == header.bundle_id)
    stored = connection.execute(query).scalar_one_or_none()
    if stored is None:
        return 0
    payload = bytes(stored)
    _write(folder / f"{header.seq}-{header.bundle_id}.payload", payload)
    return len(payload)


def _document(value: dict[str, Any]) -> bytes:
    return canonical_json(value).encode() + b"\n"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _synced_digest(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
