"""Resources: the state store and the settings, opened once a run."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Final

import dagster as dg
from pydantic import PrivateAttr

from ao_pipeline.adapters.run_beats import beating
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs import tags
from ao_pipeline.defs.engine import join_engine
from ao_pipeline.defs.idle import idle_reason, uncovered
from ao_pipeline.defs.partitions import cycles_of_run
from ao_pipeline.settings import Settings, current_settings

CHECKS_JOB_NAME: Final = "checks"

EVALUATION_SECONDS: Final = 45.0
"""Longest transaction of a sensor's or schedule's evaluation: Dagster gives up on it after 60 s, but its thread would go on waiting."""

REPORT_ASSET: Final = dg.AssetKey(["ops", "cycle_report"])
"""The asset that closes a cycle: a run that selects it is a cycle."""


class StateResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The state store that the settings name. Opened at the start of a run, closed at its end, also when it fails."""

    _store: StateStore | None = PrivateAttr(default=None)
    _engine_token: int = PrivateAttr(default=0)
    _idle_reason: str | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[StateResource]:
        with contextlib.ExitStack() as stack:
            if context.run is not None:
                stack.enter_context(beating(self.settings.data_path, context.run.run_id))
            store = stack.enter_context(contextlib.closing(open_store(self.settings)))
            self._store = store
            self._engine_token = self._join(store, context.run)
            try:
                self._open_cycle(store, context.run)
                yield self
            finally:
                self._store = None

    def _join(self, store: StateStore, run: dg.DagsterRun | None) -> int:
        """Return the token that the run writes under: the one it was asked for under, or the one of this moment."""
        if run is None or run.job_name == CHECKS_JOB_NAME:
            return 0  # Checks write nothing: they may run anywhere.
        asked_under = run.tags.get(tags.ENGINE_LEASE)
        return int(asked_under) if asked_under else join_engine(store, self.settings)

    def _open_cycle(self, store: StateStore, run: dg.DagsterRun | None) -> None:
        """Record that a run works on its cycle, before it writes anything; reverts and checks are no cycles."""
        if run is None or run.tags.get(tags.PURPOSE) in ("revert", "recompute", "checks"):
            return
        self._idle_reason = idle_reason(store, run)
        if self._idle_reason is not None:
            return
        span = cycles_of_run(run)
        if span is None or REPORT_ASSET not in (run.asset_selection or frozenset({REPORT_ASSET})):
            return
        first, last = span
        store.cycles.open(last, first_cycle=uncovered(store, first, last), run_id=run.run_id)

    @property
    def store(self) -> StateStore:
        """The open store."""
        if self._store is None:
            raise RuntimeError("the state store is only open while a run executes")
        return self._store

    @property
    def idle_reason(self) -> str | None:
        """Why this run has nothing to do, None when it has; decided once, at its start."""
        return self._idle_reason

    @property
    def engine_token(self) -> int:
        """The token of the engine's lease that this run writes under."""
        return self._engine_token

    @property
    def settings(self) -> Settings:
        """Deployment settings."""
        return current_settings()


@contextlib.contextmanager
def opened_store() -> Iterator[StateStore]:
    """Open the settings' store for one evaluation."""
    store = open_store(current_settings(), longest_seconds=EVALUATION_SECONDS)
    try:
        yield store
    finally:
        store.close()
