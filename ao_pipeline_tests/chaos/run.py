"""Chaos: `python -m ao_pipeline_tests.chaos.run --kills N --seed S --database sqlite|postgres`.

A real `ao up`, real cycles all the time, and one fault after the other from a seed; after each the engine must be healthy again
without a touch. Writes `build/chaos/report.json`; ends with status 1 if anything was lost, doubled, leaked, killed by mistake or slow.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
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
from ao_pipeline_tests.chaos.faults import Executioner
from ao_pipeline_tests.chaos.prelude import prepare
from ao_pipeline_tests.chaos.recovery_judge import judge_store, why_unhealthy

REPORT: Final = Path("build/chaos/report.json")
FIRST: Final = Cycle.from_key("2026-11-05-00:00")
HEALTHY_LIMIT_SECONDS: Final = 60.0
"""Promise: p99 of the time to healthy."""

GIVE_UP_SECONDS: Final = 300.0
"""A fault that is not healed by then is noted; the next one is done all the same."""

START_SECONDS: Final = 240.0


@dataclass
class Story:
    """What happened: one row a fault."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    false_kills: list[str] = field(default_factory=list)

    def seconds(self) -> list[float]:
        return sorted(row["seconds"] for row in self.rows)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


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


def strike_and_wait(engine: Engine, cadence: Cadence, executioner: Executioner, number: int, story: Story) -> int:
    """Do the next fault and wait until all is well; return how many blows were struck."""
    faults = executioner.next_faults()
    pause = executioner.draw.uniform(0.0, 8.0)
    time.sleep(pause)
    if not executioner.do(faults):
        say(f"{number}: nothing to hit for {[fault.name for fault in faults]}")
        return 0
    struck, struck_at = cadence.current, time.monotonic()
    why = ""

    def is_well() -> bool:
        nonlocal why
        why = why_unhealthy(engine, struck, struck_at)
        return not why

    name = "+".join(sorted(fault.name for fault in faults))
    trail: dict[str, float] = {}
    try:
        while True:
            try:
                wait_until(is_well, 1.0, name)
                break
            except TimeoutError:
                trail[why] = round(time.monotonic() - struck_at, 1)
                if time.monotonic() - struck_at > GIVE_UP_SECONDS:
                    break
    finally:
        seconds = round(time.monotonic() - struck_at, 1)
        cycle = struck.cycle.key if struck else ""
        story.rows.append({"fault": name, "seconds": seconds, "cycle": cycle, "trail": trail})
        story.false_kills += false_kills(engine, executioner)
        say(f"{number}: {name} healthy after {seconds} s {trail}")
    return len(faults)


def false_kills(engine: Engine, executioner: Executioner) -> list[str]:
    """Return the supervisor's verdicts about processes that nobody had touched."""
    found = []
    for line in engine.events():
        if " process.hung " not in line:
            continue
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if int(fields["pid"]) not in executioner.hit_pids:
            found.append(line)
    return found


def run_chaos(*, kills: int, seed: int, database: str, keep: Path | None = None) -> dict[str, Any]:
    """Do `kills` faults; return the report."""
    began = time.monotonic()
    folder = keep or Path(tempfile.mkdtemp(prefix="ao_chaos_"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    story = Story()
    with ExitStack() as stack:
        if keep is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(private_postgres(folder)) if database == "postgres" else None
        engine = stack.enter_context(engine_in(folder, postgres))
        wait_until(lambda: all(engine.probes().values()), START_SECONDS, "the engine is up")
        cadence = Cadence(engine, FIRST.shift(1))
        executioner = Executioner(engine, cadence, random.Random(seed), postgres)
        engine.events()
        cadence.start()
        wait_until(lambda: cadence.current is not None, 60.0, "the first cycle is asked for")
        done = number = 0
        while done < kills and number < 3 * kills:
            number += 1
            done += strike_and_wait(engine, cadence, executioner, number, story)
            write(report_of(story, {}, seed=seed, database=database, kills=done, began=began))
        cadence.stop()
        verdict = judge_store(engine, cadence)
    report = report_of(story, verdict, seed=seed, database=database, kills=done, began=began)
    write(report)
    return report


def report_of(
    story: Story, verdict: dict[str, Any], *, seed: int, database: str, kills: int, began: float
) -> dict[str, Any]:
    """Return the report as it stands."""
    by_target: dict[str, list[float]] = defaultdict(list)
    for row in story.rows:
        by_target[row["fault"] if "+" not in row["fault"] else "two at once"].append(row["seconds"])
    slow = [row for row in story.rows if row["seconds"] > HEALTHY_LIMIT_SECONDS]
    return {
        "seed": seed,
        "database": database,
        "kills": kills,
        "healthy_p50_seconds": percentile(story.seconds(), 0.50),
        "healthy_p99_seconds": percentile(story.seconds(), 0.99),
        "healthy_max_seconds": percentile(story.seconds(), 1.0),
        "false_kills": len(story.false_kills) + verdict.get("wrongly_ended", 0),
        "by_target": {
            name: {"count": len(found), "p50": percentile(found, 0.5), "p99": percentile(found, 0.99)}
            for name, found in sorted(by_target.items())
        },
        **verdict,
        "slow": slow,
        "false_kill_lines": story.false_kills[:20],
        "seconds": round(time.monotonic() - began, 1),
    }


def write(report: dict[str, Any]) -> None:
    """Write the report as it stands: an interrupted chaos tells what it has seen."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """Print one line now."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _stop(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def main() -> int:
    """Parse the command line, run, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--keep", type=Path, help="folder that is left behind, to look into")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # In the background of a shell even SIGINT would be ignored.
        signal.signal(number, _stop)
    say(f"seed {arguments.seed}, database {arguments.database}")
    report = run_chaos(**vars(arguments))
    print(json.dumps({name: value for name, value in report.items() if name not in ("slow",)}, indent=1))
    bad = report["lost"] + report["doubled"] + report["leaked_slots"] + report["false_kills"]
    return 1 if bad or report["problems"] or report["healthy_p99_seconds"] > HEALTHY_LIMIT_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
