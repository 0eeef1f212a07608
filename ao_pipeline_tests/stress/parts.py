"""The parts of the long proof. Each runs in a process of its own, counts, and stops when its time is over."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.stress.crashes import Crasher, private_server
from ao_pipeline_tests.stress.histories import FIRST, History, MismatchError, commit, intent, open_empty, wipe
from ao_pipeline_tests.stress.kills import Killer
from ao_pipeline_tests.stress.places import quick_folder
from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server
from ao_pipeline_tests.stress.random_histories import random_rows, run_history
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row
from ao_pipeline_tests.stress.tamper import Tamperer

POSTGRES_SHARE: Final = 4
"""One history in this many runs on PostgreSQL, where each costs more."""

SECONDS_BETWEEN_LINES: Final = 30.0


@dataclass
class Outcome:
    """What a part found."""

    counts: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    walked: list[str] = field(default_factory=list)


@dataclass
class Progress:
    """Tells now and then how far a part is, and when its time is over."""

    name: str
    size: int
    started: float
    deadline: float
    told: float = 0.0

    def __call__(self, done: int) -> None:
        """Print a line if the last one was long ago."""
        now = time.monotonic()
        if now - max(self.told, self.started) > SECONDS_BETWEEN_LINES:
            self.told = now
            print(f"{round(now - self.started):>6} s    {self.name}: at {done} of {self.size} in this part", flush=True)

    @property
    def is_late(self) -> bool:
        """Whether the part has to stop."""
        return time.monotonic() > self.deadline


@dataclass(frozen=True)
class Part:
    """One piece of work: a function of this module, what it is called with, and how much it does."""

    name: str
    work: Callable[..., Outcome]
    arguments: tuple[Any, ...]
    size: int

    def run(self, progress: Progress) -> Outcome:
        """Do it, in the process that this is called in."""
        return self.work(*self.arguments, progress)


def histories(first: int, count: int, seed: int, server: str, progress: Progress) -> Outcome:
    """Run random histories on both databases."""
    outcome = Outcome()
    with both_stores(server) as stores:
        for number in range(first, first + count):
            if progress.is_late:
                break
            name = database_of(number)
            wipe(stores[name])
            try:
                run_history(History(stores[name], EVERY_TYPE), random.Random(f"{seed}/{number}"))
            except MismatchError as error:
                outcome.problems.append(f"history {number}: {error}")
                outcome.counts["mismatches"] += 1
            except Exception as error:  # An engine that raises where the model goes on disagrees with it too.
                outcome.problems.append(f"history {number}: {error!r}")
                outcome.counts["mismatches"] += 1
            outcome.counts.update(["histories", f"histories on {name}"])
            progress(number + 1 - first)
    return outcome


def replay(number: int, seed: int) -> int:
    """Run one history again and tell every step; return 1 when store and model disagree."""
    with postgres_server() as server, both_stores(server) as stores:
        history = History(stores[database_of(number)], EVERY_TYPE)
        try:
            run_history(history, random.Random(f"{seed}/{number}"))
        except Exception:
            traceback.print_exc()
            return 1
        finally:
            for past in history.model.past:
                print(
                    f"{past.seq:>3} {past.cycle} {past.kind} {past.name}: {len(past.rows)} rows, cursor {past.cursor}"
                )
            print(f"history {number} of seed {seed} on {database_of(number)}, {history.model.pruned} bundles pruned")
    return 0


def kills(count: int, seed: int, server: str, folder: Path, progress: Progress) -> Outcome:
    """Kill writers, on PostgreSQL when there is a server, else on SQLite on a disk."""
    folder.mkdir()
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(server)) if server else f"sqlite:///{folder / 'state.db'}"
        killer = Killer(open_empty(url, EVERY_TYPE), url, folder, seed)
        stack.callback(killer.store.close)
        killer.run(count, after_each=progress, is_late=lambda: progress.is_late)
    return _killed(killer)


def crashes(count: int, seed: int, progress: Progress) -> Outcome:
    """Kill PostgreSQL servers."""
    with private_server() as server:
        crasher = Crasher(server, seed=seed)
        crasher.crash(count, after_each=progress, is_late=lambda: progress.is_late)
        crasher.store.close()
    return _killed(crasher)


def _killed(killer: Killer) -> Outcome:
    in_fsync = sum(count for place, count in killer.places.items() if place.endswith("killed in fsync"))
    return Outcome(
        killer.counts + Counter({"killed in fsync": in_fsync}), killer.places, killer.problems, killer.walked
    )


def tamperings(first: int, count: int, seed: int, server: str, progress: Progress) -> Outcome:
    """Damage a store in many ways; every other part damages one whose old bundles were pruned, every fifth one on PostgreSQL."""
    outcome, part = Outcome(), first // max(count, 1)
    with both_stores(server) as stores:
        store = stores["postgres" if part % 5 == 4 else "sqlite"]
        draw = random.Random(f"{seed}/{first}")
        live_a_little(store, draw, is_pruned=bool(part % 2))
        tamperer = Tamperer(store, EVERY_TYPE, draw)
        for number in range(count):
            if progress.is_late:
                break
            done, findings = tamperer.try_one()
            outcome.counts["tamperings"] += 1
            if findings:
                outcome.counts["tamperings_found"] += 1
            else:
                outcome.problems.append(f"not found: {done}")
            progress(number + 1)
        if store.verify(EVERY_TYPE.asset):
            outcome.problems.append("the damage was not undone")
    return outcome


def live_a_little(store: StateStore, draw: random.Random, *, is_pruned: bool) -> None:
    """Give a store a past: commits, a revert, and perhaps bundles that were pruned."""
    for number in range(6):
        rows = [*random_rows(draw), row(EVERY_TYPE, "kept", 99, note=str(number))]
        commit(store, EVERY_TYPE, FIRST.shift(number), rows, cursor={"page": number})
    store.revert(intent(EVERY_TYPE, FIRST.shift(2), "revert"))
    if is_pruned:
        store.prune(EVERY_TYPE.asset, keep_from=FIRST.shift(3))


def database_of(number: int) -> str:
    """Return which database a history runs on."""
    return "sqlite" if number % POSTGRES_SHARE else "postgres"


@contextmanager
def both_stores(server: str) -> Iterator[dict[str, StateStore]]:
    """Open an empty store on each database."""
    with quick_folder() as folder, fresh_database(server) as url:
        stores = {
            "sqlite": open_empty(f"sqlite:///{folder / 'state.db'}", EVERY_TYPE),
            "postgres": open_empty(url, EVERY_TYPE),
        }
        try:
            yield stores
        finally:
            for store in stores.values():
                store.close()
