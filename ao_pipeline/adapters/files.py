"""Read small local files, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ao_pipeline.errors import ConfigError

MAX_BYTES: Final = 16 << 20
"""Reference files are typed by people; something larger is the wrong file."""


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text.

    Raises:
        ConfigError: It is missing, unreadable, too large or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path.name} is larger than {MAX_BYTES >> 20} MB; is it the right file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name} is missing in {path.parent}; put it there or set AO_REFERENCE_DIR") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}; check its permissions") from error
