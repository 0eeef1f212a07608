"""Long proof: `python -m ao_pipeline_tests.stress.run --histories N --kills K --tamperings T --seed S`.

Writes `build/stress/report.json` and ends with status 1 if anything was lost, halved, doubled, missed or different.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ao_pipeline_tests.stress.histories import FIRST, History, MismatchError, commit, intent, open_empty
from ao_pipeline_tests.stress.kills import Killer
from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server
from ao_pipeline_tests.stress.random_histories import random_rows, run_history
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row
from ao_pipeline_tests.stress.tamper import Tamperer
from ao_pipeline_tests.stress.writers import run_writers

REPORT: Final = Path("build/stress/report.json")
POSTGRES_SHARE: Final = 4
"""One history in this many runs on PostgreSQL, where each costs more."""


def run_histories(count: int, seed: int, sqlite: Path, postgres: str) -> tuple[int, list[str]]:
    """Run histories on both databases; return how many ran and what went wrong."""
    failures = []
    stores = [open_empty(f"sqlite:///{sqlite}", EVERY_TYPE), open_empty(postgres, EVERY_TYPE)]
    for number in range(count):
        store = stores[number % POSTGRES_SHARE == 0]
        with store.database.write() as connection:
            for table in ("ao_asset_head", "ao_bundle", "ao_bundle_payload", "ao_row_index", EVERY_TYPE.name):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        try:
            run_history(History(store, EVERY_TYPE), random.Random(f"{seed}/{number}"))
        except MismatchError as error:
            failures.append(f"history {number}: {error}")
    for store in stores:
        store.close()
    return count, failures


def run_kills(count: int, seed: int, url: str, folder: Path) -> Killer:
    """Kill writers on one database."""
    folder.mkdir()
    killer = Killer(open_empty(url, EVERY_TYPE), url, folder, seed)
    killer.run(count)
    killer.store.close()
    return killer


def run_tamperings(count: int, seed: int, url: str) -> tuple[int, list[str]]:
    """Damage a store in `count` ways; return how many were found and which were not."""
    store = open_empty(url, EVERY_TYPE)
    draw = random.Random(seed)
    for number in range(6):
        commit(
            store,
            EVERY_TYPE,
            FIRST.shift(number),
            [*random_rows(draw), row(EVERY_TYPE, "kept", 99, note=str(number))],
            cursor={"page": number},
        )
    store.revert(intent(EVERY_TYPE, FIRST.shift(2), "revert"))
    tamperer = Tamperer(store, EVERY_TYPE, draw)
    missed = []
    for _ in range(count):
        done, findings = tamperer.try_one()
        if not findings:
            missed.append(done)
    if store.verify(EVERY_TYPE.asset):
        missed.append("the damage was not undone")
    store.close()
    return count - len(missed), missed


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ao_stress_"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_all(*, histories: int, kills: int, tamperings: int, writer_seconds: float, seed: int) -> dict[str, Any]:
    """Run everything and return the report."""
    started = time.monotonic()
    with workplace() as folder, postgres_server() as server:
        with fresh_database(server) as url:
            ran, failures = run_histories(histories, seed, folder / "histories.db", url)
        with fresh_database(server) as url:
            killers = [
                run_kills(kills - kills // 2, seed, f"sqlite:///{folder / 'kills.db'}", folder / "sqlite"),
                run_kills(kills // 2, seed, url, folder / "postgres"),
            ]
        with fresh_database(server) as url:
            found, missed = run_tamperings(tamperings - tamperings // 5, seed, f"sqlite:///{folder / 'tampered.db'}")
            more_found, more_missed = run_tamperings(tamperings // 5, seed, url)
        (folder / "writers").mkdir()
        writers = run_writers(folder / "writers", writer_seconds)
    problems = failures + [problem for killer in killers for problem in killer.problems] + missed + more_missed
    if writers.locked or writers.broken:
        problems.append(f"{writers.locked} commits found the database locked, {writers.broken} chains are broken")
    counts: Counter[str] = sum((killer.counts for killer in killers), Counter())
    return {
        "seed": seed,
        "histories": ran,
        "mismatches": len(failures),
        "kills": counts["kills"],
        "lost": counts["lost"],
        "half_applied": counts["half_applied"],
        "doubled": counts["doubled"],
        "tamperings": tamperings,
        "tamperings_found": found + more_found,
        "kill_places": {
            name: dict(sorted(killer.places.items()))
            for name, killer in zip(("sqlite", "postgres"), killers, strict=True)
        },
        "writer_commits": writers.commits,
        "writer_locked": writers.locked,
        "writer_broken": writers.broken,
        "problems": problems[:100],
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    """Parse the command line, run, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--tamperings", type=int, default=10_000)
    parser.add_argument("--writer-seconds", type=float, default=60.0)
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
