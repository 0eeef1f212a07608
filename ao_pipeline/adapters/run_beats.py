"""Signs of life: a small file for each run and for the engine, written over and over while its process makes progress.

A beat carries the machine's monotonic clock, so that its age is right whatever happens to the wall clock, and all that is
needed to tell whether the process behind it still is the one that wrote it. It is written in place: a full disk does not stop it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from ao_pipeline.adapters.processes import boot_id, pid_namespace, started_at
from ao_pipeline.clock import monotonic_seconds

BEAT_SECONDS: Final = 2.0
"""Between two beats: an eighth of the age at which a silent run is looked at, so that a busy machine raises no alarm."""

FOLDER: Final = "run"
"""Below the data folder."""

ENGINE: Final = "engine"
"""Whose beat tells that sensors are evaluated: the daemon asks, the code server answers."""

_SUFFIX: Final = ".beat"
_SIZE_BYTES: Final = 512

_log: Any = structlog.get_logger("run_beats")


@dataclass(frozen=True)
class Beat:
    """One sign of life.

    Attributes:
        subject: Run id, or `engine`.
        pid, started: The process, by pid and start (seconds since the machine's).
        host, boot, namespace: Where that pid means something.
        count: Beats so far.
        at: The machine's monotonic clock, seconds.
    """

    subject: str
    pid: int
    started: float
    host: str
    boot: str
    namespace: str
    count: int
    at: float

    @property
    def is_of_this_host(self) -> bool:
        """Whether this machine wrote it; another one's processes and clock cannot be seen from here."""
        return self.host == socket.gethostname()

    @property
    def is_of_this_boot(self) -> bool:
        """Whether the machine has not been started again since."""
        return self.boot == boot_id()

    @property
    def is_of_this_namespace(self) -> bool:
        """Whether its pid can be looked up here: no other container wrote it."""
        return self.namespace == pid_namespace()

    @property
    def age_seconds(self) -> float:
        """Seconds since it was written; infinite when the machine was started again since."""
        age = monotonic_seconds() - self.at
        return age if self.is_of_this_boot and age >= 0 else float("inf")


class BeatFile:
    """Writes the beats of one subject. A file that cannot be written loses beats, never the run."""

    def __init__(self, folder: Path, subject: str) -> None:
        self._path = folder / f"{subject}{_SUFFIX}"
        self._beat = Beat(
            subject,
            os.getpid(),
            started_at(os.getpid()) or 0.0,
            socket.gethostname(),
            boot_id(),
            pid_namespace(),
            0,
            0.0,
        )
        self._descriptor: int | None = None
        self._count = 0

    def write(self) -> None:
        """Leave one beat."""
        self._count += 1
        fields = asdict(self._beat) | {"count": self._count, "at": monotonic_seconds()}
        try:
            if self._descriptor is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._descriptor, json.dumps(fields).encode().ljust(_SIZE_BYTES), 0)
        except OSError as error:
            if self._count == 1:
                _log.warning("run_beat.not_written", subject=self._beat.subject, reason=str(error))

    def remove(self) -> None:
        """End: there is nothing to judge any more."""
        self.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the last beat where it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def beating(data_path: Path, subject: str, *, every_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Beat from a thread of its own until the block ends; however it ends but by the process's death, the file goes."""
    file = BeatFile(data_path / FOLDER, subject)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_seconds):
            file.write()

    file.write()
    thread = threading.Thread(target=beat, name=f"beat-{subject[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=every_seconds)
        file.remove()


def beat_path(data_path: Path, subject: str) -> Path:
    """Return where the beats of a subject lie."""
    return data_path / FOLDER / f"{subject}{_SUFFIX}"


def beat_once(data_path: Path, subject: str) -> None:
    """Leave one beat and return."""
    file = BeatFile(data_path / FOLDER, subject)
    file.write()
    file.close()


def read_beat(data_path: Path, subject: str) -> Beat | None:
    """Return the newest beat; None when there is none, or none that can be read."""
    try:
        text = beat_path(data_path, subject).read_bytes()
        return Beat(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None


def subjects(data_path: Path) -> list[str]:
    """Return the runs that have left a beat, by name."""
    names = (path.name.removesuffix(_SUFFIX) for path in (data_path / FOLDER).glob(f"*{_SUFFIX}"))
    return sorted(name for name in names if name != ENGINE)


def remove_beat(data_path: Path, subject: str) -> None:
    """Remove what an ended run has left."""
    with suppress(OSError):
        beat_path(data_path, subject).unlink(missing_ok=True)
