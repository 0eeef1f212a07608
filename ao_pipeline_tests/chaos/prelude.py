"""Before the chaos: a store with a first cycle in the past, and an engine that asks for no cycle by the real clock.

The schedule and the catch-up follow the machine's time, and one cycle of today would overtake all those that are played through. Both
are switched off as a person would, in the UI's own interface, before a daemon has ever run.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from ao_pipeline.adapters.dagster_home import prepare_dagster_home
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.cycle import Cycle
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline.supervisor.specs import engine_specs, write_workspace
from ao_pipeline_tests.chaos.engine import AO, Engine, stop_timers, wait_until

TIMERS: Final = ("catch_up", "cycle_schedule", "heal_stale")
START_SECONDS: Final = 120.0


def prepare(settings: Settings, first: Cycle) -> None:
    """Create the store, compute one cycle, switch the timers off."""
    open_store(settings).close()
    environment = dict(os.environ) | {"DAGSTER_HOME": str(prepare_dagster_home(settings))}
    specs = {spec.name: spec for spec in engine_specs(settings, write_workspace(settings))}
    started = []
    with tempfile.TemporaryFile() as output:
        try:
            for name in ("sandbox", "code-server", "webserver"):
                command = specs[name].command
                started.append(
                    subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=output, stderr=output)
                )
            wait_until(
                lambda: all(specs[name].probe().is_alive for name in ("sandbox", "code-server", "webserver")),  # type: ignore[misc]
                START_SECONDS,
                "sandbox, code server and webserver answer",
            )
            asked = Engine(settings, Path(os.devnull))
            wait_until(lambda: stop_timers(asked, TIMERS), START_SECONDS, "the timers are off", every=1.0)
            subprocess.run(
                [*AO, "cycle", "--cycle", first.key], cwd=PROJECT_DIR, stdout=output, stderr=output, check=False
            )
        finally:
            for process in started:
                process.kill()
            for process in started:
                process.wait(timeout=30)
