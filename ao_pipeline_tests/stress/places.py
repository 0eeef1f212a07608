"""Folders for databases under test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
"""Where Linux keeps files in memory. A history proves what is written, not that it outlives a power cut: it need not wait for a disk."""


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one; gone afterwards. Not for anything that is killed."""
    with _folder(MEMORY if MEMORY.is_dir() else None) as folder:
        yield folder


@contextmanager
def disk_folder() -> Iterator[Path]:
    """A folder on a disk; gone afterwards."""
    with _folder(None) as folder:
        yield folder


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ao_stress_", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
