"""Dagster's own figures, read so that they can never break or delay the exporter.

A reading runs in a thread of its own; a failure is counted and logged, and the figures are then missing, not wrong.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from ao_pipeline.clock import monotonic_seconds, utc_now
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.observability.view import DagsterFigures

FRESH_SECONDS: Final = 10.0
"""A reading is used this long before the next one starts. Heartbeats come every 30 s, so faster tells no more."""

USABLE_SECONDS: Final = 60.0
"""Older figures are not shown: a queue depth of a minute ago would hide what happens now."""

WAIT_SECONDS: Final = 0.5
"""How long a scrape waits for a reading in progress before it takes the one before."""

_LIVE_STATUSES: Final = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")

_log: Any = structlog.get_logger("exporter")


class DagsterWatch:
    """Keeps the last good reading.

    Args:
        read: One reading; may raise anything and may hang.
    """

    def __init__(self, read: Callable[[], DagsterFigures]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._is_reading = False
        self._latest: DagsterFigures | None = None
        self._tried_at = float("-inf")
        self._good_at = float("-inf")
        self.failures = 0

    def figures(self, *, wait_seconds: float = WAIT_SECONDS) -> DagsterFigures | None:
        """Return the newest figures, None when there are none fresh enough. Takes at most `wait_seconds`."""
        with self._lock:
            if not self._is_reading and monotonic_seconds() - self._tried_at >= FRESH_SECONDS:
                self._is_reading = True
                self._tried_at = monotonic_seconds()
                self._done.clear()
                threading.Thread(target=self._refresh, name="dagster-figures", daemon=True).start()
            is_reading = self._is_reading
        if is_reading:
            self._done.wait(wait_seconds)
        with self._lock:
            return self._latest if monotonic_seconds() - self._good_at < USABLE_SECONDS else None

    def _refresh(self) -> None:
        latest: DagsterFigures | None = None
        try:
            latest = self._read()
        except Exception as error:  # noqa: BLE001 - the boundary: what Dagster raises is counted, logged, shown as missing.
            _log.warning("dagster_figures.failed", error=type(error).__name__, reason=redact_text(str(error)))
        with self._lock:
            self._is_reading = False
            if latest is None:
                self.failures += 1
            else:
                self._latest, self._good_at = latest, monotonic_seconds()
        self._done.set()


class InstanceReader:
    """Reads one Dagster instance; opened at the first reading and again after a failure.

    Args:
        home: Folder of its `dagster.yaml`.
        storage: Folder of its own files when it keeps them on this machine.
    """

    def __init__(self, home: Path, storage: Path) -> None:
        self._home = home
        self._storage = storage
        self._instance: Any = None

    def __call__(self) -> DagsterFigures:
        """Return heartbeats of required daemons, live runs and the start of the oldest one."""
        # Imported late: it takes seconds, and the exporter answers before that.
        from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

        from ao_pipeline.defs.ticks import tick_errors

        instance = self._instance or DagsterInstance.from_config(str(self._home))
        self._instance = None
        beats = {
            name: datetime.fromtimestamp(status.last_heartbeat.timestamp, UTC) if status.last_heartbeat else None
            for name, status in instance.get_daemon_statuses().items()
            if status.required
        }
        runs = {
            name.lower(): instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus[name]]))
            for name in _LIVE_STATUSES
        }
        started = RunsFilter(statuses=[DagsterRunStatus.STARTED])
        oldest = instance.get_run_records(filters=started, limit=1, ascending=True)
        oldest_at = datetime.fromtimestamp(oldest[0].start_time, UTC) if oldest and oldest[0].start_time else None
        failing = {name: error is not None for name, error in tick_errors(instance, now=utc_now()).items()}
        self._instance = instance
        return DagsterFigures(beats, runs, oldest_at, utc_now(), _size_of(self._storage), failing)


def _size_of(folder: Path) -> int | None:
    """Return the bytes of all files below a folder, None without it; a file that vanishes meanwhile counts nothing."""
    if not folder.is_dir():
        return None
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total
