"""Processes that race for one probe, and processes that are killed while they feed a breaker."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from ao_pipeline.adapters.state.breaker_tables import BREAKER, BREAKER_EVENT
from ao_pipeline.adapters.state.breakers import Breakers
from ao_pipeline.adapters.state.catalog import ENGINE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind, Phase

QUARTER: Final = 15 * 60 * 1_000_000
START: Final = 2_000_000_000 * 1_000_000 // QUARTER * QUARTER
NAMES: Final = ("raw/asana_tasks", "source:asana")
CHILD_SECONDS: Final = 120


def make(url: str) -> Database:
    """Open a database with the breakers' tables."""
    database = Database(url)
    ENGINE.create_all(database.engine)
    return database


def racer(url: str, barrier: Barrier, rounds: int, number: int, wins: Any) -> None:
    """Ask for the probe of each round at the same moment as the others."""
    breakers = Breakers(Database(url))
    for turn in range(rounds):
        barrier.wait(CHILD_SECONDS)
        if breakers.take_probes(NAMES, at_us=_cycle(turn), holder=f"run {turn} of {number}", cycle=""):
            wins.append((turn, number))
        if barrier.wait(CHILD_SECONDS) == 0:  # One of them ends the probe, and it is due again in the next round.
            outcome = BreakerEvent(EventKind.INCONCLUSIVE, _cycle(turn))
            breakers.record(dict.fromkeys(NAMES, outcome))
    os._exit(0)  # Nothing of the parent's is to be cleaned up here.


def race(url: str, *, rounds: int, processes: int) -> list[str]:
    """Let processes race for one probe a round; return every round in which not exactly one got it."""
    database = make(url)
    breakers = Breakers(database)
    breakers.record(dict.fromkeys(NAMES, BreakerEvent(EventKind.FORCED_OPEN, START, until_us=START)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Manager() as manager:
        wins, barrier = manager.list(), context.Barrier(processes)
        children = [
            context.Process(target=racer, args=(url, barrier, rounds, number, wins)) for number in range(processes)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
        counts = Counter(turn for turn, _ in wins)
        broken = [f"exit {child.exitcode}" for child in children if child.exitcode]
    problems = [f"round {turn}: {counts[turn]} probes" for turn in range(rounds) if counts[turn] != 1]
    problems += [f"{item.asset}: {item.problem}" for item in breakers.findings()]
    database.close()
    return broken + problems[:20]


def _cycle(turn: int) -> int:
    return START + turn * QUARTER


def feeding(seed: int, number: int) -> dict[str, BreakerEvent]:
    """What one cycle tells the breakers: the same for child and parent."""
    draw = random.Random(f"{seed}/{number}")
    at_us = START + number * QUARTER
    kind = EventKind.FAILED if draw.random() < 0.6 else EventKind.SUCCEEDED
    return {name: BreakerEvent(kind, at_us, is_slow=draw.random() < 0.2, reason="fed") for name in NAMES}


def feed_and_die(url: str, seed: int, number: int, kill_at: int, place: str) -> None:
    """Feed one cycle as the engine does, and die at a boundary between two statements."""
    reached = 0

    def boundary(name: str) -> None:
        nonlocal reached
        if reached == kill_at:
            Path(place).write_text(name, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        reached += 1

    database = Database(url)
    event.listen(
        database.engine, "before_cursor_execute", lambda *arguments: boundary(" ".join(arguments[2].split()[:3]))
    )
    event.listen(database.engine, "commit", lambda _connection: boundary("COMMIT"))
    breakers = Breakers(database)
    feed(breakers, seed, number)
    boundary("after the end")
    Path(place).write_text("finished", encoding="utf-8")
    os._exit(0)


def feed(breakers: Breakers, seed: int, number: int) -> None:
    """Ask for a probe where one is due, then tell how the cycle went."""
    at_us = START + number * QUARTER
    if any(breakers.get(name).state is not Phase.CLOSED for name in NAMES):
        breakers.take_probes(NAMES, at_us=at_us, holder=f"run {number}", cycle="")
    breakers.record(feeding(seed, number))


@dataclass
class Killer:
    """Kills feeders one after the other and compares with a store in which nobody dies."""

    url: str
    twin_url: str
    folder: Path
    seed: int
    places: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    kills: int = 0

    def run(self, kills: int, *, boundaries: int = 14) -> None:
        """Kill so often, walking the boundaries of a feeding; after each one check, and feed again as a retry does."""
        database, twin = make(self.url), make(self.twin_url)
        breakers, healthy = Breakers(database), Breakers(twin)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        number = 0
        while self.kills < kills and len(self.problems) < 10:
            number += 1
            place = self.folder / "place"
            place.unlink(missing_ok=True)
            arguments = (self.url, self.seed, number, number % boundaries, str(place))
            child = context.Process(target=feed_and_die, args=arguments)
            child.start()
            child.join(CHILD_SECONDS)
            self.kills += child.exitcode == -signal.SIGKILL
            self.places[place.read_text(encoding="utf-8") if place.exists() else "nowhere"] += 1
            if child.exitcode not in (0, -signal.SIGKILL):
                self.problems.append(f"feeding {number}: exit {child.exitcode}")
            self.problems += [f"feeding {number}: {item.asset}: {item.problem}" for item in breakers.findings()]
            feed(breakers, self.seed, number)
            feed(healthy, self.seed, number)
            if breakers.all() != healthy.all():
                self.problems.append(f"feeding {number}: {breakers.all()} is not {healthy.all()}")
        self.problems += [f"{item.asset}: {item.problem}" for item in breakers.findings()]
        database.close()
        twin.close()


def damage(database: Database, name: str) -> None:
    """Change a breaker's row without an event."""
    with database.write() as connection:
        connection.execute(BREAKER.update().where(BREAKER.c.name == name).values(failures=BREAKER.c.failures + 1))


def drop_event(database: Database, name: str) -> None:
    """Lose a breaker's newest event."""
    newest = sa.select(sa.func.max(BREAKER_EVENT.c.seq)).where(BREAKER_EVENT.c.name == name).scalar_subquery()
    with database.write() as connection:
        connection.execute(BREAKER_EVENT.delete().where(BREAKER_EVENT.c.name == name, BREAKER_EVENT.c.seq == newest))
