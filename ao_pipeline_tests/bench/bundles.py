"""`python -m ao_pipeline_tests.bench.bundles [--sizes 10000,100000,1000000]`: our commits beside peers, naive code and the floor.

Every candidate gets the same table and the same changes in the same round, one after the other. Medians over the rounds after the
first. A peer whose package is not installed is left out and named. Writes `build/bench/bundles.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow.ipc as ipc

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.bundles.changes import Change
from ao_pipeline_tests.bench.candidates import Candidate, Floor, NaiveCore, NaivePandas, Ours
from ao_pipeline_tests.bench.made_table import SPEC, Batch, make_batch, make_table
from ao_pipeline_tests.bench.peers import DeltaLake, Dlt, DuckDb
from ao_pipeline_tests.stress.histories import FIRST, intent, open_empty, reopen
from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server

REPORT: Final = Path("build/bench/bundles.json")
PARTIAL_ROWS: Final = 1_000
ROUNDS: Final = {10_000: 9, 100_000: 7, 1_000_000: 4}
PARTIAL_ROUNDS: Final = 3
"""Rounds of partial changes for each of a full listing: they are short, so that a stray pause weighs more."""

SLOW_UP_TO: Final = 100_000
"""Rows beyond which naive code and dlt take minutes a round."""

DECISIVE: Final = 100_000
SEED: Final = 20261122
Seconds = dict[str, dict[str, list[float]]]


def open_candidates(
    rows: int, folder: Path, server: str, stack: ExitStack
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Open every candidate that this machine has; say why the others are left out."""
    postgres = [stack.enter_context(fresh_database(server)) for _ in range(3)]
    makers: dict[str, Callable[[], Candidate]] = {
        "ours_sqlite": lambda: Ours(f"sqlite:///{folder / 'ours.db'}"),
        "ours_postgres": lambda: Ours(postgres[0]),
        "floor_sqlite": lambda: Floor(f"sqlite:///{folder / 'floor.db'}"),
        "floor_postgres": lambda: Floor(postgres[1]),
        "delta": lambda: DeltaLake(folder / "delta"),
        "duckdb": lambda: DuckDb(folder / "duck.db"),
        "ducklake": lambda: DuckDb(folder / "lake", lake=True),
    }
    if rows <= SLOW_UP_TO:
        makers["naive"] = lambda: NaivePandas(f"sqlite:///{folder / 'naive.db'}")
        makers["naive_core"] = lambda: NaiveCore(f"sqlite:///{folder / 'core.db'}")
        makers["dlt"] = lambda: Dlt(folder / "dlt", postgres[2])
    opened, skipped = {}, {}
    for name, make in makers.items():
        try:
            opened[name] = make()
        except ImportError as error:
            skipped[name] = f"not installed: {error.name}"
        except Exception as error:  # A peer that cannot start here must not stop the others; the report says why.
            if name.startswith(("ours", "floor")):
                raise
            skipped[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return opened, skipped


def measure(rows: int, folder: Path, server: str) -> tuple[Seconds, dict[str, int], dict[str, str]]:
    """Run all rounds at one size."""
    seconds: Seconds = {}
    with ExitStack() as stack:
        candidates, skipped = open_candidates(rows, folder, server, stack)
        table = make_table(rows, SEED)
        for candidate in candidates.values():
            candidate.load(table)
        gc.freeze()  # Else each collection before a timed call visits all that the candidates' libraries hold.
        rounds = ROUNDS.get(rows, 5)
        number_of_rounds = rounds * (1 + PARTIAL_ROUNDS)
        for number in range(number_of_rounds):
            mode = "full" if number < rounds else "partial"
            share = rows // 100 if mode == "full" else PARTIAL_ROWS
            batch = make_batch(table, updates=share, inserts=share // 10, deletes=share // 10, seed=number + 1)
            # In an order of its own each round: whoever comes after a large program finds the processor's caches cold.
            for name in Random(number).sample(list(candidates), len(candidates)):
                step = candidates[name].full if mode == "full" else candidates[name].partial
                with suppress(NotImplementedError):
                    taken = timed(lambda step=step, batch=batch: step(batch))
                    seconds.setdefault(name, {}).setdefault(mode, []).append(taken)
            table = batch.listing
        stored = {name: candidate.stored_bytes() // number_of_rounds for name, candidate in candidates.items()}
        for name, candidate in candidates.items():
            for _ in range(3):
                try:
                    seconds[name].setdefault("revert", []).append(timed(candidate.undo))
                except NotImplementedError:
                    break
                break_chain(candidate, table)
            candidate.close()
    return seconds, stored, skipped


def break_chain(candidate: Candidate, table: Any) -> None:
    """Commit the state before the revert again, so that the next revert takes the same change back."""
    candidate.full(Batch(table, table.slice(0, 0), table.slice(0, 0).select([SPEC.key_names[0]])))


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that `work` takes, garbage collected before."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def prepare_memory(rows: int, folder: str) -> None:
    """Store a table, and leave its next listing in a file: the process that is measured must not have built them itself."""
    store = open_empty(f"sqlite:///{folder}/memory.db", SPEC)
    table = make_table(rows, SEED)
    store.commit(store.begin(intent(SPEC, FIRST, "load")), Change(table, is_full=True))
    store.close()
    listing = make_batch(table, updates=rows // 100, inserts=rows // 1000, deletes=rows // 1000, seed=1).listing
    with ipc.new_file(f"{folder}/listing.arrow", listing.schema) as writer:
        writer.write_table(listing)


def peak_memory(folder: str) -> int:
    """Return how much a full-listing commit adds to the memory of a process that holds the listing."""
    store = reopen(Database(f"sqlite:///{folder}/memory.db"), SPEC)
    with ipc.open_file(f"{folder}/listing.arrow") as reader:
        listing = reader.read_all()
    clear_peak()
    before = resident_bytes()
    store.commit(store.begin(intent(SPEC, FIRST.shift(1), "bench")), Change(listing, is_full=True))
    return peak_bytes() - before


def clear_peak() -> None:
    """Start the kernel's high-water mark anew; where that is not possible, the figure is an upper bound."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def resident_bytes() -> int:
    """Return the memory the process holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """Return the process's high-water mark."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def ratios_of(medians: dict[int, dict[str, dict[str, float]]]) -> dict[str, float | None]:
    """Return the figures that the project promises; None where a candidate or a size was left out."""

    def get(rows: int, name: str, mode: str) -> float | None:
        return medians.get(rows, {}).get(name, {}).get(mode)

    def over(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else round(one / other, 2)

    def over_floor(rows: int) -> float | None:
        return over(get(rows, "ours_sqlite", "partial"), get(rows, "floor_sqlite", "partial"))

    ours = get(DECISIVE, "ours_sqlite", "full")
    both = [
        over(get(DECISIVE, "ours_postgres", mode), get(DECISIVE, "ours_sqlite", mode)) for mode in ("full", "partial")
    ]
    return {
        "full_vs_delta_speedup": over(get(DECISIVE, "delta", "full"), ours),
        "full_vs_ducklake_speedup": over(get(DECISIVE, "ducklake", "full"), ours),
        "full_vs_duckdb_speedup": over(get(DECISIVE, "duckdb", "full"), ours),
        "full_vs_naive_speedup": over(get(DECISIVE, "naive", "full"), ours),
        "full_vs_naive_core_speedup": over(get(DECISIVE, "naive_core", "full"), ours),
        "partial_vs_floor": over_floor(DECISIVE),
        "partial_1e6_vs_1e4": over(over_floor(1_000_000), over_floor(10_000)),
        "postgres_vs_sqlite": max((ratio for ratio in both if ratio is not None), default=None),
        "revert_vs_floor": over(get(DECISIVE, "ours_sqlite", "revert"), get(DECISIVE, "floor_sqlite", "partial")),
    }


def run(sizes: list[int]) -> dict[str, Any]:
    """Measure all sizes and return the report."""
    report: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": os.getloadavg(),
    }
    medians: dict[int, dict[str, dict[str, float]]] = {}
    with postgres_server(durable=True) as server:
        for rows in sizes:
            folder = Path(tempfile.mkdtemp(prefix="ao_bench_"))
            try:
                seconds, stored, skipped = measure(rows, folder, server)
                with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                    pool.apply(prepare_memory, (rows, str(folder)))
                    memory = pool.apply(peak_memory, (str(folder),))
            finally:
                gc.unfreeze()  # The next size must not carry this one's candidates along.
                shutil.rmtree(folder, ignore_errors=True)
            medians[rows] = {
                name: {mode: statistics.median(taken[1:] or taken) for mode, taken in modes.items() if taken}
                for name, modes in seconds.items()
            }
            report[f"rows_{rows}"] = {
                "median_seconds": medians[rows],
                "stored_bytes_per_batch": stored,
                "peak_extra_memory_bytes": memory,
                "skipped": skipped,
            }
            print_table(rows, medians[rows], stored, memory, skipped)
    return {"ratios": ratios_of(medians), **report, "load_after": os.getloadavg()}


def print_table(
    rows: int, medians: dict[str, dict[str, float]], stored: dict[str, int], memory: int, skipped: dict[str, str]
) -> None:
    """Print one size."""
    print(f"\n{rows:,} rows, 1 % changed (partial: {PARTIAL_ROWS:,} rows); our peak extra memory {memory / 1e6:.0f} MB")
    print(f"{'':16}{'full s':>10}{'partial s':>12}{'revert s':>10}{'stored MB':>11}")
    for name, modes in sorted(medians.items(), key=lambda item: item[1]["full"]):
        cells = [f"{modes[mode]:.4f}" if mode in modes else "-" for mode in ("full", "partial", "revert")]
        print(f"{name:16}{cells[0]:>10}{cells[1]:>12}{cells[2]:>10}{stored[name] / 1e6:>11.2f}")
    for name, reason in skipped.items():
        print(f"{name:16}left out: {reason}")


def main() -> None:
    """Parse the command line, run, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    report = run(sizes)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n" + json.dumps(report["ratios"], indent=1))


if __name__ == "__main__":
    main()
