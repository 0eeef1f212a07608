"""What do collections cost? `python -m ao_pipeline_tests.bench.collect [--sizes M,L]` writes `build/bench/collect.json`.

For each size: the first collection of every source. Then cycles without and cycles with the same number of changes in every
size, the sizes in turn, so that whatever else the machine does slows them alike; each cycle collects what is due in it.
The sandboxes stand still but for those changes, and run in processes of their own.
Memory is that of this process during each first collection and its commit, above what it had before.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psutil
import pyarrow as pa

from ao_pipeline.collect.cadence import is_due
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.defs.origin import source_of_asset
from ao_pipeline.sandbox.world.size import SIZES
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.stress.collecting import ASSETS, Collecting, Timed, collecting, sandbox_process, settle

TARGET: Final = PROJECT_DIR / "build" / "bench" / "collect.json"
CHAT: Final = "raw/chat_messages"
ROUNDS: Final = 16
"""Four hours: what is collected hourly or asked in turn has its share in the mean."""

CHANGES: Final = 20
"""Objects of each kind created before each round, in every size."""

KINDS: Final = ("task", "mail", "event", "message", "gtask", "person", "file", "invoice", "payment", "contact")
LARGEST_RATIO: Final = 1.5
"""Target of incremental cost in the largest world against the next smaller one."""

SAMPLE_SECONDS: Final = 0.005


def give_back() -> None:
    """Return freed memory to the system: else what one collection left behind would hide what the next one takes."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # Another C library keeps what it has.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Yield a function that says how far this process grew above its size at the start, in MiB."""
    process = psutil.Process()
    first = peak = process.memory_info().rss
    ended = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not ended.wait(SAMPLE_SECONDS):
            peak = max(peak, process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield lambda: round((peak - first) / 2**20, 1)
    finally:
        ended.set()
        sampler.join()


def by_source(timed: list[Timed]) -> dict[str, dict[str, float]]:
    """Return the sums of each source and of all."""
    sums: dict[str, dict[str, float]] = {}
    for one in timed:
        for name in (source_of_asset(one.asset), "all"):
            into = sums.setdefault(
                name, {"s": 0.0, "http_s": 0.0, "commit_s": 0.0, "cpu_s": 0.0, "requests": 0, "rows": 0, "changed": 0}
            )
            into["s"] += one.seconds
            into["http_s"] += one.http_seconds
            into["commit_s"] += one.commit_seconds
            into["cpu_s"] += one.cpu_seconds
            into["requests"] += one.requests
            into["rows"] += one.rows
            into["changed"] += one.changed
    return sums


@dataclass
class Measured:
    """One size: its world and store, and what its collections took."""

    work: Collecting
    first: list[Timed]
    peaks: dict[str, float]
    quiet: list[dict[str, dict[str, float]]] = field(default_factory=list)
    changed: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return what is written of it."""
        return {
            "stored_rows": sum(rows for rows, _ in self.work.sizes().values()),
            "peak_memory_mib": dict(sorted(self.peaks.items())),
            "chat_rows": sum(one.rows for one in self.first if one.asset == CHAT),
            "collections_of_first_listing": dict(Counter(one.asset for one in self.first)),
            "bootstrap": _rounded(by_source(self.first)),
            "quiet": _rounded(_mean(self.quiet)),
            "incremental": _rounded(_mean(self.changed)),
        }


def measure(sizes: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure first collections, then quiet cycles, then cycles after changes: the sizes in turn, one cycle of each."""
    with ExitStack() as stack:
        measured = {size: _bootstrap(size, stack) for size in sizes}
        for _ in range(rounds):
            for one in measured.values():
                one.quiet.append(_round(one.work, changes=0))
        for _ in range(rounds):
            for one in measured.values():
                one.changed.append(_round(one.work, changes=CHANGES))
        return {size: one.figures() for size, one in measured.items()}


def _bootstrap(size: str, stack: ExitStack) -> Measured:
    """Start a world and collect all of it; `stack` ends it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ao_bench_")))
    box = stack.enter_context(sandbox_process(folder / "sandbox", size))
    work = stack.enter_context(collecting(box, folder / "data"))
    peaks: dict[str, float] = {}
    return Measured(work, settle(work, around=lambda asset: _peak_of(asset, peaks)), peaks)


@contextmanager
def _peak_of(asset: str, peaks: dict[str, float]) -> Iterator[None]:
    """Keep the largest peak of each source."""
    give_back()
    with peak_memory() as grown:
        yield
    source = source_of_asset(asset)
    peaks[source] = max(peaks.get(source, 0.0), grown())


def _round(work: Collecting, *, changes: int) -> dict[str, dict[str, float]]:
    # A second, so that not everything that was ever changed was changed at the same instant.
    work.box.advance(1)
    for kind in KINDS:
        for _ in range(changes):
            work.box.mutate(kind, "create")
    work.next_cycle()
    return by_source([work.run(asset) for asset in ASSETS if is_due(asset, work.cycle)])


def _mean(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the means a cycle: a source that is not due in a cycle costs nothing there."""
    sources = {source: figures for one in rounds for source, figures in one.items()}
    return {
        source: {figure: statistics.fmean(one.get(source, {}).get(figure, 0.0) for one in rounds) for figure in figures}
        for source, figures in sources.items()
    }


def _rounded(sums: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    for one in sums.values():
        one["own_share"] = (one["s"] - one["http_s"] - one["commit_s"]) / one["s"]
    return {source: {name: round(value, 4) for name, value in one.items()} for source, one in sums.items()}


def ratios(sizes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return incremental cost of each size against the one before it, in all and by source, and the shares."""
    found: dict[str, float] = {}
    names = list(sizes)
    for small, large in pairwise(names):
        pair = f"{large.lower()}_vs_{small.lower()}"
        for source, cost in sizes[large]["incremental"].items():
            suffix = "" if source == "all" else f"_{source}"
            found[f"incremental_{pair}{suffix}"] = round(cost["s"] / sizes[small]["incremental"][source]["s"], 3)
        cpu = [sizes[size]["incremental"]["all"]["cpu_s"] for size in (small, large)]
        found[f"incremental_cpu_{pair}"] = round(cpu[1] / cpu[0], 3)
        requests = [sizes[size]["incremental"]["all"]["requests"] for size in (small, large)]
        found[f"incremental_requests_{pair}"] = round(requests[1] / requests[0], 3)
        found[f"stored_rows_{pair}"] = round(sizes[large]["stored_rows"] / sizes[small]["stored_rows"], 1)
        peaks = [sizes[size]["peak_memory_mib"]["chat"] for size in (small, large)]
        found[f"chat_peak_{pair}"] = round(peaks[1] / max(1.0, peaks[0]), 2)
    for size, one in sizes.items():
        found[f"own_share_bootstrap_{size.lower()}"] = one["bootstrap"]["all"]["own_share"]
        found[f"own_share_incremental_{size.lower()}"] = one["incremental"]["all"]["own_share"]
    return found


def main() -> None:
    """Run, write the file, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="M,L", help="smaller ones first; S takes a minute")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    wanted = [size for size in SIZES if size in given.sizes.split(",")]
    began = time.monotonic()
    sizes = measure(wanted, given.rounds)
    result = {
        "ratios": ratios(sizes),
        "means": sizes,
        "targets": {"incremental_l_vs_m": LARGEST_RATIO},
        "changes_of_each_kind": CHANGES,
        "rounds": given.rounds,
        "assets": len(RAW_TABLES),
        "seconds": round(time.monotonic() - began, 1),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores": os.cpu_count(),
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({name: value for name, value in result.items() if name != "means"}, indent=2) + "\n")


if __name__ == "__main__":
    main()
