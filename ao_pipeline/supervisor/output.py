"""What the processes print: each into its own log file of bounded size, and what matters to the terminal."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from ao_pipeline.clock import monotonic_seconds, to_iso, utc_now
from ao_pipeline.observability.logs import redact_text

MAX_FILE_BYTES: Final = 10 << 20
KEPT_FILES: Final = 3
"""Older log files kept for each process: 40 MB of each at most."""

MAX_LINE_BYTES: Final = 64 << 10
SHOWN_PER_MINUTE: Final = 10
"""Lines of one process that reach the terminal in a minute; the file has them all."""

_IMPORTANT: Final = re.compile(r'\b(ERROR|CRITICAL|FATAL|Traceback)\b|"level(name)?": *"(?i:error|critical)"')


class LogFile:
    """An append-only text file that is moved aside when it is full."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._stream = path.open("ab")

    def write(self, text: str) -> None:
        """Append one line; a full disk loses the line, not the process."""
        with self._lock:
            try:
                if self._stream.closed:  # A full disk stopped a rotation half-way.
                    self._stream = self._path.open("ab")
                elif self._stream.tell() >= self._max_bytes:
                    self._rotate()
                self._stream.write(text.encode(errors="replace") + b"\n")
                self._stream.flush()
            except OSError:
                return

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._stream.close()

    def _rotate(self) -> None:
        self._stream.close()
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._stream = self._path.open("ab")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class OutputReader:
    """Copies one process's output until it ends; each process has a thread for it, so that no pipe ever fills up."""

    def __init__(self, name: str, log: LogFile, show: Callable[[str], None]) -> None:
        self._name = name
        self._log = log
        self._show = show
        self._shown = 0
        self._window_began = monotonic_seconds()

    def start(self, stream: IO[bytes]) -> None:
        """Read `stream` to its end in the background."""
        threading.Thread(target=self._copy, args=(stream,), name=f"output-{self._name}", daemon=True).start()

    def _copy(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(MAX_LINE_BYTES):
                text = redact_text(line.decode(errors="replace").rstrip())
                self._log.write(f"{to_iso(utc_now())} {self._name} | {text}")
                if _IMPORTANT.search(text):
                    self._show_bounded(text)

    def _show_bounded(self, text: str) -> None:
        now = monotonic_seconds()
        if now - self._window_began >= 60:
            self._window_began, self._shown = now, 0
        self._shown += 1
        if self._shown <= SHOWN_PER_MINUTE:
            self._show(f"{self._name} | {text[:300]}")
        elif self._shown == SHOWN_PER_MINUTE + 1:
            self._show(f"{self._name} | more lines like this are in its log")
