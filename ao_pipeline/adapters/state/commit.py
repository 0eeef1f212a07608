"""The one way to change a managed table: rows, bundle, cursor and head move in one transaction, or none of them does.

Invariants:
1. The head's state hash is the hash of the table's rows (`test_the_state_hash_is_that_of_the_table`).
2. (asset, cycle, intent) has one bundle, however often it is asked for (`test_a_retry_finds_its_own_bundle`).
3. A writer that was overtaken cannot commit (`test_a_zombie_cannot_commit_after_its_successor`).
4. A fault at any step leaves rows, cursor and head as they were (`test_a_fault_at_any_step_leaves_everything_as_it_was`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import pyarrow as pa
import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import index_io
from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.compare import Compared, compare, hash_listing
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.headers import computed_cycle, make_header, state_after
from ao_pipeline.adapters.state.heads import lock_head, move_head, refuse_held
from ao_pipeline.adapters.state.leases import refuse_displaced
from ao_pipeline.adapters.state.model import PREVIEW_ROWS, CommitStep, Head, Intent, Receipt, Writer
from ao_pipeline.adapters.state.quarantined import store_quarantine
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import (
    Change,
    ChangeSet,
    hash_rows,
)
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import (
    BundleKind,
    header_from,
    layout_of,
    only_appends,
)
from ao_pipeline.bundles.index import IndexDelta, RowIndex
from ao_pipeline.bundles.preview import preview_changes
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import FencedError, IntegrityError

FULL_VERIFY_ROWS: Final = 50_000
"""Up to this many rows a revert hashes the whole table again before it commits; above it, the rows that it wrote."""

_FIND: Final = sa.select(BUNDLE).where(
    BUNDLE.c.asset == sa.bindparam("of_asset"),
    BUNDLE.c.cycle == sa.bindparam("of_cycle"),
    BUNDLE.c.intent == sa.bindparam("of_intent"),
)

Probe = Callable[[CommitStep], None]


class Committer:
    """Opens writers and commits their changes."""

    def __init__(self, database: Database, tables: TablesIo, probe: Probe) -> None:
        self._database = database
        self._tables = tables
        self._probe = probe

    def begin(self, intent: Intent) -> Writer:
        """Take the asset over for one commit.

        Returns:
            A writer; `found` is the bundle of an earlier attempt with the same intent, if there is one.

        Raises:
            HoldError: The asset is on hold and this is a computation. Nothing was written.
        """
        began = clock.monotonic_seconds()
        asset = intent.spec.asset
        # Not durable on purpose: only a power cut can lose it, and that ends every writer that it would fence off.
        with self._database.write(is_durable=False) as connection:
            head = lock_head(connection, asset)
            found = connection.execute(
                _FIND, {"of_asset": asset, "of_cycle": intent.cycle.key, "of_intent": intent.name}
            ).first()
            if found is None and intent.kind is BundleKind.MATERIALIZE:
                refuse_held(connection, asset)
            fence = head.fence
            if (
                found is None
            ):  # Whoever finds its bundle has nothing left to write, and must not overtake somebody who has.
                fence += 1
                move_head(connection, asset, fence=fence)
        header = None if found is None else header_from(dict(found._mapping))
        return Writer(intent, fence, head, began, clock.to_micros(clock.utc_now()), header)

    def commit(self, writer: Writer, change: Change, *, expected_state_hash: str | None = None) -> Receipt:
        """Bring the table to what `change` asks, and record exactly what that changed.

        Args:
            writer: From `begin`, used once.
            change: What the table shall become.
            expected_state_hash: Refuse to commit unless the state comes out as this (reverts).

        Raises:
            ContractError: Two rows share a key, or a key is both wanted and deleted.
            FencedError: A later writer has taken over.
            IntegrityError: The table or the outcome does not have the recorded state.
            TransientError: The database is locked or unreachable.
            In every case nothing was written.
        """
        spec = writer.intent.spec
        if writer.found is not None:
            raise FencedError(f"{spec.asset}: this intent already has bundle {writer.found.bundle_id}; report that one")
        with _without_garbage_collection():
            return self._commit(writer, change, expected_state_hash)

    def _commit(self, writer: Writer, change: Change, expected_state_hash: str | None) -> Receipt:
        spec = writer.intent.spec
        listed = hash_listing(spec, change)
        with self._database.write() as connection:
            head = lock_head(connection, spec.asset)
            if head.fence != writer.fence:
                raise FencedError(
                    f"{spec.asset}: another writer (token {head.fence}) took over from this one (token {writer.fence}); "
                    "its result stands, this one is dropped"
                )
            if writer.intent.engine_token:
                refuse_displaced(connection, writer.intent.engine_token)
            head = self._adopt_layout(connection, writer, head)
            self._probe(CommitStep.BEGUN)
            compared = compare(connection, self._tables, spec, head, change, listed)
            self._probe(CommitStep.COMPARED)
            receipt = self._record(connection, writer, head, change, compared, expected_state_hash)
        self._probe(CommitStep.COMMITTED)
        return receipt

    def _record(
        self,
        connection: sa.Connection,
        writer: Writer,
        head: Head,
        change: Change,
        compared: Compared,
        expected_state_hash: str | None,
    ) -> Receipt:
        intent, changes, spec = writer.intent, compared.changes, writer.intent.spec
        with payloads.encoding(spec, changes) as packed:
            self._apply(connection, spec, changes)
        self._probe(CommitStep.APPLIED)
        after = state_after(head, changes)
        if expected_state_hash is not None:
            self._verify_outcome(connection, writer, changes, after, expected_state_hash)
        payload = packed()
        header = make_header(writer, head, change, changes, after=after, payload=payload)
        if payload:
            connection.execute(BUNDLE_PAYLOAD.insert(), {"bundle_id": header.bundle_id, "payload": payload})
        self._probe(CommitStep.PAYLOAD_STORED)
        connection.execute(BUNDLE.insert(), {"bundle_id": header.bundle_id, **vars(header)})
        store_quarantine(connection, intent, change)
        self._probe(CommitStep.BUNDLE_STORED)
        _store_index(connection, spec, header.seq, compared)
        self._probe(CommitStep.INDEX_STORED)
        move_head(
            connection,
            spec.asset,
            seq=header.seq,
            seal=header.seal,
            state_hash=header.state_hash_after,
            row_count=header.row_count_after,
            cursor=header.cursor_after,
            computed_cycle=computed_cycle(head, intent),
            state_cycle=intent.state_cycle or intent.cycle.key,
            inputs=intent.inputs,
            layout=layout_of(spec),
        )
        self._probe(CommitStep.HEAD_MOVED)
        return Receipt(header, partial(preview_changes, spec, changes, limit=PREVIEW_ROWS))

    def _apply(self, connection: sa.Connection, spec: TableSpec, changes: ChangeSet) -> None:
        self._tables.delete(connection, spec, changes.deleted.table.select(list(spec.key_names)))
        self._tables.write(
            connection,
            spec,
            inserted=changes.inserted.table,
            updated=changes.updated_after.table,
            places=changes.updated_before.places,
            differing={name for name, cells in changes.differing.items() if cells.any()},
        )

    def _verify_outcome(
        self, connection: sa.Connection, writer: Writer, changes: ChangeSet, after: StateHash, expected: str
    ) -> None:
        """Prove that a revert gives the recorded state: by arithmetic, and by reading back what the database now holds."""
        spec = writer.intent.spec
        if after.hex == expected and writer.head.row_count + len(changes.inserted) <= FULL_VERIFY_ROWS:
            after = StateHash.of(payloads.hashed(spec, self._tables.read(connection, spec)).rows)
        elif after.hex == expected:
            written = pa.concat_tables([changes.inserted.table, changes.updated_after.table]).select(
                list(spec.key_names)
            )
            read_back = StateHash.of(payloads.hashed(spec, self._tables.read_by_key(connection, spec, written)).rows)
            if read_back != StateHash.of(changes.inserted.rows).plus(changes.updated_after.rows):
                after = read_back
        if after.hex != expected:
            raise IntegrityError(
                f"{spec.asset}: the state would come out as {after.hex}, but bundle {writer.intent.target_id} recorded "
                f"{expected}; nothing was changed. Run `ao verify {spec.asset}`"
            )

    def _adopt_layout(self, connection: sa.Connection, writer: Writer, head: Head) -> Head:
        """Take note that a migration changed the table's columns since the last bundle.

        Columns added at the end move no hash. Anything else gets a bundle of its own, of kind `migrate`, with the
        state hash of the table as it is now: reverts stop there and say so.
        """
        spec = writer.intent.spec
        layout = layout_of(spec)
        if head.seq == 0 or only_appends(head.layout, layout):
            return head
        index = RowIndex.build(spec, hash_rows(spec, self._tables.read(connection, spec)))
        migrate = replace(
            writer,
            intent=replace(
                writer.intent,
                kind=BundleKind.MIGRATE,
                name=f"migrate:{head.seq + 1}",
                reason="the table's columns changed",
                target_id="",
            ),
        )
        nothing = payloads.decode(spec, b"")
        header = make_header(
            migrate,
            head,
            Change(spec.empty(), is_full=False),
            nothing,
            after=index.state_hash,
            payload=b"",
            rows=len(index),
        )
        connection.execute(BUNDLE.insert(), {"bundle_id": header.bundle_id, **vars(header)})
        index_io.store_checkpoint(connection, spec, seq=header.seq, index=index)
        return replace(
            head,
            seq=header.seq,
            seal=header.seal,
            state_hash=header.state_hash_after,
            layout=layout,
            row_count=len(index),
        )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep Python's collector of cycles away: the tuples of rows set it off time and again, and it finds nothing.

    What it visits is the whole process: a tenth of a small commit's time, more in a large program.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _store_index(connection: sa.Connection, spec: TableSpec, seq: int, compared: Compared) -> None:
    if compared.index is not None and compared.wants_checkpoint:
        delta = IndexDelta.of(spec, compared.changes)
        index_io.store_checkpoint(connection, spec, seq=seq, index=compared.index.apply([delta]))
    elif compared.changes.count:
        index_io.store_delta(connection, spec, seq=seq, changes=compared.changes)
