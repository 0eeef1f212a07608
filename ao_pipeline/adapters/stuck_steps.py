"""Which steps have already cost a run its process: a file each, so that the run's retry leaves them out instead of dying again.

One that could not be interrupted is known at once. One that a process died in may be innocent, for anybody may kill a process;
when a second one died in the same step, it is not. A folder that cannot be written loses marks, never a step.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_MARKS: Final = 100
"""Files kept; a run's retries follow within minutes, so the oldest are of no use any more."""


def mark_stuck(folder: Path, *, root_run: str, asset: str) -> None:
    """Remember that a step could not be interrupted in this run or the run that it retries."""
    folder.mkdir(parents=True, exist_ok=True)
    _path(folder, root_run, asset).touch()
    _forget_oldest(folder)


def is_stuck(folder: Path, *, root_run: str, asset: str) -> bool:
    """Tell whether the step was marked."""
    return _path(folder, root_run, asset).exists()


def enter_step(folder: Path, *, root_run: str, asset: str) -> int:
    """Remember that a process begins a step; return how many processes of the run have died in it."""
    mark = _at_work(folder, root_run, asset)
    died = 0
    with suppress(OSError, ValueError):
        died = int(mark.read_text(encoding="ascii"))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(str(died + 1), encoding="ascii")
        if died:
            _forget_oldest(folder)
    return died


def leave_step(folder: Path, *, root_run: str, asset: str) -> None:
    """Forget that a process was in a step: it ended, well or not."""
    with suppress(OSError):
        _at_work(folder, root_run, asset).unlink(missing_ok=True)


def _forget_oldest(folder: Path) -> None:
    for mark in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-MAX_MARKS]:
        mark.unlink(missing_ok=True)


def _at_work(folder: Path, root_run: str, asset: str) -> Path:
    return folder / f"{root_run}.{asset.replace('/', '__')}.at_work"


def _path(folder: Path, root_run: str, asset: str) -> Path:
    return folder / f"{root_run}.{asset.replace('/', '__')}"
