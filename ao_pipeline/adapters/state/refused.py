"""One refused record out of the quarantine: look at it, give it up, or have it read again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import QUARANTINE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError


def find_refused(database: Database, name: str, *, asset: str | None = None) -> dict[str, Any]:
    """Return the refused record whose hash starts with `name`, whatever its status.

    Raises:
        UnknownNameError: None or several do.
    """
    if not name or any(c not in "0123456789abcdef" for c in name):
        raise UnknownNameError(f"{name!r} is not a record's hash: digits 0-9a-f, as `ao quarantine list` shows them")
    query = sa.select(QUARANTINE).where(QUARANTINE.c.record_hash.startswith(name)).limit(2)
    if asset is not None:
        query = query.where(QUARANTINE.c.asset == asset)
    with database.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    if len(rows) != 1:
        found = "no" if not rows else "more than one"
        where = "" if asset is None else f" of {asset}"
        raise UnknownNameError(f"{found} refused record{where} starts with {name!r}; see `ao quarantine list`")
    return rows[0]


def drop_refused(database: Database, *, asset: str, record_hash: str) -> bool:
    """Give an open refused record up: it counts no longer, until the record changes upstream. Tell whether it was open."""
    is_this = sa.and_(
        QUARANTINE.c.asset == asset, QUARANTINE.c.record_hash == record_hash, QUARANTINE.c.status == "open"
    )
    with database.write() as connection:
        return connection.execute(QUARANTINE.update().where(is_this).values(status="dropped")).rowcount > 0


def retry_refused(store: StateStore, record: dict[str, Any], *, actor: str) -> None:
    """Let the next collection of the record's asset read everything anew, with the contracts of this version.

    The kept payload is not replayed: it may be older than the row, and cut. Clearing the cursor reads what the upstream
    says now, and a full listing resolves whatever is not refused again. No row changes here.

    Raises:
        UnknownNameError: The asset was never computed.
    """
    spec = store.spec(record["asset"])
    head = store.head(spec.asset)
    if head is None or not head.computed_cycle:
        raise UnknownNameError(f"{spec.asset} was never computed; `ao cycle` computes it")
    cycle = Cycle.from_key(head.computed_cycle)
    intent = Intent(
        spec=spec,
        cycle=cycle,
        first_cycle=cycle,
        name=f"read-again:{head.seq}",
        actor=actor,
        reason=f"record {record['record_hash'][:12]} is to be read again",
        state_cycle=head.state_cycle,
    )
    store.commit(store.begin(intent), Change(spec.empty(), is_full=False, cursor={}))
    is_this = sa.and_(QUARANTINE.c.asset == record["asset"], QUARANTINE.c.record_hash == record["record_hash"])
    with store.database.write() as connection:
        connection.execute(QUARANTINE.update().where(is_this).values(status="open"))
