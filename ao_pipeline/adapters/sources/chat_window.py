"""The last days' messages of a chat space: one digest of them all, and when a message was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

from ao_pipeline.clock import to_iso
from ao_pipeline.collect.values import BadValueError, as_instant


class WindowMark:
    """One digest of the messages in a window, in whichever order they come; one that comes twice counts as its last."""

    def __init__(self, window: datetime) -> None:
        self._window = window
        self._digests: dict[str, bytes] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Take a message in if it was created in the window, or does not say when."""
        at = created_at(record)
        if at is None or at >= self._window:
            text = json.dumps(record, sort_keys=True, separators=(",", ":"))
            self._digests[record["name"]] = blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()

    def text(self) -> str:
        """Return the window's first day and the digest."""
        digest = blake2b(b"".join(self._digests[name] for name in sorted(self._digests)), digest_size=16)
        return f"{to_iso(self._window)} {digest.hexdigest()}"


def latest_creation(records: list[dict[str, Any]]) -> datetime | None:
    """Return the creation of a page's last message, from which on the listing goes on; None when none tells."""
    return max((at for record in records if (at := created_at(record)) is not None), default=None)


def created_at(record: Mapping[str, Any]) -> datetime | None:
    """Return when a message was written; None where it does not say."""
    try:
        return as_instant(record.get("createTime"), "createTime")
    except BadValueError:
        return None
