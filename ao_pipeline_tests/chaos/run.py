"""Chaos: `python -m ao_pipeline_tests.chaos.run --kills N --seed S --database sqlite|postgres`.

A real `ao up`, real cycles all the time, and one fault after the other from a seed; after each the engine must be healthy again
without a touch. Writes `build/chaos/report.json`; ends with status 1 if anything was lost, doubled, leaked, killed by mistake or slow.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ao_pipeline_tests.chaos.controls import wrongly_ended
from ao_pipeline_tests.chaos.play import Play, playing, say
from ao_pipeline_tests.chaos.recovery_judge import judge_store

REPORT: Final = Path("build/chaos/report.json")
HEALTHY_LIMIT_SECONDS: Final = 60.0
"""Promise: p99 of the time to healthy."""

LONGEST_PAUSE_SECONDS: Final = 8.0
"""Between being healthy and the next fault: drawn, so that faults come at any moment of a cycle."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


def run_chaos(*, kills: int, seed: int, database: str, controls: int = 0, keep: Path | None = None) -> dict[str, Any]:
    """Do `kills` faults; return the report."""
    began = time.monotonic()
    with playing(seed=seed, database=database, keep=keep) as play:
        done = tries = 0
        while done < kills and tries < 3 * kills:
            tries += 1
            faults = play.executioner.next_faults()
            time.sleep(play.executioner.draw.uniform(0.0, LONGEST_PAUSE_SECONDS))
            if play.strike(faults) is not None:
                done += len(faults)
                write(report_of(play, {}, seed=seed, database=database, kills=done, began=began))
        play.cadence.stop()
        verdict = judge_store(play.engine, play.cadence)
    verdict |= {"controls": controls, "controls_ended": wrongly_ended(controls)}
    report = report_of(play, verdict, seed=seed, database=database, kills=done, began=began)
    write(report)
    return report


def report_of(
    play: Play, verdict: dict[str, Any], *, seed: int, database: str, kills: int, began: float
) -> dict[str, Any]:
    """Return the report as it stands."""
    by_target: dict[str, list[float]] = defaultdict(list)
    for row in play.rows:
        by_target[row["fault"] if "+" not in row["fault"] else "two at once"].append(row["seconds"])
    slow = [row for row in play.rows if row["seconds"] > HEALTHY_LIMIT_SECONDS]
    return {
        "seed": seed,
        "database": database,
        "kills": kills,
        "healthy_p50_seconds": percentile(play.seconds(), 0.50),
        "healthy_p99_seconds": percentile(play.seconds(), 0.99),
        "healthy_max_seconds": percentile(play.seconds(), 1.0),
        "false_kills": len(play.false_kills) + verdict.get("wrongly_ended", 0) + len(verdict.get("controls_ended", ())),
        "by_target": {
            name: {"count": len(found), "p50": percentile(found, 0.5), "p99": percentile(found, 0.99)}
            for name, found in sorted(by_target.items())
        },
        **verdict,
        "slow": slow,
        "false_kill_lines": play.false_kills[:20],
        "seconds": round(time.monotonic() - began, 1),
    }


def write(report: dict[str, Any]) -> None:
    """Write the report as it stands: an interrupted chaos tells what it has seen."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _stop(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def main() -> int:
    """Parse the command line, run, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--controls", type=int, default=100, help="slow but healthy runs that must be left alone")
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
