"""`python -m ao_pipeline_tests.stress.sources_down [--sample N --seed S]`: every combination of five sources being down, with five faults.

Each case runs two real cycles over HTTP: one with the sources down, one after they came back. Judged by what was stored and sent, never
by what a run said. Writes `build/stress/sources_down.json`; status 1 if a case was not as it must be.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.defs import failures

# Before the assets are declared, so that nobody waits 30 s for each second try.
failures.STEP_RETRY = dg.RetryPolicy(max_retries=1, delay=0)  # type: ignore[misc]  # Final, but for this.

from ao_pipeline.snapshot.trust import SOURCES_OF  # noqa: E402 - after the line above.
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant, copy_sqlite, environment, sandbox  # noqa: E402 - the same.

REPORT: Final = Path("build/stress/sources_down.json")
SOURCES: Final = SOURCES_OF["trust"]
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "unavailable": {"kind": "status", "status": 503},
    "refused": {"kind": "status", "status": 401},
    "silent": {"kind": "hang", "seconds": 5.0},
    "reset": {"kind": "disconnect"},
    "truncated": {"kind": "truncated"},
}
PATIENCE_SECONDS: Final = 0.3
"""Read time-out of a silent source; the default would make the silent cases take hours."""

Case = tuple[tuple[str, ...], str]


def cases() -> list[Case]:
    """Return every set of sources with every fault."""
    subsets = itertools.chain.from_iterable(itertools.combinations(SOURCES, size) for size in range(len(SOURCES) + 1))
    return [(down, fault) for down in subsets for fault in FAULTS]


def faults_of(plant: Plant, down: tuple[str, ...], fault: str) -> Iterator[str]:
    """Run a cycle with the sources down and yield whatever is not as it must be."""
    before = plant.state_hashes()
    for source in down:
        plant.box.fault(source, **FAULTS[fault])
    plant.cycle(SECOND)
    report, trust = plant.report(SECOND), plant.trust()
    wanted = "degraded" if down else "success"
    if report["recorded"] != wanted:
        yield f"the cycle is {report['recorded']}, not {wanted}"
    if trust["stale_sources"] != sorted(down):
        yield f"the snapshot says that {trust['stale_sources']} are stale"
    yield from wrong_ages(trust, down)
    yield from wrong_sections(plant, down)
    after = plant.state_hashes()
    for asset in after:
        if asset.startswith("raw/") and asset.split("/")[1].split("_")[0] in down and after[asset] != before[asset]:
            yield f"{asset} changed while its source was down"
    yield from wrong_messages(plant, down)


def wrong_ages(trust: dict[str, Any], down: tuple[str, ...]) -> Iterator[str]:
    """Yield what the trust strip says wrongly about how old a source is."""
    for source, state in trust["sources"].items():
        if source in down and (state["status"] != "stale" or state["as_of_cycle"] != FIRST.key):
            yield f"{source} is shown as {state}"
        if source not in down and state["status"] != "fresh":
            yield f"{source} answers and is shown as {state}"


def wrong_sections(plant: Plant, down: tuple[str, ...]) -> Iterator[str]:
    """Yield every section that is missing, older than the cycle, or shown as fresh although a source behind it is down."""
    sections = {row["section"]: row["status"] for row in plant.table("snapshot/agency").to_pylist()}
    with plant.store() as store:
        head = store.head("snapshot/agency")
    if set(sections) != set(SOURCES_OF) or head is None or head.state_cycle != SECOND.key:
        yield f"no snapshot of the cycle was published: {sorted(sections)}"
    for section, status in sections.items():
        if status == "fresh" and set(SOURCES_OF.get(section, ())) & set(down):
            yield f"section {section} is shown as fresh"


def wrong_messages(plant: Plant, down: tuple[str, ...]) -> Iterator[str]:
    """Yield every message that was not sent, or sent and not recorded."""
    rows = plant.table("notify/deliveries").to_pylist()
    told = [row for row in rows if row["kind"] == "data_degraded" and row["entity"] == ", ".join(sorted(down))]
    if down and [row["status"] for row in told] != ["sent"]:
        yield f"people were not told once that data is stale: {[row['status'] for row in told]}"
    unsent = [row["kind"] for row in rows if row["status"] != "sent"]
    if unsent:
        yield f"not sent: {unsent}"
    received = len(plant.box.webhook_messages())
    sent = sum(row["sent_cycle"] == SECOND.key for row in rows)
    if received != sent:
        yield f"{received} messages arrived, {sent} are recorded as sent"


def faults_after(plant: Plant) -> Iterator[str]:
    """Run the next cycle with every source back and yield whatever is not as it must be."""
    plant.box.clear_faults()
    plant.cycle(THIRD)
    report, trust = plant.report(THIRD), plant.trust()
    if report["recorded"] != "success" or trust["stale_sources"]:
        yield f"after the sources came back: {report['recorded']}, stale {trust['stale_sources']}"


def run_case(case: Case, base: Path, key_folder: Path) -> list[str]:
    """Run one case on a copy of the store that holds the first cycle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_sqlite(base, folder / "state.db")
        with (
            sandbox(folder, key_folder) as box,
            environment(**variables(folder, box.port, box.credentials_path)) as settings,
            dg.DagsterInstance.ephemeral() as instance,
        ):
            plant = Plant(box, settings, instance)
            return [*faults_of(plant, *case), *faults_after(plant), *plant.findings()]


def variables(folder: Path, port: int, credentials: Path) -> dict[str, str]:
    """Return the settings of one case."""
    return {
        "AO_DATA_DIR": str(folder),
        "AO_SANDBOX_PORT": str(port),
        "AO_GOOGLE_CREDENTIALS_FILE": str(credentials),
        "AO_READ_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),
    }


def first_cycle(folder: Path) -> tuple[Path, Path]:
    """Run the first cycle; return its store and the folder of the service-account key."""
    with (
        sandbox(folder, folder) as box,
        environment(**variables(folder, box.port, box.credentials_path)) as settings,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        outcome = Plant(box, settings, instance).cycle(FIRST)
        if not outcome.is_good:
            raise AssertionError(f"the first cycle failed: {outcome}")
    return folder / "state.db", folder / "sandbox"


def main() -> int:
    """Run the cases and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="run only so many cases, drawn from the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    logging.getLogger("uvicorn.error").disabled = True  # Faults cut answers on purpose; it has a page for each.
    clock.sleep = lambda seconds: None  # Back-off is counted elsewhere; here only what comes of it matters.
    chosen = cases()
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    began = time.monotonic()
    wrong: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        base, key_folder = first_cycle(Path(name))
        for number, case in enumerate(chosen, 1):
            found = run_case(case, base, key_folder)
            label = f"{'+'.join(case[0]) or 'none'} {case[1]}"
            if found:
                wrong[label] = found
            print(f"{number}/{len(chosen)} {label}: {'; '.join(found) or 'as it must be'}", flush=True)
    report = {
        "cases": len(chosen),
        "sources": list(SOURCES),
        "faults": list(FAULTS),
        "stale_shown_as_fresh": sum("shown as fresh" in text for found in wrong.values() for text in found),
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 1),
        "seed": options.seed,
    }
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(chosen)} cases, {len(wrong)} wrong, {report['seconds']} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
