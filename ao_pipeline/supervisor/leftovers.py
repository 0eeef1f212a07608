"""What a power cut leaves in the data folder: files that were never given their name. Removed before anything starts.

Everything else reconciles itself: runs and their beats by the sensor `recover`, open cycles by the catch-up, leases by their age,
processes by their mark. A beat is evidence of a dead run, so it is not removed here.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

PARTIAL: Final = ".partial"
"""Suffix of a file before its rename; only one supervisor uses a data folder, so at its start nobody writes one."""

FOLDERS: Final = ("supervisor", "dagster_home")


def remove_leftovers(data_path: Path) -> list[str]:
    """Remove half-written files; return their names. A file that cannot be removed stays: nothing reads it."""
    removed = []
    for folder in FOLDERS:
        for path in sorted((data_path / folder).glob(f"*{PARTIAL}")):
            with suppress(OSError):
                path.unlink()
                removed.append(f"{folder}/{path.name}")
    return removed
