"""The cadence, compressed: the next cycle is asked for as soon as the one before is closed, as the schedule would every 15 minutes."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg

from ao_pipeline.adapters.state.cycles import OPEN
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.jobs import cycle_request
from ao_pipeline.defs.live import LIVE
from ao_pipeline_tests.chaos.engine import Engine, NoAnswerError

LAUNCH: Final = """mutation($p: ExecutionParams!){launchPipelineExecution(executionParams:$p){__typename
    ... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}"""

ABANDON_SECONDS: Final = 180.0
"""A cycle that is neither closed nor worked on after this is a finding; the next one is asked for."""

LOST_REQUEST_SECONDS: Final = 20.0
"""A cycle that nothing has opened and nothing has worked on for so long is asked for again: the part of `catch_up`, which looks at real time."""


@dataclass
class Requested:
    """One cycle that was asked for."""

    cycle: Cycle
    asked_at: float
    attempts: int = 1
    worked_on_at: float = 0.0
    status: str = ""


@dataclass
class Cadence:
    """Asks for cycles in a thread of its own, until told to stop."""

    engine: Engine
    next_cycle: Cycle
    requested: list[Requested] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._go, name="cadence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more cycles; return when the last one is closed."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * ABANDON_SECONDS)

    @property
    def current(self) -> Requested | None:
        """The newest cycle that was asked for."""
        return self.requested[-1] if self.requested else None

    def _go(self) -> None:
        while True:
            with suppress(Exception):  # The database or the webserver is away: the next look tells.
                current = self.current
                if current is not None and not self._is_closed(current):
                    self._ask_again_if_lost(current)
                elif self._stopping.is_set():
                    return
                else:
                    self._ask(self.next_cycle)
                    self.requested.append(Requested(self.next_cycle, time.monotonic()))
                    self.next_cycle = self.next_cycle.shift(1)
            if self._stopping.is_set() and (self.current is None or time.monotonic() - self.current.asked_at > 300):
                return
            time.sleep(0.5)

    def _is_closed(self, item: Requested) -> bool:
        store = open_store(self.engine.settings)
        try:
            record = store.cycles.get(item.cycle)
        finally:
            store.close()
        item.status = "" if record is None else record.status
        return record is not None and record.status != OPEN

    def _ask_again_if_lost(self, item: Requested) -> None:
        waited = time.monotonic() - item.asked_at
        if waited > ABANDON_SECONDS:
            self.problems.append(f"cycle {item.cycle} is {item.status or 'not recorded'} after {waited:.0f} s")
            item.status = "abandoned"
            self._ask(self.next_cycle)
            self.requested.append(Requested(self.next_cycle, time.monotonic()))
            self.next_cycle = self.next_cycle.shift(1)
        elif live_runs(self.engine) or item.status:
            item.worked_on_at = time.monotonic()
        elif time.monotonic() - max(item.worked_on_at, item.asked_at) > LOST_REQUEST_SECONDS:
            item.attempts += 1
            item.worked_on_at = time.monotonic()
            self._ask(item.cycle)

    def _ask(self, cycle: Cycle) -> None:
        request = cycle_request(cycle, cycle, purpose="cycle", run_key=None, reason="chaos")
        tags = dict(request.tags) | {"dagster/partition": cycle.key}
        selector: dict[str, Any] = {
            "repositoryLocationName": "ao_pipeline",
            "repositoryName": "__repository__",
            "pipelineName": "cycle",
            "assetSelection": [{"path": list(key.path)} for key in request.asset_selection or ()],
            "assetCheckSelection": [
                {"assetKey": {"path": list(check.asset_key.path)}, "name": check.name}
                for check in request.asset_check_keys or ()
            ],
        }
        params = {
            "mode": "default",
            "selector": selector,
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self.engine.graphql(LAUNCH, {"p": params})["launchPipelineExecution"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise NoAnswerError(str(answer)[:300])


def instance_of(engine: Engine) -> dg.DagsterInstance:
    """Open the engine's Dagster instance."""
    home = engine.settings.dagster_home or engine.settings.data_path / "dagster_home"
    return dg.DagsterInstance.from_config(str(home))


def live_runs(engine: Engine) -> list[dg.DagsterRun]:
    """Return the runs under way."""
    with instance_of(engine) as instance:
        return list(instance.get_runs(dg.RunsFilter(statuses=LIVE)))
