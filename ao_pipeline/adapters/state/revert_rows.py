"""Take one bundle back out of the middle, or some of its rows. Rows that changed since are conflicts and stay.

Invariants:
1. A row that changed since the bundle is not touched unless the operator forces it (`test_a_conflict_is_left_alone`).
2. The outcome's state hash is known before the commit and proved in it (`Committer.commit`).
3. Taking the same rows back twice changes nothing the second time (`test_rows_taken_back_twice_change_once`).
4. A retry finds its own bundle, conflicts or not (`test_a_killed_writer_leaves_all_or_nothing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.commit import Committer
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Head, Intent, Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import Change, ChangeSet, HashedRows, change_set, match_positions
from ao_pipeline.bundles.hashing import key_digests
from ao_pipeline.bundles.header import BundleHeader, BundleKind, header_from
from ao_pipeline.bundles.netting import Undo, invert_one
from ao_pipeline.bundles.past import state_after
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.bundles.where import Condition, select_changes, without_undone
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConflictError, IntegrityError, UnknownNameError


@dataclass(frozen=True)
class RowConflict:
    """A row that changed since the bundle. `now` None: it is gone; `changed_by`: the newest bundle that did it."""

    key: dict[str, Any]
    now: dict[str, Any] | None
    changed_by: BundleHeader | None


@dataclass(frozen=True)
class RowRevertPlan:
    """What taking rows of one bundle back would change, exactly; nothing was written to make it.

    Attributes:
        bundle: The bundle that is taken back.
        selected: Its rows that the conditions select.
        changes: What would change, conflicts left out unless forced.
        already: Selected rows that are as they were before the bundle.
        conflicts: Selected rows that changed since.
        expected_state_hash: State hash of the outcome.
    """

    bundle: BundleHeader
    selected: int
    changes: ChangeSet
    already: int
    conflicts: tuple[RowConflict, ...]
    expected_state_hash: str


@dataclass(frozen=True)
class RowRevertResult:
    """What was planned and what was committed."""

    plan: RowRevertPlan
    receipt: Receipt


class RowReverter:
    """Takes rows of one bundle back, through the committer."""

    def __init__(self, database: Database, tables: TablesIo, committer: Committer) -> None:
        self._database = database
        self._tables = tables
        self._committer = committer

    @classmethod
    def of(cls, store: StateStore) -> Self:
        """Return one that works on a store."""
        return cls(store.database, store.tables, Committer(store.database, store.tables, lambda _step: None))

    def plan(
        self, spec: TableSpec, bundle: BundleHeader, where: Sequence[Condition] = (), *, force: bool = False
    ) -> RowRevertPlan:
        """Return what taking the bundle's rows back would change.

        Args:
            spec: The bundle's table.
            bundle: Whose rows; any but the migration of a table's columns.
            where: Conditions that all hold for a row to be taken back.
            force: Whether to overwrite rows that changed since.

        Raises:
            UnknownNameError: The conditions select no row of the bundle.
            IntegrityError: The bundle is damaged, or the table's columns were changed since.
        """
        with self._database.read() as connection:
            return self._plan(connection, spec, bundle, where, force=force)

    def apply(
        self, intent: Intent, bundle: BundleHeader, where: Sequence[Condition] = (), *, force: bool = False
    ) -> RowRevertResult:
        """Take the bundle's rows back and commit that as a bundle of kind `revert`; the cursor stays.

        Args:
            intent: Who asks and why; its spec is the bundle's table. Its kind and cycle are set here. With the name of an
                earlier attempt in this cycle, that attempt's bundle is returned.
            bundle, where, force: See `plan`.

        Raises:
            ConflictError: Every selected row changed since. Nothing was written.
            FencedError: Another writer took the asset over meanwhile. Nothing was written.
            UnknownNameError, IntegrityError: See `plan`. Nothing was written.
        """
        spec = intent.spec
        with self._database.read() as connection:
            # What cannot be done is refused before other writers are fenced off.
            plan = self._plan(connection, spec, bundle, where, force=force)
            head = history.read_head(connection, spec.asset)
            cycle = Cycle.from_key(head.computed_cycle) if head and head.computed_cycle else intent.cycle
            found = _find_own(connection, spec, cycle, intent.name)
        if found is not None:
            return RowRevertResult(plan, Receipt(found, is_replay=True))
        _require_work(spec, plan)
        writer = self._committer.begin(replace(intent, kind=BundleKind.REVERT, cycle=cycle, first_cycle=cycle))
        writer = replace(writer, intent=replace(writer.intent, state_cycle=writer.head.state_cycle))
        # From here on no other writer can commit without fencing this one off, so the plan made now still holds then.
        with self._database.read() as connection:
            plan = self._plan(connection, spec, bundle, where, force=force)
        _require_work(spec, plan)
        change = Change(
            rows=pa.concat_tables([plan.changes.inserted.table, plan.changes.updated_after.table]),
            is_full=False,
            deleted=plan.changes.deleted.table.select(list(spec.key_names)),
            stats={"undone_bundle": bundle.bundle_id, "conflicts": len(plan.conflicts), "forced": force},
        )
        return RowRevertResult(
            plan, self._committer.commit(writer, change, expected_state_hash=plan.expected_state_hash)
        )

    def _plan(
        self,
        connection: sa.Connection,
        spec: TableSpec,
        bundle: BundleHeader,
        where: Sequence[Condition],
        *,
        force: bool,
    ) -> RowRevertPlan:
        head = history.read_head(connection, spec.asset)
        if head is None:
            raise UnknownNameError(f"{spec.asset} has no recorded state to change")
        _refuse_changed_columns(connection, spec, bundle)
        selected = select_changes(history.read_changes(connection, spec, bundle), where)
        if not selected.count:
            raise UnknownNameError(
                f"bundle {bundle.bundle_id} changed {bundle.rows_changed} rows of {spec.asset}, none of which fits "
                f"{' and '.join(map(str, where)) or 'anything'}; see `ao show {bundle.bundle_id}`"
            )
        current = self._current(connection, spec, selected)
        pending = without_undone(selected, current)
        inverse = invert_one(spec, pending, current)
        conflicts = _conflicts(connection, spec, bundle, head, inverse.conflicts, current)
        undo = _forced(spec, pending) if force else inverse.undo
        wanted = payloads.hashed(spec, undo.restore)
        gone = key_digests(spec, undo.remove)
        is_touched = (match_positions(current.keys, wanted.keys) >= 0) | (match_positions(current.keys, gone) >= 0)
        changes = change_set(current.take(is_touched.nonzero()[0]), wanted, gone)
        return RowRevertPlan(
            bundle=bundle,
            selected=selected.count,
            changes=changes,
            already=selected.count - pending.count,
            conflicts=conflicts,
            expected_state_hash=state_after(head.state_hash, changes),
        )

    def _current(self, connection: sa.Connection, spec: TableSpec, changes: ChangeSet) -> HashedRows:
        parts = (changes.inserted, changes.updated_after, changes.deleted)
        keys = pa.concat_tables([part.table.select(list(spec.key_names)) for part in parts])
        return payloads.hashed(spec, self._tables.read_by_key(connection, spec, keys))


def _find_own(connection: sa.Connection, spec: TableSpec, cycle: Cycle, name: str) -> BundleHeader | None:
    """Return the bundle of an earlier attempt: by now its rows are taken back, and only the conflicts are left to see."""
    row = connection.execute(
        sa.select(BUNDLE).where(BUNDLE.c.asset == spec.asset, BUNDLE.c.cycle == cycle.key, BUNDLE.c.intent == name)
    ).first()
    return None if row is None else header_from(dict(row._mapping))


def _require_work(spec: TableSpec, plan: RowRevertPlan) -> None:
    if not plan.changes.count and plan.conflicts:
        raise ConflictError(
            f"{spec.asset}: all {len(plan.conflicts)} selected rows of bundle {plan.bundle.bundle_id} changed since; "
            "nothing was taken back. Look at them, then use --force to overwrite them"
        )


def _forced(spec: TableSpec, changes: ChangeSet) -> Undo:
    restore = pa.concat_tables([changes.updated_before.table, changes.deleted.table])
    return Undo(restore, changes.inserted.table.select(list(spec.key_names)))


def _refuse_changed_columns(connection: sa.Connection, spec: TableSpec, bundle: BundleHeader) -> None:
    later = connection.execute(
        sa.select(BUNDLE.c.cycle).where(
            BUNDLE.c.asset == spec.asset, BUNDLE.c.seq >= bundle.seq, BUNDLE.c.kind == BundleKind.MIGRATE.value
        )
    ).first()
    if later is not None:
        raise IntegrityError(
            f"{spec.asset}: columns of its table were changed or dropped in {later.cycle}, at or after bundle "
            f"{bundle.bundle_id}; its rows do not fit the table as it is now and cannot be taken back"
        )


def _conflicts(
    connection: sa.Connection,
    spec: TableSpec,
    bundle: BundleHeader,
    head: Head,
    keys: pa.Table,
    current: HashedRows,
) -> tuple[RowConflict, ...]:
    """Pair each conflicting key with what is stored now and the newest bundle that touched it."""
    if not keys.num_rows:
        return ()
    digests = key_digests(spec, keys)
    culprits: list[BundleHeader | None] = [None] * len(digests)
    rows = connection.execute(
        sa.select(BUNDLE)
        .where(BUNDLE.c.asset == spec.asset, BUNDLE.c.seq > bundle.seq, BUNDLE.c.seq <= head.seq)
        .order_by(BUNDLE.c.seq.desc())
    ).all()
    for row in rows:
        header = header_from(dict(row._mapping))
        if all(culprits):
            break
        if header.payload_bytes:
            changes = history.read_changes(connection, spec, header)
            for part in (changes.inserted, changes.updated_after, changes.deleted):
                for position in (match_positions(digests, part.keys) >= 0).nonzero()[0]:
                    culprits[position] = culprits[position] or header
    at = match_positions(digests, current.keys)
    return tuple(
        RowConflict(key, _stored(current, int(position)), culprit)
        for key, position, culprit in zip(keys.to_pylist(), at, culprits, strict=True)
    )


def _stored(current: HashedRows, position: int) -> dict[str, Any] | None:
    return None if position < 0 else dict(current.table.slice(position, 1).to_pylist()[0])
