"""Who may act on this state store: a lease that expires, and a token that only grows.

A lease alone cannot keep two engines apart: a process that was paused does not know that its time has passed. So each takeover
raises the token, and a commit of the engine's own checks in its transaction that its token is still the newest.

Invariants:
1. One token has one holder, ever (`test_two_racing_processes_never_hold_the_same_token`).
2. What began under an older token cannot commit (`test_a_paused_holder_that_wakes_after_a_takeover_cannot_commit`).
3. Neither depends on clocks: a clock that jumps moves a takeover, it never lets two holders commit
   (`test_clock_jumps_of_a_day_never_let_two_holders_commit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline import clock
from ao_pipeline.adapters.state.catalog import LEASE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.errors import FencedError
from ao_pipeline.observability.view import EngineLease

ENGINE_LEASE: Final = "engine"
"""The lease of the engine as a whole: its schedules, sensors and the runs that they ask for."""

TTL_SECONDS: Final = 90
"""Without renewal for this long another engine takes over. Six renewals: a restart of the code server must fit in."""

SKEW_SECONDS: Final = 5
"""A renewal that lies further in the future than this was made before the clock went back."""

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True)
class Lease:
    """Who holds a lease, under which token, until when. Times are microseconds UTC of the database's clock."""

    name: str
    holder: str
    token: int
    acquired_at_us: int
    renewed_at_us: int
    expires_at_us: int


class Leases:
    """Leases in the state store.

    Args:
        database: Where they live.
        now_us: The clock; by default the server's on PostgreSQL, which all engines share, and the machine's on SQLite.
    """

    def __init__(self, database: Database, *, now_us: Callable[[], int] | None = None) -> None:
        self._database = database
        self._clock = now_us

    def current(self, name: str = ENGINE_LEASE) -> Lease | None:
        """Return the lease as it is stored, expired or not; None when nobody ever held it."""
        with self._database.read() as connection:
            return _read(connection, name)

    def is_expired(self, lease: Lease) -> bool:
        """Tell whether anybody may take the lease over."""
        with self._database.read() as connection:
            return self._now_us(connection) >= lease.expires_at_us

    def acquire(self, holder: str, *, name: str = ENGINE_LEASE, ttl_seconds: int = TTL_SECONDS) -> Lease:
        """Take the lease, renew it, or leave it to who has it.

        Returns:
            The lease as it is afterwards; its holder is somebody else when that one's time has not passed.
        """
        with self._database.read() as connection:
            found = _read(connection, name)
            if found is not None and found.holder != holder and not self._is_open(connection, found):
                return found  # A standby asks every few seconds: it only reads.
        with self._database.write(is_durable=False) as connection:
            found = self._locked(connection, name)
            now_us = self._now_us(connection)
            until_us = now_us + ttl_seconds * _SECOND_US
            if found is None:
                lease = Lease(name, holder, 1, now_us, now_us, until_us)
            elif found.holder == holder:
                lease = replace(found, renewed_at_us=now_us, expires_at_us=until_us)
            elif now_us >= found.expires_at_us:
                lease = Lease(name, holder, found.token + 1, now_us, now_us, until_us)
            elif found.renewed_at_us > now_us + SKEW_SECONDS * _SECOND_US:
                # The clock went back. The holder's time is counted from now, or a dead one would hold it for a day.
                lease = replace(found, renewed_at_us=now_us, expires_at_us=until_us)
            else:
                return found
            return self._store(connection, lease)

    def take(self, holder: str, *, name: str = ENGINE_LEASE, ttl_seconds: int = TTL_SECONDS) -> Lease:
        """Take the lease whoever holds it: a person's decision. What ran under the old token cannot commit any more."""
        with self._database.write() as connection:
            found = self._locked(connection, name)
            now_us = self._now_us(connection)
            token = 1 if found is None else found.token + 1
            return self._store(
                connection, Lease(name, holder, token, now_us, now_us, now_us + ttl_seconds * _SECOND_US)
            )

    def release(self, lease: Lease) -> None:
        """Let the next one have the lease at once, unless it was taken over already. Its token stays the newest."""
        with self._database.write(is_durable=False) as connection:
            found = self._locked(connection, lease.name)
            if found is not None and found.token == lease.token:
                self._store(connection, replace(found, expires_at_us=0))  # By every clock, also one that goes back.

    def _is_open(self, connection: sa.Connection, lease: Lease) -> bool:
        now_us = self._now_us(connection)
        return now_us >= lease.expires_at_us or lease.renewed_at_us > now_us + SKEW_SECONDS * _SECOND_US

    def _locked(self, connection: sa.Connection, name: str) -> Lease | None:
        row = connection.execute(sa.select(LEASE).where(LEASE.c.name == name).with_for_update()).first()
        return None if row is None else Lease(**row._mapping)

    def _store(self, connection: sa.Connection, lease: Lease) -> Lease:
        """Write the lease; return what is stored, which is somebody else's when both were the first ever."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        values = asdict(lease)
        statement = insert(LEASE).values(**values)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[LEASE.c.name],
                set_={column: value for column, value in values.items() if column != "name"},
                # Two that found no row have nothing that they could have locked: the second one must not overwrite the first.
                where=sa.or_(LEASE.c.token < lease.token, LEASE.c.holder == lease.holder),
            )
        )
        stored = _read(connection, lease.name)
        return lease if stored is None else stored

    def _now_us(self, connection: sa.Connection) -> int:
        if self._clock is not None:
            return self._clock()
        if self._database.is_sqlite:
            return clock.to_micros(clock.utc_now())
        seconds = connection.execute(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))).scalar_one()
        return int(seconds * _SECOND_US)


def refuse_displaced(connection: sa.Connection, token: int, *, name: str = ENGINE_LEASE) -> None:
    """Refuse to go on under a token that is not the newest any more; hold the newest until the transaction ends.

    Raises:
        FencedError: Another engine has taken over. Nothing was written.
    """
    query = sa.select(LEASE.c.token, LEASE.c.holder).where(LEASE.c.name == name).with_for_update(read=True)
    found = connection.execute(query).first()
    if found is None or found.token != token:
        holder = "nobody" if found is None else f"{found.holder} (token {found.token})"
        raise FencedError(
            f"this run began under token {token} of the engine's lease, which {holder} has taken over since; "
            "the other engine's work stands, this is dropped"
        )


def engine_lease(connection: sa.Connection) -> EngineLease | None:
    """Return what operators see of the engine's lease."""
    found = _read(connection, ENGINE_LEASE)
    return None if found is None else EngineLease(found.holder, found.token, found.renewed_at_us, found.expires_at_us)


def _read(connection: sa.Connection, name: str) -> Lease | None:
    row = connection.execute(sa.select(LEASE).where(LEASE.c.name == name)).first()
    return None if row is None else Lease(**row._mapping)
