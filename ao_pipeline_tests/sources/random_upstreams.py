"""Random histories of every upstream, drawn from a seed: what people do there, lost cursors, faults, killed collections.

After each history the stored rows equal the upstream's, row for row, deletions included. `ao_pipeline_tests.stress.upstreams`
plays more of them than the suite.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ao_pipeline.errors import AoError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START
from ao_pipeline_tests.sources.source_truth import stored, truth
from ao_pipeline_tests.sources.stored_engine import PLACES, DoubledError, StoredEngine
from ao_pipeline_tests.sources.upstream_changes import SUBJECTS, Hand, Subject
from ao_pipeline_tests.stress.postgres import fresh_database

STEPS: Final = 10
BLOCK: Final = 10
"""Histories that follow each other in one world and one store."""

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
