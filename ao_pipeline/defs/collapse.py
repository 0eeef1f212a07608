"""One rule, asked before people rely on a table and again every hour: did most of its rows vanish?"""

from typing import Any, Final

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.volume import DEFAULT_VOLUME_POLICY
from ao_pipeline.defs.managed import Work

NAME: Final = "row_count_has_not_collapsed"

LOOK_BACK_BUNDLES: Final = 20
"""Bundles whose row counts say what is usual: five hours of cycles."""


def measure_collapse(store: StateStore, spec: TableSpec) -> tuple[bool, dict[str, Any]]:
    """Tell whether the table has at least half of the rows that it recently had."""
    headers = store.bundles(asset=spec.asset, limit=LOOK_BACK_BUNDLES)
    if not headers:
        return False, {"rows": 0, "recent_most": 0, "reason": "never materialized"}
    rows, most = headers[0].row_count_after, max(header.row_count_after for header in headers)
    policy = DEFAULT_VOLUME_POLICY
    collapsed = most >= policy.min_stored_rows and rows < policy.min_ratio * most
    return not collapsed, {"rows": rows, "recent_most": most}


def row_count_has_not_collapsed(work: Work) -> tuple[bool, dict[str, Any]]:
    """The table has at least half of the rows that it recently had; if not, it is taken back and put on hold."""
    return measure_collapse(work.store, work.spec)
