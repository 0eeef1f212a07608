"""Token buckets that all processes of this machine share: one small file a credential, read and written under its lock.

The clock is the machine's monotonic one, which every process reads alike. After a reboot it starts anew; a bucket
from before then goes on from what it held.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Final

from ao_pipeline import clock
from ao_pipeline.errors import ConfigError

_DAY_MINUTES: Final = 1_440
_SAFE: Final = re.compile("[^a-z0-9]+")


@dataclass(frozen=True)
class RateLimit:
    """A vendor's limit of one credential. What a minute or a day allows may be spent at once."""

    units_per_minute: int
    units_per_day: int | None = None

    def windows(self) -> tuple[tuple[float, float], ...]:
        """Return capacity and refill per second of each window."""
        minute = (float(self.units_per_minute), self.units_per_minute / 60)
        if self.units_per_day is None:
            return (minute,)
        return minute, (float(self.units_per_day), self.units_per_day / (_DAY_MINUTES * 60))


Levels = list[list[float]]
"""Units and the second they were counted at, one pair a window."""


def take(levels: Levels, limit: RateLimit, units: int, now: float) -> float:
    """Take `units` out of every window, into debt if need be; return the seconds until they may be spent."""
    wait_seconds = 0.0
    for level, (capacity, per_second) in zip(levels, limit.windows(), strict=True):
        elapsed = max(0.0, now - level[1])
        level[0] = min(capacity, level[0] + elapsed * per_second) - units
        level[1] = now
        wait_seconds = max(wait_seconds, -level[0] / per_second)
    return wait_seconds


class Bucket:
    """One credential's allowance, shared by the threads of one process, and by all processes where it has a file."""

    def __init__(
        self, limit: RateLimit, *, path: Path | None = None, monotonic: Callable[[], float] = clock.monotonic_seconds
    ) -> None:
        self._limit = limit
        self._path = path
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._levels = self._full()

    def reserve(self, units: int, *, longest_wait_seconds: float) -> float:
        """Take `units` and return the seconds to wait before they may be spent; take none when the wait is too long.

        Raises:
            ConfigError: The bucket's file cannot be written.
        """
        if self._path is None:
            with self._lock:
                return self._reserve(self._levels, units, longest_wait_seconds)
        try:
            with self._lock, _open(self._path) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                levels = self._read(os.pread(file.fileno(), 4096, 0))
                wait_seconds = self._reserve(levels, units, longest_wait_seconds)
                text = json.dumps(levels).encode()
                os.pwrite(file.fileno(), text, 0)
                os.ftruncate(file.fileno(), len(text))
                return wait_seconds
        except OSError as error:
            raise ConfigError(
                f"the rate limit's file {self._path.name} cannot be written ({error.strerror});"
                " make AO_DATA_DIR writable"
            ) from error

    def _reserve(self, levels: Levels, units: int, longest_wait_seconds: float) -> float:
        wait_seconds = take(levels, self._limit, units, self._monotonic())
        if wait_seconds > longest_wait_seconds:
            for level in levels:
                level[0] += units
        return max(0.0, wait_seconds)

    def _full(self) -> Levels:
        return [[capacity, self._monotonic()] for capacity, _ in self._limit.windows()]

    def _read(self, text: bytes) -> Levels:
        """Return the stored levels; a new file, another limit's, or one that a kill cut short counts as full."""
        try:
            levels = json.loads(text)
            found = [[float(units), float(at)] for units, at in levels]
        except (ValueError, TypeError):
            return self._full()
        return found if len(found) == len(self._limit.windows()) else self._full()


def bucket_path(folder: Path, source: str, subject: str) -> Path:
    """Return the file of one credential's bucket. The subject may be an address, so only its digest stands in the name."""
    digest = blake2b(subject.encode(), digest_size=6).hexdigest()
    return folder / f"{_SAFE.sub('-', source)}-{digest}.json"


def _open(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
