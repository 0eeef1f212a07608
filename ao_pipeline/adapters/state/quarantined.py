"""Refused records, stored in the same transaction as the rows that came with them."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import QUARANTINE
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.bundles.header import BundleKind


def store_quarantine(connection: sa.Connection, intent: Intent, change: Change) -> None:
    """Keep refused records; an open one that a full listing no longer shows, or that came in anew, is resolved."""
    if intent.kind is not BundleKind.MATERIALIZE:
        return
    asset, cycle = intent.spec.asset, intent.cycle.key
    hashes = {_record_hash(item): item for item in change.quarantined}
    superseded = QUARANTINE.c.record_key.in_([item.record_key for item in change.quarantined])
    stale = sa.and_(
        QUARANTINE.c.asset == asset, QUARANTINE.c.status == "open", QUARANTINE.c.record_hash.not_in(list(hashes))
    )
    if change.is_full or change.quarantined:
        where = stale if change.is_full else sa.and_(stale, superseded)
        connection.execute(QUARANTINE.update().where(where).values(status="resolved", last_cycle=cycle))
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # What a person gave up stays given up, until the record changes and so has another hash.
    status = sa.case((QUARANTINE.c.status == "dropped", "dropped"), else_="open")
    for record_hash, item in hashes.items():
        statement = insert(QUARANTINE).values(
            asset=asset,
            record_hash=record_hash,
            record_key=item.record_key,
            reason=item.reason,
            payload=item.payload,
            first_cycle=cycle,
            last_cycle=cycle,
            status="open",
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["asset", "record_hash"], set_={"last_cycle": cycle, "status": status}
            )
        )


def _record_hash(item: Quarantined) -> str:
    return hashlib.sha256(f"{item.record_key}\0{item.payload}".encode()).hexdigest()[:32]
