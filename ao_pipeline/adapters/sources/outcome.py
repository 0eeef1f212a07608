"""Turn what was read into a `Collected`: what is absent becomes a deletion only where absence was proven."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.result import Collected, Cursor, Drift, Quarantined

MAX_HOLDS: Final = 3
"""Collections in a row whose cursor stays behind because a record was quarantined."""


def next_cursor(request: CollectionRequest, batch: Batch, cursor: Cursor, *, empty: Cursor) -> Cursor:
    """Return `cursor`, or the old one while a quarantined record may still come right.

    Moving on would leave the quarantined row as it was until it changes again, so the same stretch is read once more,
    `MAX_HOLDS` times in a row at most: a record that is wrong for good must not hold its source for ever.

    Args:
        request: Holds the old cursor.
        batch: Says whether a record was quarantined.
        cursor: The new cursor.
        empty: What stands for the old cursor before the first; it asks for a full listing.
    """
    held_count = int(request.cursor.get("held_count", 0)) if request.cursor else 0
    if not batch.quarantined_keys or held_count >= MAX_HOLDS:
        return cursor
    held = {**(request.cursor or empty), "held_count": held_count + 1}
    # Without its digests a record that comes back as it once was is a row again, which ends its refusal.
    if isinstance(held.get("seen"), dict):
        held["seen"] = {}
    return held


def full_listing(
    request: CollectionRequest, client: SourceClient, spec: TableSpec, batch: Batch, *, cursor: Cursor, drift: Drift
) -> Collected:
    """Return a complete listing.

    With quarantined records it becomes partial: their rows, stored earlier, must not vanish because one field went bad.

    Raises:
        VolumeDropError: The listing shrank too much to be believed.
    """
    stored = request.stored_keys()
    request.check_volume(stored.num_rows, len(batch) + len(batch.quarantined_keys), what=spec.name)
    if not batch.quarantined_keys:
        return collected(client, spec, batch.table(), cursor=cursor, drift=drift, is_full=True)
    kept = key_table(spec, batch.keys | batch.quarantined_keys)
    return collected(
        client,
        spec,
        batch.table(),
        cursor=cursor,
        drift=drift,
        deleted=absent_keys(spec, stored, kept),
        quarantined=batch.quarantined,
    )


def collected(
    client: SourceClient,
    spec: TableSpec,
    rows: pa.Table,
    *,
    cursor: Cursor,
    drift: Drift,
    is_full: bool = False,
    deleted: pa.Table | None = None,
    quarantined: Sequence[Quarantined] = (),
) -> Collected:
    """Return the outcome with the client's counts."""
    return Collected(
        rows=rows,
        is_full=is_full,
        deleted=spec.key_schema.empty_table() if deleted is None else deleted,
        cursor=cursor,
        quarantined=tuple(quarantined),
        drift=drift.counts,
        pages=client.counters.pages,
        requests=client.counters.requests,
        retries=client.counters.retries,
    )


def key_table(spec: TableSpec, keys: Iterable[Key]) -> pa.Table:
    """Return keys as a table, in a fixed order."""
    ordered = sorted(keys)
    columns = [pa.array([key[i] for key in ordered], field.type) for i, field in enumerate(spec.key_schema)]
    return pa.table(columns, schema=spec.key_schema)


def absent_keys(spec: TableSpec, stored: pa.Table, kept: pa.Table) -> pa.Table:
    """Return the stored keys that are not among `kept`."""
    stored = stored.select(list(spec.key_names)).cast(spec.key_schema)
    if not stored.num_rows or not kept.num_rows:
        return stored
    if len(spec.key_names) == 1:
        name = spec.key_names[0]
        found = pc.is_in(stored.column(name), value_set=kept.column(name).combine_chunks())
        return stored.filter(pc.invert(found))
    return (
        stored.join(kept, keys=list(spec.key_names), join_type="left anti")
        .select(list(spec.key_names))
        .cast(spec.key_schema)
    )


def left_scopes(
    request: CollectionRequest, spec: TableSpec, *, known: Iterable[str], present: Iterable[str], column: str
) -> pa.Table:
    """Return the stored keys of mailboxes, calendars or spaces that the upstream or the settings no longer have.

    Args:
        request: Gives the stored keys; they are read only when something left.
        spec: The table.
        known: Scopes of the cursor.
        present: Scopes of this collection's complete listing.
        column: Key column whose value, up to its first `/messages/` or `/members/`, is the scope.

    Raises:
        VolumeDropError: Too many rows would vanish at once.
    """
    left = sorted(set(known) - set(present))
    if not left:
        return spec.key_schema.empty_table()
    stored = request.stored_keys()
    gone = in_scopes(stored, column, left)
    request.check_volume(stored.num_rows, stored.num_rows - gone.num_rows, what=spec.name)
    return gone.select(list(spec.key_names)).cast(spec.key_schema)


def in_scopes(stored: pa.Table, column: str, scopes: Sequence[str]) -> pa.Table:
    """Return the stored keys of some mailboxes, calendars or spaces."""
    scope = pc.replace_substring_regex(stored.column(column), "/(messages|members)/.*$", "")
    return stored.filter(pc.is_in(scope, value_set=pa.array(list(scopes), scope.type)))


def relisted_scope(
    request: CollectionRequest, spec: TableSpec, *, column: str, scope: str, listed: Iterable[Key]
) -> pa.Table:
    """Return the stored keys of one scope that its complete listing lacks.

    Raises:
        VolumeDropError: The scope shrank too much to be believed.
    """
    kept = key_table(spec, set(listed))
    stored = in_scopes(request.stored_keys(), column, [scope])
    request.check_volume(stored.num_rows, kept.num_rows, what=f"{spec.name} of {scope}")
    return absent_keys(spec, stored, kept)
