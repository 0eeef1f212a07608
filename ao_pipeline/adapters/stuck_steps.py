"""Which steps have already cost a run its process: a file each, so that the run's retry leaves them out instead of hanging again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAX_MARKS: Final = 100
"""Files kept; a run's retries follow within minutes, so the oldest are of no use any more."""


def mark_stuck(folder: Path, *, root_run: str, asset: str) -> None:
    """Remember that a step could not be interrupted in this run or the run that it retries."""
    folder.mkdir(parents=True, exist_ok=True)
    _path(folder, root_run, asset).touch()
    for mark in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-MAX_MARKS]:
        mark.unlink(missing_ok=True)


def is_stuck(folder: Path, *, root_run: str, asset: str) -> bool:
    """Tell whether the step was marked."""
    return _path(folder, root_run, asset).exists()


def _path(folder: Path, root_run: str, asset: str) -> Path:
    return folder / f"{root_run}.{asset.replace('/', '__')}"
