"""Slots of Dagster's pools that a run holds which is over or unknown: freed, or what waits for them waits for ever."""

from __future__ import annotations

import dagster as dg

from ao_pipeline.defs.healing import Healing


def free_leaked_slots(healing: Healing) -> None:
    """Free every slot whose run has been over, or gone from Dagster's history, for some seconds."""
    for run_id, pool in sorted(leaked_slots(healing.instance).items()):
        if healing.sightings.seconds(f"slot:{run_id}", "leaked") > healing.policy.leaked and healing.may_act:
            healing.instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            healing.tell("slot_leaked", run_id, f"it is over and held a slot of pool {pool}")


def leaked_slots(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the runs that hold or wait for a slot and are over or unknown, with one pool of each."""
    storage = instance.event_log_storage
    holders: dict[str, str] = {}
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        holders |= dict.fromkeys([*info.active_run_ids, *info.pending_run_ids], pool)
    if not holders:
        return {}
    known = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=list(holders)))}
    return {run_id: pool for run_id, pool in holders.items() if run_id not in known or known[run_id].is_finished}
