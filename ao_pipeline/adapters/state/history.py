"""Read what was recorded: heads, bundles, payloads, and which bundle stands for a cycle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import ChangeSet
from ao_pipeline.bundles.header import BundleHeader, BundleKind, header_from
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import IntegrityError, UnknownNameError

UNDO_WINDOW_FROM: Final = "undo_window_from"
"""What a retention bundle's stats name the oldest cycle that can still be returned to."""


def read_head(connection: sa.Connection, asset: str) -> Head | None:
    """Return the asset's head, None when nothing was ever committed."""
    row = connection.execute(sa.select(ASSET_HEAD).where(ASSET_HEAD.c.asset == asset, ASSET_HEAD.c.seq > 0)).first()
    return None if row is None else Head(**row._mapping)


def read_heads(connection: sa.Connection) -> dict[str, Head]:
    """Return every head, by asset."""
    rows = connection.execute(sa.select(ASSET_HEAD).where(ASSET_HEAD.c.seq > 0).order_by(ASSET_HEAD.c.asset))
    return {row.asset: Head(**row._mapping) for row in rows}


def read_bundles(
    connection: sa.Connection,
    *,
    asset: str | None = None,
    cycle: Cycle | None = None,
    after_seq: int | None = None,
    limit: int = 50,
) -> list[BundleHeader]:
    """Return headers, the newest first."""
    query = sa.select(BUNDLE)
    if asset is not None:
        query = query.where(BUNDLE.c.asset == asset)
    if cycle is not None:
        query = query.where(BUNDLE.c.first_cycle <= cycle.key, BUNDLE.c.cycle >= cycle.key)
    if after_seq is not None:
        query = query.where(BUNDLE.c.seq > after_seq)
    order = (BUNDLE.c.seq.desc(),) if asset else (BUNDLE.c.started_at_us.desc(), BUNDLE.c.asset, BUNDLE.c.seq.desc())
    rows = connection.execute(query.order_by(*order).limit(limit))
    return [header_from(dict(row._mapping)) for row in rows]


def read_bundles_between(connection: sa.Connection, *, after_us: int, until_us: int, limit: int) -> list[BundleHeader]:
    """Return headers of bundles started in `(after_us, until_us]`, the oldest first."""
    started = BUNDLE.c.started_at_us
    query = (
        sa.select(BUNDLE).where(started > after_us, started <= until_us).order_by(started, BUNDLE.c.asset).limit(limit)
    )
    return [header_from(dict(row._mapping)) for row in connection.execute(query)]


def find_bundle(connection: sa.Connection, name: str) -> BundleHeader:
    """Return the bundle whose id starts with `name`.

    Raises:
        UnknownNameError: None or several do.
    """
    if not name or any(c not in "0123456789abcdef" for c in name):
        raise UnknownNameError(f"{name!r} is not a bundle id: up to 16 digits 0-9a-f, as `ao log` shows them")
    rows = connection.execute(sa.select(BUNDLE).where(BUNDLE.c.bundle_id.startswith(name)).limit(2)).all()
    if len(rows) != 1:
        raise UnknownNameError(f"{'no' if not rows else 'more than one'} bundle starts with {name!r}; see `ao log`")
    return header_from(dict(rows[0]._mapping))


def read_payload(connection: sa.Connection, header: BundleHeader) -> bytes:
    """Return a bundle's payload, checked against its header.

    Raises:
        IntegrityError: It is missing or is not what was stored.
    """
    stored = connection.execute(
        sa.select(BUNDLE_PAYLOAD.c.payload).where(BUNDLE_PAYLOAD.c.bundle_id == header.bundle_id)
    ).scalar_one_or_none()
    payload = b"" if stored is None else bytes(stored)
    if payloads.payload_hash(payload) != header.payload_hash:
        raise IntegrityError(
            f"bundle {header.bundle_id} of {header.asset} ({header.cycle}): its payload is {'missing' if stored is None else 'damaged'}; "
            "it cannot be shown or taken back. Run `ao verify`"
        )
    return payload


def read_changes(connection: sa.Connection, spec: TableSpec, header: BundleHeader) -> ChangeSet:
    """Return the rows that a bundle changed."""
    return payloads.decode(spec, read_payload(connection, header))


def changes_since(
    connection: sa.Connection, spec: TableSpec, *, after: BundleHeader, head: Head
) -> Iterator[ChangeSet]:
    """Yield the change sets between bundle `after` (excluded) and the head, the newest first.

    Raises:
        IntegrityError: A bundle in between is missing, damaged, or the table's columns changed there.
    """
    expected = head.seq
    rows = connection.execute(
        sa.select(BUNDLE)
        .where(BUNDLE.c.asset == spec.asset, BUNDLE.c.seq > after.seq, BUNDLE.c.seq <= head.seq)
        .order_by(BUNDLE.c.seq.desc())
    ).all()
    for row in rows:
        header = header_from(dict(row._mapping))
        if header.seq != expected:
            raise IntegrityError(
                f"{spec.asset}: bundle {expected} is missing from its chain; run `ao verify {spec.asset}`"
            )
        if header.kind == BundleKind.MIGRATE:
            raise IntegrityError(
                f"{spec.asset}: columns of its table were changed or dropped in {header.cycle} (bundle {header.bundle_id}); "
                f"states before that cannot be restored into the table as it is now"
            )
        if header.payload_bytes:
            yield read_changes(connection, spec, header)
        expected -= 1
    if expected != after.seq:
        raise IntegrityError(f"{spec.asset}: bundle {expected} is missing from its chain; run `ao verify {spec.asset}`")


def undo_window_from(connection: sa.Connection, asset: str) -> str:
    """Return the oldest cycle that pruning has left within reach; empty when nothing was ever pruned."""
    stats = connection.execute(
        sa.select(BUNDLE.c.stats)
        .where(BUNDLE.c.asset == asset, BUNDLE.c.kind == BundleKind.RETENTION.value)
        .order_by(BUNDLE.c.seq.desc())
    ).scalars()
    return max((str(json.loads(value).get(UNDO_WINDOW_FROM, "")) for value in stats), default="")


def bundle_for_cycle(connection: sa.Connection, asset: str, cycle: Cycle) -> BundleHeader:
    """Return the bundle whose state counts as the asset's state of `cycle`.

    That is the newest computation that covers the cycle; if the asset was not due then, the last one before it.

    Raises:
        UnknownNameError: The asset has no bundles, or none as old as `cycle`: it lies before the undo window.
    """
    computed = sa.and_(
        BUNDLE.c.asset == asset, BUNDLE.c.kind == BundleKind.MATERIALIZE.value, BUNDLE.c.first_cycle <= cycle.key
    )
    covering = sa.select(BUNDLE).where(computed, BUNDLE.c.cycle >= cycle.key).order_by(BUNDLE.c.seq.desc()).limit(1)
    earlier = sa.select(BUNDLE).where(computed).order_by(BUNDLE.c.cycle.desc(), BUNDLE.c.seq.desc()).limit(1)
    row = connection.execute(covering).first()
    if row is not None:
        return header_from(dict(row._mapping))
    window = undo_window_from(connection, asset)
    if cycle.key < window:
        # A cycle computed again after its neighbours were pruned would else answer for them.
        raise UnknownNameError(f"{asset}: the undo window starts at {window}; {cycle} lies before it")
    row = connection.execute(earlier).first()
    if row is not None:
        return header_from(dict(row._mapping))
    oldest = connection.execute(
        sa.select(sa.func.min(BUNDLE.c.first_cycle)).where(
            BUNDLE.c.asset == asset, BUNDLE.c.kind == BundleKind.MATERIALIZE.value
        )
    ).scalar_one_or_none()
    if oldest is None:
        raise UnknownNameError(f"{asset} has no recorded state; `ao log` shows the assets that have")
    raise UnknownNameError(f"{asset}: the undo window starts at {oldest}; {cycle} lies before it")
