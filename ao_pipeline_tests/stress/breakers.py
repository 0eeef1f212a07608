"""Long proof of circuit breakers: `python -m ao_pipeline_tests.stress.breakers --events N --kills K --rounds R --seed S`.

Writes `build/stress/breakers.json` and ends with status 1 if a breaker differed from its naive twin, was not the sum of its events
after a kill, or if of the racing processes not exactly one got a probe.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ao_pipeline_tests.resilience.breaker_storm import run_storm
from ao_pipeline_tests.stress.breaker_races import Killer, race
from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server

REPORT: Final = Path("build/stress/breakers.json")
PROCESSES: Final = 8


def run_all(*, events: int, kills: int, rounds: int, seed: int) -> dict[str, Any]:
    """Run everything and return the report; kills and rounds are for each database."""
    started = time.monotonic()
    storm = run_storm(events, seed)
    print(f"{events} events, {len(storm.differences)} differences, {time.monotonic() - started:.0f} s", flush=True)
    problems = list(storm.differences)
    places: dict[str, dict[str, int]] = {}
    done: Counter[str] = Counter()
    with TemporaryDirectory(prefix="ao_breakers_") as scratch, postgres_server() as server:
        folder = Path(scratch)
        for kind in ("sqlite", "postgres"):
            (folder / kind).mkdir()
            for what in ("kills", "races"):
                with fresh_database(server) as postgres:
                    url = postgres if kind == "postgres" else f"sqlite:///{folder / kind / what}.db"
                    if what == "kills":
                        killer = Killer(url, f"sqlite:///{folder / kind / 'twin.db'}", folder / kind, seed)
                        killer.run(kills)
                        done["kills"] += killer.kills
                        places[kind] = dict(sorted(killer.places.items()))
                        found = killer.problems
                    else:
                        found = race(url, rounds=rounds, processes=PROCESSES)
                        done["rounds"] += rounds
                print(f"{kind} {what}: {len(found)} problems, {time.monotonic() - started:.0f} s", flush=True)
                problems += [f"{kind} {what}: {problem}" for problem in found]
    return {
        "seed": seed,
        "events": events,
        "event_counts": dict(sorted(storm.counts.items())),
        "differences": len(storm.differences),
        "kills": done["kills"],
        "kill_places": places,
        "race_rounds": done["rounds"],
        "race_processes": PROCESSES,
        "problems": problems[:100],
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    """Parse the command line, run, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=500, help="on each database")
    parser.add_argument("--rounds", type=int, default=10_000, help="on each database")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    report = run_all(**vars(arguments))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in report.items() if name != "kill_places"}, ensure_ascii=False))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
