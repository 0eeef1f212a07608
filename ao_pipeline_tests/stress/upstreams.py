"""Random histories of every upstream: `python -m ao_pipeline_tests.stress.upstreams --histories 300`.

Writes `build/stress/upstreams.json` and ends with status 1 if stored rows differ from the upstream's, a crash doubled a bundle, or
a kind of change or a place of a crash was never drawn.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.sources.random_upstreams import BLOCK, STEPS, Tally, play_block
from ao_pipeline_tests.sources.stored_engine import PLACES
from ao_pipeline_tests.sources.upstream_changes import SUBJECTS
from ao_pipeline_tests.stress.postgres import postgres_server

REPORT: Final = PROJECT_DIR / "build" / "stress" / "upstreams.json"
POSTGRES_SHARE: Final = 4
"""One block in this many has its store on PostgreSQL."""


def run(histories: int, first_seed: int, sources: list[str]) -> dict[str, Any]:
    """Play `histories` histories of each source and return the report."""
    began = time.monotonic()
    tallies = {source: Tally() for source in sources}
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ao_upstreams_") as name, postgres_server() as server:
        for source, tally in tallies.items():
            seed, block = first_seed, 0
            while tally.histories < histories:
                seeds = range(seed, seed + min(BLOCK, histories - tally.histories))
                postgres = server if block % POSTGRES_SHARE == POSTGRES_SHARE - 1 else ""
                found = play_block(source, seeds, tally, folder=Path(name) / source, postgres=postgres)
                for problem in found:
                    print(f"{source}: {problem}", flush=True)
                problems += found
                seed, block = seeds.stop, block + 1
            if histories >= len(PLACES) * STEPS:
                problems += [f"{source}: {kind} was never drawn" for kind in tally.missing(SUBJECTS[source])]
            print(f"{source}: {tally.histories} histories, {tally.mismatches} differ, {dict(tally.kinds)}", flush=True)
    return {
        "first_seed": first_seed,
        "histories": sum(tally.histories for tally in tallies.values()),
        "mismatches": sum(tally.mismatches for tally in tallies.values()),
        "crashes": sum(tally.kinds["crash"] for tally in tallies.values()),
        "doubled": sum(tally.doubled for tally in tallies.values()),
        "sources": {source: _shown(tally) for source, tally in tallies.items()},
        "problems": problems[:100],
        "seconds": round(time.monotonic() - began, 1),
    }


def _shown(tally: Tally) -> dict[str, Any]:
    return {
        name: dict(sorted(value.items())) if isinstance(value, Counter) else value
        for name, value in vars(tally).items()
    }


def main(arguments: list[str]) -> int:
    """Play many histories of every source, write the report; return 1 if any differs or a kind was never drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=300, help="how many of each source")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--source", action="append", choices=list(SUBJECTS), help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report is written")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that a stopped run takes its PostgreSQL along.
    logging.getLogger("uvicorn.error").disabled = True  # Faults cut answers on purpose; it has a line for each.
    report = run(given.histories, given.first_seed, given.source or list(SUBJECTS))
    given.report.parent.mkdir(parents=True, exist_ok=True)
    given.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in report.items() if name != "sources"}, indent=1))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
