"""Long proof: `python -m ao_pipeline_tests.stress.run --histories N --kills K --tamperings T --seed S`.

Two processes work through the parts; each prints what it has done. `build/stress/report.json` is written after every part, whatever
becomes of the others. Status 1 if anything was lost, halved, doubled, missed, different or not finished. `--seed S --only N` runs history
N of that seed again, step by step; `--seed S --histories 0 --kills K` walks the same kills again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from ao_pipeline_tests.stress.parts import Outcome, Part, Progress, crashes, histories, kills, replay, tamperings
from ao_pipeline_tests.stress.places import disk_folder
from ao_pipeline_tests.stress.postgres import postgres_server
from ao_pipeline_tests.stress.sqlite_files import can_watch_files
from ao_pipeline_tests.stress.writers import WritersOutcome, run_writers

REPORT: Final = Path("build/stress/report.json")
WORKERS: Final = 2
HISTORIES_A_PART: Final = 250
TAMPERINGS_A_PART: Final = 1_000
POSTGRES_KILLS: Final = 0.4
"""Share of the kills whose victim writes to PostgreSQL: it has no files of its own, so fewer boundaries."""

CRASH_SHARE: Final = 25
"""One kill in this many takes a whole PostgreSQL server down, which takes seconds to come back."""

MINUTES: Final = 360.0
"""A part that has not ended by then stops and says so. Two idle cores need about half an hour for everything."""


@dataclass
class Plan:
    """What to run."""

    histories: int
    kills: int
    tamperings: int
    writer_seconds: float
    seed: int
    minutes: float = MINUTES


@dataclass
class Totals:
    """What came of it so far."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, Counter[str]] = field(default_factory=dict)
    walked: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    writers: WritersOutcome | None = None

    def add(self, name: str, outcome: Outcome) -> None:
        """Add what a part found."""
        self.counts.update(outcome.counts)
        self.problems += outcome.problems
        if outcome.places:
            self.places.setdefault(name, Counter()).update(outcome.places)
        if outcome.walked:
            self.walked[name] = sorted(set(outcome.walked))


def plan_parts(plan: Plan, server: str, folder: Path) -> list[Part]:
    """Cut the work into parts, those that take long first."""
    crashed = plan.kills // CRASH_SHARE
    on_postgres = int((plan.kills - crashed) * POSTGRES_KILLS)
    on_sqlite = plan.kills - crashed - on_postgres
    parts = [
        Part("kills on sqlite", kills, (on_sqlite, plan.seed, "", folder / "sqlite"), on_sqlite),
        Part("kills on postgres", kills, (on_postgres, plan.seed, server, folder / "postgres"), on_postgres),
        Part("crashes of postgres", crashes, (crashed, plan.seed), crashed),
    ]
    for first in range(0, plan.tamperings, TAMPERINGS_A_PART):
        size = min(TAMPERINGS_A_PART, plan.tamperings - first)
        parts.append(Part("tamperings", tamperings, (first, size, plan.seed, server), size))
    for first in range(0, plan.histories, HISTORIES_A_PART):
        size = min(HISTORIES_A_PART, plan.histories - first)
        parts.append(Part("histories", histories, (first, size, plan.seed, server), size))
    return [part for part in parts if part.size]


def run_all(plan: Plan) -> dict[str, Any]:
    """Run everything and return the report; it is on disk too, after every part."""
    started, totals = time.monotonic(), Totals()

    def report(*, is_finished: bool = False) -> dict[str, Any]:
        found = report_of(plan, totals, seconds=time.monotonic() - started, is_finished=is_finished)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return found

    report()
    with disk_folder() as folder, postgres_server() as server:
        parts = plan_parts(plan, server, folder)
        done: Counter[str] = Counter()
        wanted = sum((Counter({part.name: part.size}) for part in parts), Counter())
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            deadline = started + plan.minutes * 60
            futures = {pool.submit(part.run, Progress(part.name, part.size, started, deadline)): part for part in parts}
            for future in as_completed(futures):
                part = futures[future]
                totals.add(part.name, outcome_of(future, part))
                done[part.name] += part.size
                elapsed, problems = round(time.monotonic() - started), len(totals.problems)
                print(
                    f"{elapsed:>6} s  {part.name}: {done[part.name]} of {wanted[part.name]}, {problems} problems",
                    flush=True,
                )
                report()
        run_the_writers(plan, totals, folder)
    return report(is_finished=True)


def run_the_writers(plan: Plan, totals: Totals, folder: Path) -> None:
    """Let several processes write side by side; last and alone, for they need the machine."""
    if not plan.writer_seconds:
        return
    (folder / "writers").mkdir()
    try:
        totals.writers = run_writers(folder / "writers", plan.writer_seconds)
    except Exception as error:  # Whatever it was: the other parts' report is worth having.
        totals.problems.append(f"writers did not finish: {error!r}")
        return
    if totals.writers.locked or totals.writers.broken:
        totals.problems.append(
            f"{totals.writers.locked} commits found the database locked, {totals.writers.broken} chains are broken"
        )


def outcome_of(future: Future[Outcome], part: Part) -> Outcome:
    """Return what a part found; a part that broke is a problem, and no end of the others."""
    error = future.exception()
    if error is not None:
        return Outcome(problems=[f"{part.name} did not finish: {error!r}"])
    return future.result()


def report_of(plan: Plan, totals: Totals, *, seconds: float, is_finished: bool) -> dict[str, Any]:
    """Return the report. What was asked for and not done is a problem."""
    counts, writers, problems = totals.counts, totals.writers, list(totals.problems)
    wanted = {"histories": plan.histories, "kills": plan.kills, "tamperings": plan.tamperings} if is_finished else {}
    problems += [f"{counts[name]} {name} of {count} were run" for name, count in wanted.items() if counts[name] < count]
    return {
        "seed": plan.seed,
        "finished": is_finished,
        **{name: counts[name] for name in ("histories", "mismatches")},
        **{name: counts[name] for name in ("kills", "lost", "half_applied", "doubled")},
        **{name: counts[name] for name in ("tamperings", "tamperings_found")},
        "locked_errors": writers.locked if writers else 0,
        "writer_commits": writers.commits if writers else 0,
        "writer_broken": writers.broken if writers else 0,
        "histories_by_database": {name: counts[f"histories on {name}"] for name in ("sqlite", "postgres")},
        "kills_by_point": {name: dict(sorted(found.items())) for name, found in sorted(totals.places.items())},
        "every_boundary_of": totals.walked,
        "how": {
            "sqlite fsync": "watched inside the process that dies"
            if can_watch_files()
            else "out of reach: SQLite is linked in",
            "postgres fsync": "strace"
            if counts["killed in fsync"]
            else "not reached: strace is missing or may not trace",
            "power cuts": "unsynced writes put back, all or half of them" if can_watch_files() else "none",
            "histories on": "memory: they prove what is written, not that it outlives a power cut",
        },
        "problems": problems[:100],
        "problem_count": len(problems),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    """Parse the command line, run, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--tamperings", type=int, default=10_000)
    parser.add_argument("--writer-seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="parts that have not ended by then stop")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument(
        "--only", type=int, default=None, metavar="N", help="run history N of the seed again, and nothing else"
    )
    arguments = vars(parser.parse_args())
    only = arguments.pop("only")
    print(f"seed {arguments['seed']}", flush=True)
    if only is not None:
        return replay(only, arguments["seed"])
    report = run_all(Plan(**arguments))
    print(json.dumps({name: value for name, value in report.items() if name != "kills_by_point"}, ensure_ascii=False))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
