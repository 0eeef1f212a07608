"""Read earlier states of a table, proved against the recorded state hashes. Nothing here writes.

Invariants:
1. A state as of a cycle hashes to what was recorded then (`test_a_state_that_does_not_hash_as_recorded_is_refused`).
2. A diff leads from the one recorded state hash to the other (`test_a_diff_over_a_forged_bundle_is_refused`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import ChangeSet
from ao_pipeline.bundles.hashing import Digests, StateHash, key_digests
from ao_pipeline.bundles.header import BundleHeader, BundleKind, header_from
from ao_pipeline.bundles.lineage import inputs_named
from ao_pipeline.bundles.netting import net_undo
from ao_pipeline.bundles.past import net_change, rewind, state_after, swapped, trace_row
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import IntegrityError, UnknownNameError


@dataclass(frozen=True)
class BlameLine:
    """Which bundle last changed one column of a row; None when that was before the undo window."""

    column: str
    value: Any
    bundle: BundleHeader | None


class Past:
    """Reads the past of a store's tables.

    Args:
        store: Where the bundles are.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._database = store.database

    def bundle_at(self, spec: TableSpec, cycle: Cycle) -> BundleHeader:
        """Return the bundle whose state counts as the asset's state of `cycle`.

        Raises:
            UnknownNameError: There is none, or it lies before the undo window.
        """
        with self._database.read() as connection:
            return history.bundle_for_cycle(connection, spec.asset, cycle)

    def asof(self, spec: TableSpec, cycle: Cycle) -> pa.Table:
        """Return the table's rows as they were after `cycle`.

        Raises:
            UnknownNameError: There is no such state, or it lies before the undo window.
            IntegrityError: The rows do not hash as recorded, or a bundle on the way is missing or damaged.
        """
        return self.state_at(spec, cycle)[1]

    def state_at(self, spec: TableSpec, cycle: Cycle) -> tuple[BundleHeader, pa.Table]:
        """Like `asof`, with the bundle that recorded the state."""
        with self._database.read() as connection:
            head = self._head(connection, spec)
            target = history.bundle_for_cycle(connection, spec.asset, cycle)
            undo = net_undo(spec, history.changes_since(connection, spec, after=target, head=head))
            rows = rewind(spec, self._store.tables.read(connection, spec), undo)
        actual = StateHash.of(payloads.hashed(spec, rows).rows).hex
        if actual != target.state_hash_after:
            raise IntegrityError(
                f"{spec.asset}: rewound to {cycle} its rows hash to {actual}, bundle {target.bundle_id} recorded "
                f"{target.state_hash_after}; they are not shown. Run `ao verify {spec.asset}`"
            )
        return target, rows

    def diff(self, spec: TableSpec, first: Cycle, second: Cycle) -> ChangeSet:
        """Return the net change of the table from the state of one cycle to that of another, in either order of time.

        Only the bundles in between are read.

        Raises:
            UnknownNameError: One of the states does not exist, or lies before the undo window.
            IntegrityError: The bundles do not lead from one recorded state to the other.
        """
        with self._database.read() as connection:
            head = self._head(connection, spec)
            start, end = (history.bundle_for_cycle(connection, spec.asset, cycle) for cycle in (first, second))
            older, newer = sorted((start, end), key=lambda header: header.seq)
            until = replace(head, seq=newer.seq)
            changes = net_change(spec, list(history.changes_since(connection, spec, after=older, head=until)))
        if state_after(older.state_hash_after, changes) != newer.state_hash_after:
            raise IntegrityError(
                f"{spec.asset}: the bundles {older.seq} to {newer.seq} do not lead from the one recorded state to the "
                f"other; the difference is not shown. Run `ao verify {spec.asset}`"
            )
        return changes if start.seq <= end.seq else swapped(changes)

    def way_back(self, spec: TableSpec, cycle: Cycle) -> ChangeSet:
        """Return the net change from the state that the head records back to the state of `cycle`.

        Raises:
            UnknownNameError: There is no such state, or it lies before the undo window.
            IntegrityError: The bundles do not lead from the one recorded state to the other.
        """
        with self._database.read() as connection:
            head = self._head(connection, spec)
            target = history.bundle_for_cycle(connection, spec.asset, cycle)
            since = list(history.changes_since(connection, spec, after=target, head=head))
        changes = net_change(spec, since)
        if state_after(target.state_hash_after, changes) != head.state_hash:
            raise IntegrityError(
                f"{spec.asset}: the bundles since {target.cycle} do not lead to the state that the head records; "
                f"nothing can be taken back. Run `ao verify {spec.asset}`"
            )
        return swapped(changes)

    def blame(self, spec: TableSpec, key: Mapping[str, Any]) -> list[BlameLine]:
        """Return for each column of a row the bundle that last changed it; for a table of keys alone, of the row.

        Raises:
            UnknownNameError: There is no such row; the message says which bundle deleted it, if one did.
            IntegrityError: A bundle on the way is missing or damaged.
        """
        keys = pa.table({name: [key[name]] for name in spec.key_names}, schema=spec.key_schema)
        digest = key_digests(spec, keys)
        with self._database.read() as connection:
            head = self._head(connection, spec)
            rows = self._store.tables.read_by_key(connection, spec, keys).to_pylist()
            if not rows:
                raise UnknownNameError(_missing(connection, spec, head, key, digest))
            culprits = _culprits(connection, spec, head, digest)
        names = [column.name for column in spec.columns] or list(spec.key_names)
        return [BlameLine(name, rows[0][name], culprits.get(name)) for name in names]

    def cycles(self, *, asset: str | None = None, limit: int) -> list[Cycle]:
        """Return the cycles that were computed, the newest first; of one asset, or of any."""
        query = sa.select(BUNDLE.c.cycle).where(BUNDLE.c.kind == BundleKind.MATERIALIZE.value)
        if asset is not None:
            query = query.where(BUNDLE.c.asset == asset)
        with self._database.read() as connection:
            keys = connection.execute(query.distinct().order_by(BUNDLE.c.cycle.desc()).limit(limit)).scalars()
            return [Cycle.from_key(key) for key in keys]

    def sources(self) -> dict[str, frozenset[str]]:
        """Return the assets that each asset was last computed from, as its newest computation recorded them."""
        names = {name: spec.asset for spec in self._store.specs.values() for name in (spec.asset, spec.name)}
        newest = (
            sa.select(BUNDLE.c.asset, sa.func.max(BUNDLE.c.seq).label("seq"))
            .where(BUNDLE.c.kind == BundleKind.MATERIALIZE.value)
            .group_by(BUNDLE.c.asset)
            .subquery()
        )
        query = sa.select(BUNDLE.c.asset, BUNDLE.c.inputs).join(
            newest, sa.and_(BUNDLE.c.asset == newest.c.asset, BUNDLE.c.seq == newest.c.seq)
        )
        with self._database.read() as connection:
            return {row.asset: inputs_named(row.inputs, names) - {row.asset} for row in connection.execute(query)}

    def _head(self, connection: sa.Connection, spec: TableSpec) -> Head:
        head = history.read_head(connection, spec.asset)
        if head is None:
            raise UnknownNameError(f"{spec.asset} has no recorded state; `ao log` shows the assets that have")
        return head


def _culprits(connection: sa.Connection, spec: TableSpec, head: Head, digest: Digests) -> dict[str, BundleHeader]:
    """Walk from the head until every column has its bundle or the history ends."""
    found: dict[str, BundleHeader] = {}
    wanted = [column.name for column in spec.columns] or list(spec.key_names)
    for header in _touching(connection, spec, head):
        step = trace_row(spec, history.read_changes(connection, spec, header), digest)
        if step is None:
            continue
        changed = wanted if step.sign == "+" else [cell.column for cell in step.cells]
        found |= {name: header for name in changed if name not in found}
        if len(found) >= len(wanted):
            break
    return found


def _touching(connection: sa.Connection, spec: TableSpec, head: Head) -> Iterator[BundleHeader]:
    """Yield the headers that changed rows, the newest first, back to a change of the table's columns."""
    expected = head.seq
    rows = connection.execute(sa.select(BUNDLE).where(BUNDLE.c.asset == spec.asset).order_by(BUNDLE.c.seq.desc())).all()
    for row in rows:
        header = header_from(dict(row._mapping))
        if header.seq != expected:
            raise IntegrityError(
                f"{spec.asset}: bundle {expected} is missing from its chain; run `ao verify {spec.asset}`"
            )
        if header.kind == BundleKind.MIGRATE:
            return
        if header.payload_bytes:
            yield header
        expected -= 1


def _missing(connection: sa.Connection, spec: TableSpec, head: Head, key: Mapping[str, Any], digest: Digests) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in key.items())
    for header in _touching(connection, spec, head):
        step = trace_row(spec, history.read_changes(connection, spec, header), digest)
        if step is not None:
            return f"{spec.name} has no row {shown}: bundle {header.bundle_id} ({header.cycle}) deleted it"
    return f"{spec.name} has no row {shown}, and had none within the undo window"
