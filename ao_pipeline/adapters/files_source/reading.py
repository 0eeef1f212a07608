"""The bytes of a file, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ao_pipeline.errors import TransientError

CHUNK_BYTES: Final = 1 << 20


def chunks(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield a file's bytes from `start` on, a bounded piece at a time.

    Raises:
        TransientError: It vanished or cannot be read just now.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise TransientError(
            f"{path.name} cannot be read: {error.strerror}; it is read again in the next cycle"
        ) from error


def read_range(path: Path, start: int, length: int) -> bytes:
    """Return a piece of a file.

    Raises:
        TransientError: It vanished or cannot be read just now.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError as error:
        raise TransientError(
            f"{path.name} cannot be read: {error.strerror}; it is read again in the next cycle"
        ) from error
