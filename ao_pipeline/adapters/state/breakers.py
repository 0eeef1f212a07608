"""Circuit breakers at rest: each event is a row, written in one transaction with the state that it leads to.

1. The state row equals the fold of the event rows, after any crash (`test_a_kill_at_any_moment_leaves_the_fold_of_the_events`).
2. A transition looks at the state under a lock and writes only the successor of what it saw, so of several processes that ask
   for a probe one gets it (`test_of_eight_processes_one_gets_the_probe`).
3. What changes nothing is not written: a healthy cycle reads this table once and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline import clock
from ao_pipeline.adapters.state.breaker_tables import BREAKER, BREAKER_EVENT
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.verify import Finding
from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.resilience.breaker import ask, fold
from ao_pipeline.resilience.breaker_state import (
    POLICY,
    BreakerEvent,
    BreakerPolicy,
    BreakerState,
    EventKind,
    Phase,
)

_EVENT_FIELDS: Final = tuple(field.name for field in fields(BreakerEvent))
_TOUCHED: Final = sa.select(BREAKER).where(BREAKER.c.seq > 0)
"""Rows that hold something: PostgreSQL needs one to lock before the first event."""

MAX_EVENTS: Final = 100_000
"""Events of one breaker that are folded again; it changes a few times a cycle at most."""


@dataclass(frozen=True)
class RecordedEvent:
    """An event as it is stored: number, what it did, and when by the machine's clock."""

    name: str
    seq: int
    event: BreakerEvent
    from_state: str
    to_state: str
    recorded_at_us: int
    policy: BreakerPolicy = POLICY

    @property
    def is_transition(self) -> bool:
        """Whether the breaker changed between closed, open and half-open."""
        return self.from_state != self.to_state


class Breakers:
    """Every circuit breaker of a store. One that never saw a failure has no row and is closed."""

    def __init__(self, database: Database, policy: BreakerPolicy = POLICY) -> None:
        self._database = database
        self._policy = policy

    def all(self) -> list[BreakerState]:
        """Return the breakers that anything ever happened to, by name."""
        with self._database.read() as connection:
            return [_state(row) for row in connection.execute(_TOUCHED.order_by(BREAKER.c.name))]

    def get(self, name: str) -> BreakerState:
        """Return one breaker; a closed one when nothing ever happened to it."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(BREAKER).where(BREAKER.c.name == name)).first()
        return BreakerState(name) if row is None else _state(row)

    def record(self, events: Mapping[str, BreakerEvent]) -> list[RecordedEvent]:
        """Let things happen to breakers, all or none of them; return what was not without effect, by name.

        Raises:
            TransientError: The store is locked or unreachable. Nothing was written.
        """
        with self._database.write() as connection:
            return self.record_in(connection, events)

    def record_in(self, connection: sa.Connection, events: Mapping[str, BreakerEvent]) -> list[RecordedEvent]:
        """Do the same inside a write transaction of somebody else's."""
        recorded = []
        with self._locked(connection, events) as states:
            for name, event in sorted(events.items()):
                done = self._apply(connection, states[name], event)
                recorded += [done] if done else []
        return recorded

    def take_probes(self, names: Collection[str], *, at_us: int, holder: str, cycle: str) -> bool:
        """Ask all of these breakers together: either every one lets the holder pass, or no token is taken.

        Args:
            names: Breakers of one job: its own and its source's.
            at_us: End of the cycle.
            holder: Who asks; it may ask again.
            cycle: Its key.

        Raises:
            TransientError: The store is locked or unreachable. Nothing was written.
        """
        with self._database.write() as connection, self._locked(connection, names) as states:
            answers = {
                name: ask(states[name], at_us=at_us, holder=holder, cycle=cycle, policy=self._policy)
                for name in sorted(names)
            }
            passes = all(answer.passes for answer in answers.values())
            for name, answer in answers.items():
                # A token is only taken together with the others; that somebody waits for one is noted in any case.
                if answer.event is not None and (passes or answer.event.kind is not EventKind.PROBE_TAKEN):
                    self._apply(connection, states[name], answer.event)
        return passes

    def force(self, name: str, to: Phase, *, reason: str, actor: str, until_us: int | None) -> list[RecordedEvent]:
        """Open or close a breaker by hand.

        Args:
            name: Which one.
            to: Open lets nothing pass; closed lets everything pass and counts, but does not open.
            reason: Everybody sees it.
            actor: Who.
            until_us: When the rules take over again: an open one is probed then. None opens it until its hold is released.
        """
        kind = EventKind.FORCED_OPEN if to is Phase.OPEN else EventKind.FORCED_CLOSED
        event = BreakerEvent(kind, newest_cycle_end_us(), until_us=until_us, reason=reason, actor=actor)
        return self.record({name: event})

    def reset(self, name: str, *, reason: str, actor: str) -> list[RecordedEvent]:
        """Close a breaker, whatever it was, and forget what it counted."""
        return self.record({name: BreakerEvent(EventKind.RESET, newest_cycle_end_us(), reason=reason, actor=actor)})

    def release_in(self, connection: sa.Connection, asset: str) -> None:
        """Close, in the transaction that releases an asset's hold, the breaker that was opened together with the hold."""
        row = connection.execute(sa.select(BREAKER).where(BREAKER.c.name == asset)).first()
        if row is not None and row.forced == "open" and row.forced_until_us is None:
            self.record_in(
                connection,
                {asset: BreakerEvent(EventKind.RESET, newest_cycle_end_us(), reason="its hold was released")},
            )

    def events(self, name: str, *, after_seq: int = 0, limit: int = MAX_EVENTS) -> list[RecordedEvent]:
        """Return a breaker's events, the oldest first.

        Raises:
            UnknownNameError: Nothing ever happened to a breaker of that name.
        """
        query = sa.select(BREAKER_EVENT).where(BREAKER_EVENT.c.name == name, BREAKER_EVENT.c.seq > after_seq)
        with self._database.read() as connection:
            found = [_event(row) for row in connection.execute(query.order_by(BREAKER_EVENT.c.seq).limit(limit))]
            known = [row.name for row in connection.execute(_TOUCHED.order_by(BREAKER.c.name))]
        if name not in known:
            raise UnknownNameError(
                f"nothing ever happened to a breaker {name!r}; there are: {', '.join(known) or 'none'}"
            )
        return found

    def findings(self) -> list[Finding]:
        """Return every breaker whose row is not what its events add up to; empty when all is well."""
        with self._database.read() as connection:
            states = {row.name: _state(row) for row in connection.execute(sa.select(BREAKER))}
            order = (BREAKER_EVENT.c.name, BREAKER_EVENT.c.seq)
            events = [_event(row) for row in connection.execute(sa.select(BREAKER_EVENT).order_by(*order))]
        return list(_differences(states, events))

    @contextmanager
    def _locked(self, connection: sa.Connection, names: Iterable[str]) -> Iterator[dict[str, BreakerState]]:
        """Yield the breakers, made if need be, locked in the order of their names."""
        wanted = sorted(set(names))
        query = sa.select(BREAKER).where(BREAKER.c.name.in_(wanted)).order_by(BREAKER.c.name)
        if self._database.is_sqlite:
            found = {row.name: _state(row) for row in connection.execute(query)}
        else:
            fresh = [_row(BreakerState(name)) for name in wanted]
            if fresh:
                connection.execute(postgresql.insert(BREAKER).values(fresh).on_conflict_do_nothing())
            found = {row.name: _state(row) for row in connection.execute(query.with_for_update())}
        yield {name: found.get(name, BreakerState(name)) for name in wanted}

    def _apply(self, connection: sa.Connection, before: BreakerState, event: BreakerEvent) -> RecordedEvent | None:
        after = fold(before, event, self._policy)
        if after is before:
            return None
        values = _row(after)
        insert = sqlite.insert(BREAKER) if self._database.is_sqlite else postgresql.insert(BREAKER)
        connection.execute(insert.values(values).on_conflict_do_update(index_elements=["name"], set_=values))
        recorded = RecordedEvent(
            after.name,
            after.seq,
            event,
            before.state.value,
            after.state.value,
            clock.to_micros(clock.utc_now()),
            self._policy,
        )
        connection.execute(
            BREAKER_EVENT.insert().values(
                {name: getattr(event, name) for name in _EVENT_FIELDS}
                | {
                    "name": recorded.name,
                    "seq": recorded.seq,
                    "kind": event.kind.value,
                    "policy": canonical_json(asdict(self._policy)),
                    "from_state": recorded.from_state,
                    "to_state": recorded.to_state,
                    "recorded_at_us": recorded.recorded_at_us,
                }
            )
        )
        return recorded


def newest_cycle_end_us() -> int:
    """Return the present as breakers count it: the end of the newest closed cycle."""
    return clock.to_micros(Cycle.last_closed(clock.utc_now()).end)


def _differences(states: Mapping[str, BreakerState], events: Iterable[RecordedEvent]) -> Iterator[Finding]:
    folded: dict[str, BreakerState] = {}
    for item in events:
        before = folded.get(item.name, BreakerState(item.name))
        after = fold(before, item.event, item.policy)
        if after.seq != item.seq or (before.state.value, after.state.value) != (item.from_state, item.to_state):
            yield Finding(item.name, "", f"breaker event {item.seq} does not follow from the ones before it")
        folded[item.name] = after
    for name in sorted(states.keys() | folded.keys()):
        if states.get(name, BreakerState(name)) != folded.get(name, BreakerState(name)):
            yield Finding(name, "", "the breaker's state is not what its events add up to")


def _row(state: BreakerState) -> dict[str, Any]:
    return {**asdict(state), "state": state.state.value}


def _state(row: sa.Row[Any]) -> BreakerState:
    return BreakerState(**{**row._mapping, "state": Phase(row.state)})


def _event(row: sa.Row[Any]) -> RecordedEvent:
    values = {name: row._mapping[name] for name in _EVENT_FIELDS}
    event = BreakerEvent(**{**values, "kind": EventKind(row.kind)})
    policy = BreakerPolicy(**json.loads(row.policy))
    return RecordedEvent(row.name, row.seq, event, row.from_state, row.to_state, row.recorded_at_us, policy)
