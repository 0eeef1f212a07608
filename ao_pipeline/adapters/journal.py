"""The cycle journal: one JSON line a cycle in a size-bounded file, for whoever tails or ships logs."""

from __future__ import annotations

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
        logger: structlog.typing.FilteringBoundLogger = cycle_logger(stream)
        logger.info(**fields)
