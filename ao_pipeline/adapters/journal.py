"""The cycle journal: one JSON line a cycle in a size-bounded file, for whoever tails or ships logs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from ao_pipeline.observability.logs import cycle_logger

MAX_BYTES: Final = 10 << 20
KEPT_FILES: Final = 5


def append_cycle(folder: Path, fields: Mapping[str, Any]) -> None:
    """Append one line to `cycles.jsonl` in `folder`; older lines move to `cycles.jsonl.1` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cycles.jsonl"
    if path.exists() and path.stat().st_size > MAX_BYTES:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))
    with path.open("a", encoding="utf-8") as stream:
        if not _ends_with_a_line(path):
            stream.write("\n")  # A power cut left half a line; this one must not become part of it.
        logger: structlog.typing.FilteringBoundLogger = cycle_logger(stream)
        logger.info(**fields)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
