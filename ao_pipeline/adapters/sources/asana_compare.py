"""The daily comparison of Asana's tasks by their modified times: what neither the search nor the sweep has shown."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest
from typing import Any, Final

import pyarrow as pa

from ao_pipeline.collect.values import BadValueError, as_instant

MAX_CHANGED: Final = 500
"""Tasks read one by one for another modified time. More of them wait for the sweep: then it is the search that fails."""


def otherwise_modified(stored: pa.Table, times: Mapping[str, Any]) -> set[str]:
    """Return stored tasks whose modified time is another one in the listing, `MAX_CHANGED` at most, the newest ones.

    The newest, because tasks that stay otherwise for good, as bad ones do, grow old: they keep no later change waiting.

    Args:
        stored: `task_gid` and `modified_at` of all stored tasks.
        times: Modified times as Asana wrote them, by gid; one that cannot be read tells nothing.
    """
    known = zip(*(stored.column(name).to_pylist() for name in ("task_gid", "modified_at")), strict=True)
    changed = [(time, gid) for gid, at in known if (time := _read(times.get(gid))) not in (None, at)]
    return {gid for _, gid in nlargest(MAX_CHANGED, changed)}


def _read(time: Any) -> Any:
    try:
        return as_instant(time, "modified_at")
    except BadValueError:
        return None
