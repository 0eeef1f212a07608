"""Xero's rotating refresh token: used under a lock, and its successor on disk before anybody uses what came with it.

1. Two processes never use one token twice: the file's lock is held from reading it to replacing it
   (`test_collections_at_once_refresh_one_after_the_other`).
2. The successor is durable before the access token is returned (`test_a_successor_that_cannot_be_saved_is_not_used`).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ao_pipeline.errors import ConfigError

_LONGEST_TOKEN: Final = 4_096


class RefreshTokenFile:
    """A file that holds one refresh token and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def locked(self) -> Iterator[str]:
        """Yield the token while no other process may read or replace it.

        Raises:
            ConfigError: The file is missing, empty or cannot be locked.
        """
        try:
            # A lock file beside it: the token's own file is replaced, so a lock on it would be a lock on the old one.
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def replace(self, token: str) -> None:
        """Replace the token durably, in one step; call it inside `locked`.

        Raises:
            ConfigError: The file cannot be written. The old token is still in it, and is valid for half an hour.
        """
        draft = ""
        try:
            handle, draft = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            if draft:
                Path(draft).unlink(missing_ok=True)
            raise self._unusable(error) from error

    def _read(self) -> str:
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        if not token or len(token) > _LONGEST_TOKEN:
            raise ConfigError(f"{self._path.name} holds no refresh token; write one into it, alone on the first line")
        return token

    def _unusable(self, error: Exception) -> ConfigError:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        return ConfigError(
            f"{self._path.name} cannot be used ({reason}); check AO_XERO_REFRESH_TOKEN_FILE and that its folder is writable"
        )
