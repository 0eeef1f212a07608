"""Several processes that write different assets to one SQLite file: nobody may see "database is locked", nothing may interleave."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec, integer, text
from ao_pipeline.errors import TransientError
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty

PROCESSES = 4


@dataclass(frozen=True)
class WritersOutcome:
    """What the writers did together; `locked` counts failures to get the write lock, `broken` assets that do not verify."""

    commits: int
    locked: int
    broken: int


def spec_of(number: int) -> TableSpec:
    """Return the table of one writer."""
    return TableSpec(asset=f"writers/table_{number}", key=(text("name"),), columns=(integer("round"),), row="one name")


def run_writers(folder: Path, seconds: float, *, processes: int = PROCESSES) -> WritersOutcome:
    """Let writers commit side by side for a while, then check every chain.

    Args:
        folder: An empty folder for the database.
        seconds: How long they write.
        processes: How many.
    """
    url = f"sqlite:///{folder / 'writers.db'}"
    specs = [spec_of(number) for number in range(processes)]
    open_empty(url, *specs).close()
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "ao_pipeline_tests.stress.writers", url, str(number), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        for number in range(processes)
    ]
    answers = [json.loads(child.communicate(timeout=seconds + 600)[0]) for child in children]
    store = StateStore(Database(url), specs)
    expected = [answer["commits"] for answer in answers]
    heads = store.heads()
    broken = sum(
        bool(store.verify(spec.asset)) or heads[spec.asset].seq != count
        for spec, count in zip(specs, expected, strict=True)
    )
    store.close()
    return WritersOutcome(sum(expected), sum(answer["locked"] for answer in answers), broken)


def write_for(url: str, number: int, seconds: float) -> dict[str, int]:
    """Commit to one table until the time is over."""
    spec = spec_of(number)
    store = StateStore(Database(url), [spec])
    until = time.monotonic() + seconds
    commits = locked = 0
    while time.monotonic() < until:
        try:
            rows = [{"name": f"n{at}", "round": commits + at} for at in range(20)]
            commit(store, spec, FIRST.shift(commits), rows)
            commits += 1
        except TransientError:
            locked += 1
    store.close()
    return {"commits": commits, "locked": locked}


def main(arguments: Sequence[str]) -> None:
    """Be one writer; print what it did as JSON."""
    url, number, seconds = arguments
    print(json.dumps(write_for(url, int(number), float(seconds))))


if __name__ == "__main__":
    main(sys.argv[1:])
