"""What one evaluation of the recovery sensor works with: what it saw before, how much it may do, and how it says what it did."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.recoveries import RecoveryLog
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.errors import AoError
from ao_pipeline.resilience.run_recovery import RUN_POLICY, RunPolicy

MAX_ACTIONS: Final = 5
"""Recoveries in one evaluation; the rest has its turn ten seconds later. A sensor has a minute, one recovery takes seconds."""

MAX_SIGHTINGS: Final = 200
"""Things kept in the cursor; there are rarely more than five."""


@dataclass
class Sightings:
    """For how long something has looked the same, over evaluations and restarts, by the machine's monotonic clock."""

    before: dict[str, tuple[str, float]]
    after: dict[str, tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Sightings:
        """Read them back; a cursor that cannot be read means that nothing was seen before."""
        try:
            found = json.loads(cursor or "{}")
            return cls({key: (str(state), float(since)) for key, (state, since) in found.items()})
        except (ValueError, TypeError, AttributeError):
            return cls({})

    def seconds(self, key: str, state: str) -> float:
        """Return for how long `key` has been in `state`; remember it."""
        now = clock.monotonic_seconds()
        known, since = self.before.get(key, (state, now))
        if known != state or since > now:  # A later start than now: the machine was started again.
            since = now
        if len(self.after) < MAX_SIGHTINGS:
            self.after[key] = (state, since)
        return now - since

    def as_cursor(self) -> str:
        """Return what the next evaluation shall know: what was asked about in this one."""
        return json.dumps(self.after)


@dataclass
class Healing:
    """One evaluation.

    Attributes:
        data_path: Data folder, with the beats.
        policy: Limits.
        done: What was recovered, in words.
        requests: Runs to ask for.
    """

    instance: dg.DagsterInstance
    data_path: Path
    sightings: Sightings
    log: logging.Logger
    policy: RunPolicy = RUN_POLICY
    done: list[str] = field(default_factory=list)
    requests: list[dg.RunRequest] = field(default_factory=list)

    @property
    def may_act(self) -> bool:
        """Whether this evaluation may do more."""
        return len(self.done) < MAX_ACTIONS

    def tell(self, kind: str, subject: str, reason: str, *, run: dg.DagsterRun | None = None) -> None:
        """Say what is being recovered and why: in the run's events, the log and the counters."""
        self.done.append(f"{kind} {subject[:8]}: {reason}")
        if run is not None:
            self.instance.report_engine_event(f"Recovery: {reason}", run)
        self.log.warning(f"recovery kind={kind} subject={subject} reason={reason!r}")
        try:
            with opened_store() as store:
                RecoveryLog(store.database).note(kind, subject, reason, at_us=clock.to_micros(clock.utc_now()))
        except AoError as error:  # Counting may not stop what is counted.
            self.log.warning(f"recovery could not be counted: {error}")
