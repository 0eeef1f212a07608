"""The standing check of retries: what really was tried, against the bounds of `resilience.retries`."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state import tries
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs import tags
from ao_pipeline.defs.resources import REPORT_ASSET, StateResource
from ao_pipeline.defs.ticks import tick_errors
from ao_pipeline.notify.policy import DEFAULT_NOTIFY_POLICY
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.resilience.incidents import DEFAULT_ALERT_POLICY
from ao_pipeline.resilience.retries import Tries, endless
from ao_pipeline.resilience.stale_states import DEFAULT_HEAL_POLICY

RUN_WINDOW: Final = timedelta(hours=2)
"""Runs looked at: the check comes every hour, and nothing may slip between two of them."""

FAILURE_WINDOW: Final = timedelta(hours=26)
"""A day of failures and a little, for what fails in every cycle."""

MAX_RUNS: Final = 1_000


@dg.asset_check(
    asset=REPORT_ASSET, description="Whatever is tried again is tried within its bound, see docs/retries.md."
)
def nothing_retries_for_ever(context: dg.AssetCheckExecutionContext, state: StateResource) -> dg.AssetCheckResult:
    """Find every run, step, message, request or tick that is tried beyond its bound."""
    found = endless(read_tries(state.store, context.instance, now=clock.utc_now()))
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"found": len(found), "first": redact_text("; ".join(found[:5])) or "none"},
    )


def read_tries(store: StateStore, instance: dg.DagsterInstance, *, now: datetime) -> Tries:
    """Return what was tried lately.

    Args:
        store: Messages, failures, healing requests.
        instance: Runs and ticks.
        now: The moment.
    """
    runs = instance.get_runs(dg.RunsFilter(created_after=now - RUN_WINDOW), limit=MAX_RUNS)
    automatic = [run for run in runs if run.tags.get(tags.PURPOSE) in tags.AUTOMATIC and tags.CYCLE in run.tags]
    attempts = tries.pending_attempts(store.database)
    of_alerts = attempts["alerts"] - DEFAULT_ALERT_POLICY.max_attempts
    of_notifications = attempts["notifications"] - DEFAULT_NOTIFY_POLICY.max_attempts
    since_us = clock.to_micros(now - FAILURE_WINDOW)
    worst = "alerts" if of_alerts > of_notifications else "notifications"
    bound = DEFAULT_ALERT_POLICY if worst == "alerts" else DEFAULT_NOTIFY_POLICY
    return Tries(
        runs_by_cycle=Counter(run.tags[tags.CYCLE] for run in automatic),
        chains=Counter(run.root_run_id or run.run_id for run in runs),
        steps=tries.step_attempts(store.database, since_us=since_us),
        refused_cycles=tries.refused_cycles(store.database, since_us=since_us),
        waiting_messages=attempts[worst],
        message_attempts=bound.max_attempts,
        healings=tries.vain_healings(store.database),
        heal_attempts=DEFAULT_HEAL_POLICY.most,
        failing_ticks={name: error for name, error in tick_errors(instance, now=now).items() if error is not None},
    )
