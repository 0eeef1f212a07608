"""Random histories of every upstream, drawn from a seed: what people do there, lost cursors, faults, killed collections.

After each history the stored rows equal the upstream's, row for row, deletions included. More histories than the suite
runs: `python -m ao_pipeline_tests.sources.random_upstreams --histories 300`, which writes `build/stress/upstreams.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ao_pipeline.errors import AoError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START
from ao_pipeline_tests.sources.source_truth import stored, truth
from ao_pipeline_tests.sources.stored_engine import PLACES, DoubledError, StoredEngine
from ao_pipeline_tests.sources.upstream_changes import SUBJECTS, Hand, Subject
from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server

REPORT: Final = PROJECT_DIR / "build" / "stress" / "upstreams.json"
STEPS: Final = 10
BLOCK: Final = 10
"""Histories that follow each other in one world and one store."""

POSTGRES_SHARE: Final = 4
"""One block in this many has its store on PostgreSQL."""

FRESH_RATIO: Final = 0.5
"""Share of histories that begin with an empty store; the others go on from what the last one left."""

WORLD: Final = replace(
    SMALL,
    projects=5,
    tasks=40,
    mail_threads=4,
    chat_messages=30,
    spaces=3,
    calendars=3,
    events=16,
    invoices=20,
    google_tasks=16,
    people=16,
    files=16,
)


@dataclass
class Tally:
    """What happened to one source."""

    histories: int = 0
    mismatches: int = 0
    doubled: int = 0
    comparisons: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)

    def missing(self, subject: Subject) -> list[str]:
        """Return the kinds of change, and the places of a crash, that were never drawn."""
        return [kind for kind in subject.kinds if not self.kinds[kind]] + [
            f"crash {place}" for place in PLACES if not self.places[place]
        ]


def play(engine: StoredEngine, source: str, seed: int, tally: Tally) -> None:
    """Play one history and compare along it and at its end.

    Raises:
        AssertionError: The stored rows are not the upstream's, or a crash doubled a bundle; the message holds the seed
            and what was done.
    """
    subject, draw = SUBJECTS[source], random.Random(f"{source}-{seed}")
    hand = Hand(engine, subject.asset, subject.kind, draw)
    done: list[str] = []
    if draw.random() < FRESH_RATIO:
        engine.forget()
        done.append("forget")
    try:
        for _ in range(STEPS):
            done.append(_step(hand, source, subject, tally))
            if done[-1] == "collect" and subject.is_exact:
                _compare(engine, subject, tally)
        engine.box.clear_faults()
        engine.advance(hours=subject.settle_hours)
        engine.run(subject.asset)
        _compare(engine, subject, tally)
        damage = engine.store.verify(subject.asset)
        assert not damage, f"the store is damaged: {damage[0]}"
    except (AssertionError, AoError) as error:
        kind = type(error) if isinstance(error, AssertionError) else AssertionError
        raise kind(f"{source} seed {seed}: {error}; done: {json.dumps(done)}") from error


def _compare(engine: StoredEngine, subject: Subject, tally: Tally) -> None:
    expected = truth(engine, subject.asset)
    found = stored(engine, subject.asset, expected)
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    tally.comparisons += 1
    assert not wrong, (
        f"{len(wrong)} rows differ, first {wrong[0]}: stored {found.get(wrong[0])}, upstream {expected.get(wrong[0])}"
    )


def _step(hand: Hand, source: str, subject: Subject, tally: Tally) -> str:
    engine, draw = hand.engine, hand.draw
    assert isinstance(engine, StoredEngine)
    action = draw.choice([*subject.kinds, "collect", "collect", "time"])
    if action == "time":
        engine.advance(minutes=draw.choice([1, 15, 90, 60 * 30, 60 * 24 * 8]))
    elif action == "collect":
        engine.run(subject.asset)
    elif action == "crash":
        place = draw.choice(PLACES)
        died_at = engine.crash(place, between=lambda: _perhaps(hand, subject))
        tally.places[died_at] += 1
    elif action == "fault":
        script = engine.box.script_faults(draw.randrange(10**6), count=2, within_seconds=0, sources=_doors(source))
        tally.faults.update(str(fault.get("status", fault["kind"])) for fault in script)
        try:
            engine.run(subject.asset)
        except AoError as error:
            tally.errors[type(error).__name__] += 1
        engine.box.clear_faults()
    elif action == "expire":
        engine.box.expire_cursors(source)
        engine.advance(minutes=1)
    elif not subject.acts[action](hand):
        return "nothing"
    tally.kinds[action] += 1
    return action


def _perhaps(hand: Hand, subject: Subject) -> None:
    """Let the upstream go on, or not, while the dead collection waits to be repeated."""
    if hand.draw.random() < 0.5:
        subject.acts[hand.draw.choice(["create", "edit", "delete"])](hand)


def _doors(source: str) -> list[str]:
    """Return what a fault may hit: the source three times in four, else the place where its tokens come from."""
    token = {"asana": "asana", "xero": "xero_token"}.get(source, "google_token")
    return [source, source, source, token]


@contextmanager
def upstream(source: str, folder: Path, url: str) -> Iterator[StoredEngine]:
    """Yield an engine with a world and an empty store of its own."""
    with serve(SandboxOptions(data_dir=folder, frozen_at=START, size=WORLD)) as box:
        settings = Settings(sandbox_port=box.port, data_dir=folder)
        engine = StoredEngine(box, settings, url=url, asset=SUBJECTS[source].asset, folder=folder)
        try:
            yield engine
        finally:
            engine.store.close()


def play_block(source: str, seeds: range, tally: Tally, *, folder: Path, postgres: str) -> list[str]:
    """Play histories one after the other in one world; return what went wrong. A wrong one ends the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = f"sqlite:///{folder / f'{source}-{seeds.start}.db'}"
        if postgres:
            url = stack.enter_context(fresh_database(postgres))
        engine = stack.enter_context(upstream(source, folder, url))
        for seed in seeds:
            tally.histories += 1
            try:
                play(engine, source, seed, tally)
            except AssertionError as error:
                tally.mismatches += 1
                tally.doubled += isinstance(error, DoubledError)
                return [f"in the world of {seeds.start}: {error}"]
    return []


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
                problems += play_block(source, seeds, tally, folder=Path(name) / source, postgres=postgres)
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
    logging.getLogger("uvicorn.error").disabled = True  # Faults cut answers on purpose; it has a line for each.
    report = run(given.histories, given.first_seed, given.source or list(SUBJECTS))
    given.report.parent.mkdir(parents=True, exist_ok=True)
    given.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in report.items() if name != "sources"}, indent=1))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
