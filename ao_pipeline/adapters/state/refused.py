"""One refused record out of the quarantine: look at it, give it up, or have it read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import QUARANTINE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.replay import is_newer, replay
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import PermanentError, UnknownNameError


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


@dataclass(frozen=True)
class Retried:
    """What came of a refused record: `stored`, `refused` again, or `outdated` because a newer version is stored."""

    outcome: Literal["stored", "refused", "outdated"]
    reason: str = ""
    bundle_id: str = ""


def replay_refused(store: StateStore, record: dict[str, Any], *, actor: str, engine_token: int = 0) -> Retried:
    """Read what was kept of a record with the contracts of this version, and commit its row if it is good now.

    A record that is refused again stays where it is, with the new reason. A newer stored version is not overwritten.

    Raises:
        UnknownNameError: The asset was never computed, or keeps no records of an upstream.
        ContractError: The kept payload is no record any more. Nothing was changed.
        PermanentError: The record is resolved, or came from a file. Nothing was changed.
    """
    spec, is_this = store.spec(record["asset"]), _is_this(record)
    name = f"{spec.asset} {record['record_hash'][:12]} ({record['record_key']})"
    if record["status"] == "resolved":
        raise PermanentError(f"{name} is resolved already: a later version was stored, or it is listed no more")
    if (store.cursor(spec.asset) or {}).get("origin"):
        raise PermanentError(f"{name} came from a file; mend the file, or have it read again with --from-source")
    replayed = replay(spec.asset, record_key=record["record_key"], payload=record["payload"])
    if replayed.reason:
        with store.database.write() as connection:
            connection.execute(QUARANTINE.update().where(is_this).values(reason=replayed.reason))
        return Retried("refused", replayed.reason)
    # Begun first: a writer that stores a newer version after the look below leaves this one fenced off.
    writer = store.begin(_intent(store, spec, record, name="replay", actor=actor, engine_token=engine_token))
    if writer.found is None:
        with store.database.read() as connection:
            stored = store.tables.read_by_key(connection, spec, replayed.rows.select(list(spec.key_names))).to_pylist()
        outcome = Retried("outdated", "a newer version is stored")
        if not is_newer(spec.asset, stored[0] if stored else None, replayed.rows.to_pylist()[0]):
            receipt = store.commit(writer, Change(replayed.rows, is_full=False))
            outcome = Retried("stored", bundle_id=receipt.header.bundle_id)
    else:
        outcome = Retried("stored", bundle_id=writer.found.bundle_id)
    with store.database.write() as connection:
        connection.execute(QUARANTINE.update().where(is_this).values(status="resolved"))
    return outcome


def reread_refused(store: StateStore, record: dict[str, Any], *, actor: str, engine_token: int = 0) -> None:
    """Let the next collection of the record's asset read everything anew, with the contracts of this version.

    Clearing the cursor reads what the upstream says now, and a full listing resolves whatever is not refused again. No row
    changes here.

    Raises:
        UnknownNameError: The asset was never computed.
    """
    spec = store.spec(record["asset"])
    writer = store.begin(_intent(store, spec, record, name="read-again", actor=actor, engine_token=engine_token))
    if writer.found is None:
        store.commit(writer, Change(spec.empty(), is_full=False, cursor={}))
    with store.database.write() as connection:
        connection.execute(QUARANTINE.update().where(_is_this(record)).values(status="open"))


def _intent(
    store: StateStore, spec: TableSpec, record: dict[str, Any], *, name: str, actor: str, engine_token: int
) -> Intent:
    head = store.head(spec.asset)
    if head is None or not head.computed_cycle:
        raise UnknownNameError(f"{spec.asset} was never computed; `ao cycle` computes it")
    cycle = Cycle.from_key(head.computed_cycle)
    return Intent(
        spec=spec,
        cycle=cycle,
        first_cycle=cycle,
        name=f"{name}:{record['record_hash'][:12]}:{head.seq}",
        actor=actor,
        reason=f"record {record['record_hash'][:12]} is to be read again",
        state_cycle=head.state_cycle,
        engine_token=engine_token,
    )


def _is_this(record: dict[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(QUARANTINE.c.asset == record["asset"], QUARANTINE.c.record_hash == record["record_hash"])
