"""Runs that come too late, or a second time, end without doing anything: no state changes, no failure, no alert, no revert.

Two requests can ask for the same cycle, because the schedule and the catch-up look at the same moment; and a run can wait in
the queue until a newer one has taken its cycle along. Both are normal. What a person asks for is never idle.
"""

from __future__ import annotations

import dagster as dg

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs import tags
from ao_pipeline.defs.partitions import cycles_of_run
from ao_pipeline.observability.view import COMPLETED_STATUSES


def idle_reason(store: StateStore, run: dg.DagsterRun) -> str | None:
    """Return why a run that starts now has nothing to do, None when it has.

    Args:
        store: Knows what is computed.
        run: The run.
    """
    purpose, span = run.tags.get(tags.PURPOSE, ""), cycles_of_run(run)
    if purpose not in tags.AUTOMATIC or span is None:
        return None
    _, last = span
    newest = max((head.computed_cycle for head in store.heads().values()), default="")
    if newest > last.key:
        return f"cycle {last} was overtaken: {newest} is computed already"
    is_second = purpose in tags.OPENING and tags.ACTOR not in run.tags and run.root_run_id is None
    record = store.cycles.get(last) if is_second else None
    if record is not None and record.status in COMPLETED_STATUSES and record.run_id != run.run_id:
        return f"cycle {last} was computed already, by run {record.run_id[:8]}"
    return None


def uncovered(store: StateStore, first: Cycle, last: Cycle) -> Cycle:
    """Return the oldest cycle from `first` on that no earlier record covers: ranges that were asked for twice do not overlap."""
    before = store.cycles.newest_before(last)
    return first if before is None else min(max(first, Cycle.from_key(before).shift(1)), last)
