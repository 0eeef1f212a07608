"""One engine in chaos: brought up, struck, waited for, taken down."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ao_pipeline.cycle import Cycle
from ao_pipeline.settings import PROJECT_DIR, Settings, current_settings
from ao_pipeline_tests.chaos.cycles import Cadence
from ao_pipeline_tests.chaos.database import PrivatePostgres, private_postgres
from ao_pipeline_tests.chaos.engine import Engine, variables_for, wait_until
from ao_pipeline_tests.chaos.faults import Executioner, Fault
from ao_pipeline_tests.chaos.prelude import prepare
from ao_pipeline_tests.chaos.recovery_judge import why_unhealthy

FIRST: Final = Cycle.from_key("2026-11-05-00:00")
GIVE_UP_SECONDS: Final = 300.0
"""A fault that is not healed by then is noted; the next one is done all the same."""

START_SECONDS: Final = 240.0


@dataclass
class Play:
    """What runs, what is done to it, and what was seen: one row a fault."""

    engine: Engine
    cadence: Cadence
    executioner: Executioner
    rows: list[dict[str, Any]] = field(default_factory=list)
    false_kills: list[str] = field(default_factory=list)

    def seconds(self) -> list[float]:
        """Return the times to healthy."""
        return [row["seconds"] for row in self.rows]

    def strike(self, faults: Sequence[Fault]) -> float | None:
        """Do the faults at once and wait until all is well; return the seconds, None when there was nothing to hit."""
        if not self.executioner.do(list(faults)):
            return None
        struck, struck_at = self.cadence.current, time.monotonic()
        trail: dict[str, float] = {}
        why = ""

        def is_well() -> bool:
            nonlocal why
            why = why_unhealthy(self.engine, struck, struck_at)
            return not why

        while True:
            try:
                wait_until(is_well, 1.0, "all is well")
                break
            except TimeoutError:
                trail[why] = round(time.monotonic() - struck_at, 1)
                if time.monotonic() - struck_at > GIVE_UP_SECONDS:
                    break
        seconds = round(time.monotonic() - struck_at, 1)
        name = "+".join(sorted(fault.name for fault in faults))
        cycle = struck.cycle.key if struck else ""
        self.rows.append({"fault": name, "seconds": seconds, "cycle": cycle, "trail": trail})
        self.false_kills += self._wrong_verdicts()
        say(f"{len(self.rows)}: {name} healthy after {seconds} s {trail}")
        return seconds

    def _wrong_verdicts(self) -> list[str]:
        """Return the supervisor's verdicts about processes that nobody had touched."""
        found = []
        for line in self.engine.events():
            if " process.hung " in line:
                fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
                if int(fields["pid"]) not in self.executioner.hit_pids:
                    found.append(line)
        return found


@contextmanager
def playing(*, seed: int, database: str, keep: Path | None = None) -> Iterator[Play]:
    """Yield an engine on its own database, with cycles going on; end everything afterwards."""
    folder = keep or Path(tempfile.mkdtemp(prefix="ao_chaos_"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    with ExitStack() as stack:
        if keep is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(private_postgres(folder)) if database == "postgres" else None
        engine = stack.enter_context(engine_in(folder, postgres))
        wait_until(lambda: all(engine.probes().values()), START_SECONDS, "the engine is up")
        cadence = Cadence(engine, FIRST.shift(1))
        engine.events()
        cadence.start()
        wait_until(lambda: cadence.current is not None, START_SECONDS, "the first cycle is asked for")
        yield Play(engine, cadence, Executioner(engine, cadence, random.Random(seed), postgres))


@contextmanager
def engine_in(folder: Path, postgres: PrivatePostgres | None) -> Iterator[Engine]:
    """Yield a running engine whose settings are in force in this process."""
    before = dict(os.environ)
    os.environ.update(variables_for(folder, postgres_url=None if postgres is None else postgres.url))
    current_settings.cache_clear()
    settings: Settings = current_settings()
    os.chdir(PROJECT_DIR)
    try:
        prepare(settings, FIRST)
        engine = Engine(settings, folder / "up.log")
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()
    finally:
        os.environ.clear()
        os.environ.update(before)
        current_settings.cache_clear()


def say(text: str) -> None:
    """Print one line now."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
