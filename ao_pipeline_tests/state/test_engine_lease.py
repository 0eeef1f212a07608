"""One engine acts on a state store: a lease that expires, a token that only grows, a commit that checks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest

from ao_pipeline import clock
from ao_pipeline.adapters.state.leases import Lease, Leases, refuse_displaced
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.errors import FencedError
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.stress.histories import FIRST, intent, open_empty
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

SECOND = 1_000_000
DAY = 86_400 * SECOND
ROWS = Change(conform(EVERY_TYPE, [row(EVERY_TYPE, "a", 1)]), is_full=True)


class Times:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now_us


def commits_under(store: StateStore, token: int, name: str) -> bool:
    """Tell whether a commit under this token goes through."""
    writer = store.begin(replace(intent(EVERY_TYPE, FIRST, name), engine_token=token))
    try:
        store.commit(writer, ROWS)
    except FencedError:
        return False
    return True


def test_the_holder_renews_and_another_engine_stands_by_until_the_lease_has_expired(store: StateStore) -> None:
    times = Times()
    leases = Leases(store.database, now_us=times)

    first = leases.acquire("here")
    times.now_us += 80 * SECOND
    refused = leases.acquire("there")
    renewed = leases.acquire("here")
    times.now_us += 89 * SECOND
    still_refused = leases.acquire("there")
    times.now_us += 2 * SECOND
    taken = leases.acquire("there")

    assert (first.holder, first.token) == ("here", 1)
    assert (refused.holder, still_refused.holder) == ("here", "here")
    assert (renewed.token, renewed.renewed_at_us) == (1, first.renewed_at_us + 80 * SECOND)
    assert (taken.holder, taken.token) == ("there", 2)
    assert leases.current() == taken


def test_what_began_under_an_older_token_cannot_commit(store: StateStore) -> None:
    old = store.leases.acquire("here")
    writer = store.begin(replace(intent(EVERY_TYPE, FIRST, "run-old"), engine_token=old.token))

    taken = store.leases.take("there")

    with pytest.raises(FencedError, match="which there .token 2. has taken over since"):
        store.commit(writer, ROWS)
    assert store.read(EVERY_TYPE.asset).num_rows == 0
    assert commits_under(store, taken.token, "run-new")


def test_a_takeover_waits_until_a_commit_that_passed_the_check_is_over(store: StateStore) -> None:
    token = store.leases.acquire("here").token
    takeover = threading.Thread(target=store.leases.take, args=["there"])

    with store.database.write() as connection:
        refuse_displaced(connection, token)
        takeover.start()
        takeover.join(0.5)
        is_held_off = takeover.is_alive()
    takeover.join(20)

    lease = store.leases.current()
    assert is_held_off
    assert lease is not None
    assert (lease.holder, lease.token) == ("there", token + 1)


def test_what_needs_no_lease_commits_without_one(store: StateStore) -> None:
    assert commits_under(store, 0, "by hand")


def test_a_lease_that_was_given_back_is_free_at_once_but_its_token_is_not_used_again(store: StateStore) -> None:
    store.leases.release(store.leases.acquire("here"))

    taken = store.leases.acquire("there")

    assert (taken.holder, taken.token) == ("there", 2)


def test_giving_back_what_was_taken_over_changes_nothing(store: StateStore) -> None:
    old = store.leases.acquire("here")
    taken = store.leases.take("there")

    store.leases.release(old)

    assert store.leases.current() == taken


def test_a_dead_holder_is_followed_within_the_ttl_although_the_clock_went_back_a_day(store: StateStore) -> None:
    times = Times()
    leases = Leases(store.database, now_us=times)
    leases.acquire("dead")

    times.now_us -= DAY
    at_once = leases.acquire("alive")
    times.now_us += 91 * SECOND
    later = leases.acquire("alive")

    assert at_once.holder == "dead"
    assert (later.holder, later.token) == ("alive", 2)


def test_a_clock_that_went_back_does_not_take_the_lease_from_a_living_holder(store: StateStore) -> None:
    times = Times()
    leases = Leases(store.database, now_us=times)
    leases.acquire("alive")

    times.now_us -= DAY
    holders = []
    for _ in range(20):  # Five minutes in which both ask every 15 s.
        holders += [leases.acquire("other").holder, leases.acquire("alive").holder]
        times.now_us += 15 * SECOND

    assert set(holders) == {"alive"}


@pytest.mark.parametrize("seed", range(3))
def test_clock_jumps_of_a_day_never_let_two_holders_commit(store: StateStore, seed: int) -> None:
    """Two engines with clocks of their own that jump by a day: of any two, only the newest token's holder can commit."""
    random = Random(seed)
    times = {"here": Times(), "there": Times()}
    leases = {holder: Leases(store.database, now_us=times[holder]) for holder in times}
    tokens: dict[str, int] = {}
    takeovers = 0

    for turn in range(60):
        holder = random.choice(sorted(times))
        times[holder].now_us += random.choice([15 * SECOND, 15 * SECOND, DAY, -DAY])
        lease = leases[holder].acquire(holder)
        takeovers += lease.holder == holder and tokens.get(holder) != lease.token
        if lease.holder == holder:
            tokens[holder] = lease.token
        committed = [name for name, token in tokens.items() if commits_under(store, token, f"{name}-{turn}")]
        assert len(committed) == 1, (seed, turn, committed)

    assert takeovers >= 4, "the clocks did not jump enough to show anything"


@contextmanager
def racer(url: str, holder: str, rounds: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ao_pipeline_tests.state.lease_racer", url, holder, str(rounds)]
    with subprocess.Popen(
        command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_racing_processes_never_hold_the_same_token(database_url: str) -> None:
    """A thousand turns, each of them a takeover, by two processes at once."""
    open_empty(database_url, EVERY_TYPE).close()
    with racer(database_url, "here", 500) as here, racer(database_url, "there", 500) as there:
        for process in (here, there):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (here, there):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=200)[0] for process in (here, there)]

    holders: dict[int, set[str]] = defaultdict(set)
    own = {"here": 0, "there": 0}
    committed = 0
    for name, output in zip(own, outputs, strict=True):
        turns = [json.loads(line) for line in output.splitlines()]
        assert len(turns) == 500
        for turn in turns:
            holders[turn["token"]].add(turn["holder"])
            own[name] += turn["holder"] == name
            committed += turn["committed"]
    assert all(len(found) == 1 for found in holders.values())
    assert min(own.values()) > 100, f"one of them never had its turn: {own}"
    assert committed > 100


def test_a_paused_holder_that_wakes_after_a_takeover_cannot_commit(database_url: str) -> None:
    """A real process, stopped by SIGSTOP between its lease and its commit."""
    store = open_empty(database_url, EVERY_TYPE)
    command = [sys.executable, "-m", "ao_pipeline_tests.state.lease_sleeper", database_url, "here"]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as paused:
        assert paused.stdin is not None
        assert paused.stdout is not None
        assert paused.stdout.readline() == "1\n"
        os.kill(paused.pid, signal.SIGSTOP)
        taken = wait_for_takeover(store, "there")
        assert commits_under(store, taken.token, "run:new")
        os.kill(paused.pid, signal.SIGCONT)
        said = paused.communicate("commit\n", timeout=60)[0]

    assert (taken.holder, taken.token) == ("there", 2)
    assert said.startswith("fenced: "), said
    assert [header.intent for header in store.bundles(asset=EVERY_TYPE.asset)] == ["run:new"]
    store.close()


def wait_for_takeover(store: StateStore, holder: str) -> Lease:
    """Ask for the lease until it is given."""
    until = clock.monotonic_seconds() + 30
    while (lease := store.leases.acquire(holder)).holder != holder:
        assert clock.monotonic_seconds() < until, "the lease of the paused process never expired"
        clock.sleep(0.1)
    return lease
