"""One rule, asked before people rely on a table and again every hour: did most of its rows vanish?"""

from typing import Any, Final

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.volume import VolumePolicy

NAME: Final = "row_count_has_not_collapsed"

COLLAPSE_POLICY: Final = VolumePolicy(min_ratio=0.5, min_stored_rows=10)
"""Lower than for listings, because these are results: an agency of 19 clients that has 5 a cycle later lost them by mistake.
Smaller tables may shrink freely, also to nothing: the last open promise may well be kept."""

LOOK_BACK_BUNDLES: Final = 20
"""Bundles whose row counts say what is usual: five hours of cycles."""


def measure_collapse(store: StateStore, spec: TableSpec) -> tuple[bool, dict[str, Any]]:
    """Tell whether the table has at least half of the rows that it recently had."""
    accepted = store.accepted_seq(spec.asset)
    stored = store.bundles(asset=spec.asset, limit=LOOK_BACK_BUNDLES)
    headers = [header for header in stored if header.seq > accepted] or stored[:1]
    if not headers:
        return False, {"rows": 0, "recent_most": 0, "reason": "never materialized"}
    rows, most = headers[0].row_count_after, max(header.row_count_after for header in headers)
    collapsed = most >= COLLAPSE_POLICY.min_stored_rows and rows < COLLAPSE_POLICY.min_ratio * most
    return not collapsed, {"rows": rows, "recent_most": most}
