"""Refused records, stored in the same transaction as the rows that came with them.

1. A record that is refused counts once, as the version that was refused last (`test_a_refused_record_counts_as_one`).
2. An open refusal ends with the record: a later good version, a deletion, or a full listing without it resolves it
   (`test_a_later_good_version_resolves_the_refusal`).
"""

from __future__ import annotations

import hashlib
from typing import Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import QUARANTINE
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.bundles.schema import TableSpec

_OPEN: Final = sa.select(QUARANTINE.c.record_hash, QUARANTINE.c.record_key).where(
    QUARANTINE.c.asset == sa.bindparam("of_asset"), QUARANTINE.c.status == "open"
)


def store_quarantine(connection: sa.Connection, intent: Intent, change: Change) -> None:
    """Keep refused records; resolve open ones that came in anew, well or not, that were deleted, or that are listed no more."""
    if intent.kind is not BundleKind.MATERIALIZE:
        return
    asset, cycle = intent.spec.asset, intent.cycle.key
    hashes = {_record_hash(item): item for item in change.quarantined}
    open_ones = connection.execute(_OPEN, {"of_asset": asset}).all()
    ended = [one for one in open_ones if one.record_hash not in hashes]
    if ended and not change.is_full:
        refused = {item.record_key for item in change.quarantined}
        settled = _labels(intent.spec, change.rows)
        if change.deleted is not None:
            settled |= _labels(intent.spec, change.deleted)
        ended = [one for one in ended if one.record_key in refused or _is_settled(one.record_key, settled)]
    if ended:
        connection.execute(
            QUARANTINE.update().where(QUARANTINE.c.asset == asset, QUARANTINE.c.record_hash == sa.bindparam("ended")),
            [{"ended": one.record_hash, "status": "resolved", "last_cycle": cycle} for one in ended],
        )
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


def _labels(spec: TableSpec, rows: pa.Table) -> set[str]:
    """Return the keys of rows as collectors write them beside a refused record."""
    columns = [rows.column(name).to_pylist() for name in spec.key_names]
    return {"/".join(str(part) for part in key) for key in zip(*columns, strict=True)}


def _is_settled(record_key: str, settled: set[str]) -> bool:
    """A label may name the request's scope (an Asana story's task) before the key; ids hold no slash but Chat's whole names."""
    return record_key in settled or record_key.rpartition("/")[2] in settled


def _record_hash(item: Quarantined) -> str:
    return hashlib.sha256(f"{item.record_key}\0{item.payload}".encode()).hexdigest()[:32]
