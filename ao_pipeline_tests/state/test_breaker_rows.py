"""Circuit breakers at rest, on both databases: exact after kills and restarts, one probe among many processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.breakers import Breakers
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.failures import FailureLog
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind, Phase
from ao_pipeline.resilience.evidence import Failure
from ao_pipeline_tests.stress.breaker_races import NAMES, QUARTER, START, Killer, damage, drop_event, feed, make, race

JOB = "raw/asana_tasks"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = make(database_url)
    yield opened
    opened.close()


def fail(breakers: Breakers, name: str, number: int) -> None:
    breakers.record({name: BreakerEvent(EventKind.FAILED, START + number * QUARTER, reason="tried")})


def test_a_breaker_survives_a_restart_as_it_was(database: Database, database_url: str) -> None:
    for number in range(3):
        fail(Breakers(database), JOB, number)
    before = Breakers(database).all()

    database.close()
    other = Database(database_url)
    after = Breakers(other).all()
    findings = Breakers(other).findings()
    other.close()

    assert after == before
    assert (after[0].state, findings) == (Phase.OPEN, [])


def test_each_transition_is_an_event_row(database: Database) -> None:
    breakers = Breakers(database)
    for number in range(3):
        fail(breakers, JOB, number)
    breakers.take_probes([JOB], at_us=START + 4 * QUARTER, holder="run 4", cycle="2033-05-18-04:30")

    events = breakers.events(JOB)

    assert [(item.seq, item.from_state, item.to_state) for item in events if item.is_transition] == [
        (3, "closed", "open"),
        (4, "open", "half_open"),
    ]
    assert (events[-1].event.holder, events[-1].event.cycle) == ("run 4", "2033-05-18-04:30")


def test_what_changes_nothing_writes_nothing(database: Database) -> None:
    breakers = Breakers(database)

    breakers.record({JOB: BreakerEvent(EventKind.SUCCEEDED, START)})

    with pytest.raises(UnknownNameError, match="nothing ever happened"):
        breakers.events(JOB)
    assert breakers.all() == []


def test_of_two_breakers_no_token_is_taken_when_one_refuses(database: Database) -> None:
    breakers = Breakers(database)
    breakers.force("source:asana", Phase.OPEN, reason="r", actor="a", until_us=START)
    breakers.force(JOB, Phase.OPEN, reason="r", actor="a", until_us=START + 10 * QUARTER)

    assert not breakers.take_probes(NAMES, at_us=START + QUARTER, holder="run", cycle="")

    assert [item.probe_holder for item in breakers.all()] == ["", ""]
    assert breakers.take_probes(["source:asana"], at_us=START + QUARTER, holder="run", cycle="")


def test_an_event_and_its_state_are_written_together_or_not_at_all(database: Database) -> None:
    breakers = Breakers(database)
    fail(breakers, JOB, 0)
    before = breakers.all()

    def refuse(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INSERT INTO ao_breaker_event" in statement:
            raise RuntimeError("the disk is full")

    sa.event.listen(database.engine, "before_cursor_execute", refuse)
    with pytest.raises(RuntimeError, match="disk is full"):
        fail(breakers, JOB, 1)
    sa.event.remove(database.engine, "before_cursor_execute", refuse)

    assert breakers.all() == before
    assert breakers.findings() == []


def test_a_row_that_is_not_the_fold_of_its_events_is_found(database: Database) -> None:
    breakers = Breakers(database)
    fail(breakers, JOB, 0)
    fail(breakers, "source:asana", 0)

    damage(database, JOB)
    drop_event(database, "source:asana")

    assert [(item.asset, item.problem) for item in breakers.findings()] == [
        (JOB, "the breaker's state is not what its events add up to"),
        ("source:asana", "the breaker's state is not what its events add up to"),
    ]


def test_of_eight_processes_one_gets_the_probe(database_url: str) -> None:
    assert race(database_url, rounds=25, processes=8) == []


def test_a_kill_at_any_moment_leaves_the_fold_of_the_events(database_url: str, tmp_path: Path) -> None:
    killer = Killer(database_url, f"sqlite:///{tmp_path / 'twin.db'}", tmp_path, seed=5)

    killer.run(20)

    assert killer.problems == []
    assert {"COMMIT", "INSERT INTO ao_breaker"} <= set(killer.places), killer.places


def test_feeding_a_cycle_twice_counts_it_once(database: Database) -> None:
    breakers = Breakers(database)
    for number in range(40):
        feed(breakers, 3, number)
        once = breakers.all()
        feed(breakers, 3, number)

        assert breakers.all() == once


def test_failed_attempts_are_kept_once_and_read_back(database: Database) -> None:
    log, cycle = FailureLog(database), Cycle.from_key("2026-11-22-10:00")
    first = Failure(JOB, cycle.key, "run-1", 1, "TransientError", "transient", "asana: 503", 10, "run-1")
    second = Failure(JOB, cycle.key, "run-1", 2, "TransientError", "transient", "asana: 503", 20, "run-1")

    for failure in (first, second, second):
        log.record(failure)
    log.record(Failure("truth/capacity", cycle.key, "run-9", 1, "KeyError", "bug", "raised at x.py:1", 30, "run-9"))

    assert log.of_cycle(cycle, ["run-1"]) == [first, second]
    assert [item.asset for item in log.latest(limit=2)] == ["truth/capacity", JOB]
    assert log.latest(JOB, since_us=15) == [second]
