"""Write the rows of a table to a Parquet file: temporary name, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ao_pipeline.errors import ConfigError, PermanentError


def export_parquet(rows: pa.Table, path: Path, *, facts: Mapping[str, str], overwrite: bool = False) -> int:
    """Write `rows` to `path`, which appears complete or not at all.

    Args:
        rows: What to write.
        path: The file.
        facts: What the rows are; kept in the file's schema metadata.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        The file's size in bytes.

    Raises:
        ConfigError: The file is there, or its folder is not.
        PermanentError: The disk refused. The file is as it was before.
    """
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already; name another file or use --overwrite")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is not a folder; make it first")
    metadata = {name.encode(): value.encode() for name, value in facts.items()}
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                pq.write_table(rows.replace_schema_metadata(metadata), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}") from error
    return path.stat().st_size
