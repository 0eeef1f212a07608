"""How much does a cycle with unchanged inputs cost above Dagster itself? Writes `build/bench/cycle.json`.

Both jobs run in this process, by turns, on a Dagster instance of the same kind (SQLite files in a temporary folder), with
the definitions loaded before. The peer has as many partitioned assets with the same dependencies, whose bodies are empty.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import dagster as dg

from ao_pipeline.clock import monotonic_seconds
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.inventory import ALL_ASSETS
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.operate import CycleOutcome
from ao_pipeline.defs.partitions import CYCLES
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.plant import FIRST, QUIET, SECOND, Plant, environment, sandbox

TARGET: Final = PROJECT_DIR / "build" / "bench" / "cycle.json"
RUNS: Final = 9
HOURS: Final = tuple(SECOND.shift(4 * hour) for hour in range(10))
"""On the hour every collector is due, so that both jobs run the same number of assets; ten hours stay on one local day."""


def noop_job() -> dg.JobDefinition:
    """Return a job of empty assets with the keys, partitions and dependencies of the real ones."""
    assets = [_noop(definition) for definition in ALL_ASSETS]
    job = dg.define_asset_job("noop", executor_def=dg.in_process_executor)
    return dg.Definitions(assets=assets, jobs=[job]).resolve_job_def("noop")


def _noop(definition: dg.AssetsDefinition) -> dg.AssetsDefinition:
    @dg.asset(key=definition.key, deps=sorted(definition.asset_deps[definition.key]), partitions_def=CYCLES)
    def body() -> None:
        return None

    return body


def measure(once: Callable[[], object]) -> float:
    """Return the wall time of one call in seconds."""
    began = monotonic_seconds()
    once()
    return monotonic_seconds() - began


def refuse_change(outcome: CycleOutcome) -> None:
    """Stop when the cycle was not what is to be measured: all assets, all good, nothing changed."""
    changed = sum(item.inserted + item.updated + item.deleted for item in outcome.assets)
    if not outcome.is_good or changed or len(outcome.assets) != len(ALL_ASSETS):
        raise RuntimeError(f"cycle {outcome.cycle}: {outcome.status}, {changed} rows, {len(outcome.assets)} assets")


def run(runs: int, *, profile: Path | None = None) -> dict[str, object]:
    """Measure cycles and no-op runs by turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ao_bench_")))
        box = stack.enter_context(sandbox(folder / "data", folder))
        settings = stack.enter_context(
            environment(
                AO_DATA_DIR=str(folder / "data"),
                AO_SANDBOX_PORT=str(box.port),
                AO_GOOGLE_CREDENTIALS_FILE=str(box.credentials_path),
            )
        )
        ours, theirs = (stack.enter_context(_instance(folder / name)) for name in ("ours", "theirs"))
        plant = Plant(box, settings, ours)
        noop = noop_job()
        build_definitions().resolve_job_def("cycle")

        def cycle(at: Cycle) -> CycleOutcome:
            return plant.cycle(at)

        def peer(at: Cycle) -> object:
            return noop.execute_in_process(instance=theirs, partition_key=at.key, run_config=QUIET)

        for at in (FIRST, HOURS[0]):  # Warm-up: the first cycle inserts everything.
            cycle(at)
            peer(at)
        timings: dict[str, list[float]] = {"cycle_s": [], "noop_s": []}
        for number in range(runs):
            at = HOURS[1 + number % (len(HOURS) - 1)]
            timings["cycle_s"].append(measure(lambda at=at: refuse_change(cycle(at))))  # type: ignore[misc]
            timings["noop_s"].append(measure(lambda at=at: peer(at)))  # type: ignore[misc]
        if profile is not None:
            _profile(lambda: cycle(HOURS[-1]), profile)
    medians = {name: round(statistics.median(values), 4) for name, values in timings.items()}
    return {
        "ratios": {"cycle_vs_noop": round(medians["cycle_s"] / medians["noop_s"], 3)},
        "medians": medians,
        "spread": {name: [round(min(v), 4), round(max(v), 4)] for name, v in timings.items()},
        "runs": runs,
        "assets": len(ALL_ASSETS),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores": os.cpu_count(),
    }


def _instance(folder: Path) -> dg.DagsterInstance:
    folder.mkdir()
    return dg.DagsterInstance.local_temp(str(folder))


def _profile(once: Callable[[], object], path: Path) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(once)
    profiler.dump_stats(str(path))
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(60)


def main() -> None:
    """Run, write the file, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--profile", type=Path, help="write a profile of one more cycle to this file")
    arguments = parser.parse_args()
    result = run(arguments.runs, profile=arguments.profile)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
