"""Tell the terminal when a cycle has ended, from the journal that every cycle writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ao_pipeline.supervisor.child import OnEvent


class CycleWatch:
    """Follows `cycles.jsonl` from where it ends now.

    Args:
        path: The journal; it need not be there yet.
        on_event: Gets one event a cycle.
    """

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        self._path = path
        self._on_event = on_event
        self._is_first = not path.exists()
        self._position = path.stat().st_size if path.exists() else 0

    def look(self) -> None:
        """Report the cycles that have ended since the last look."""
        for line in self._new_lines():
            fields = {
                "cycle": line.get("cycle_id"),
                "status": line.get("status"),
                "seconds": (line.get("duration_ms") or 0) / 1000,
            }
            self._on_event("first cycle materialized" if self._is_first else "cycle.finished", fields)
            self._is_first = False

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        try:
            size = self._path.stat().st_size
            if size == self._position:
                return
            start = self._position if size > self._position else 0  # Shorter than before: the journal was rotated.
            with self._path.open(encoding="utf-8", errors="replace") as stream:
                stream.seek(start)
                text = stream.read()
                self._position = stream.tell()
        except OSError:
            return  # A journal that cannot be read must not stop the supervisor; the next look tries again.
        for line in text.splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
