"""The one way to change a managed table: rows, bundle, cursor and head move in one transaction, or none of them does.

Invariants:
1. The head's state hash is the hash of the table's rows (`test_the_state_hash_is_that_of_the_table`).
2. (asset, cycle, intent) has one bundle, however often it is asked for (`test_a_retry_finds_its_own_bundle`).
3. A writer that was overtaken cannot commit (`test_a_zombie_cannot_commit_after_its_successor`).
4. A fault at any step leaves rows, cursor and head as they were (`test_a_fault_at_any_step_leaves_everything_as_it_was`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline import clock
from ao_pipeline.adapters.state import index_io
from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, BUNDLE_PAYLOAD, HOLD, QUARANTINE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import PREVIEW_ROWS, CommitStep, Head, Intent, Receipt, Writer
from ao_pipeline.adapters.state.tables_io import TablesIo
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import canonical_json, conform_keys
from ao_pipeline.bundles.changes import (
    Change,
    ChangeSet,
    HashedRows,
    Quarantined,
    change_set,
    hash_rows,
    match_positions,
    match_sorted,
)
from ao_pipeline.bundles.hashing import StateHash, key_digests
from ao_pipeline.bundles.header import (
    GENESIS_SEAL,
    BundleHeader,
    BundleKind,
    header_from,
    layout_fingerprint,
    layout_of,
    only_appends,
)
from ao_pipeline.bundles.index import IndexDelta, RowIndex
from ao_pipeline.bundles.preview import preview_changes
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError, FencedError, HoldError, IntegrityError

FULL_VERIFY_ROWS: Final = 200_000
"""Up to this many rows a revert hashes the whole table again before it commits; above it, the rows that it wrote."""

Probe = Callable[[CommitStep], None]


@dataclass(frozen=True)
class _Compared:
    """The outcome of change detection; `index` only after a full listing."""

    changes: ChangeSet
    index: RowIndex | None = None
    wants_checkpoint: bool = False


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
        with self._database.write() as connection:
            head = lock_head(connection, asset)
            found = connection.execute(
                sa.select(BUNDLE).where(
                    BUNDLE.c.asset == asset, BUNDLE.c.cycle == intent.cycle.key, BUNDLE.c.intent == intent.name
                )
            ).first()
            if found is None and intent.kind is BundleKind.MATERIALIZE:
                _refuse_held(connection, asset)
            fence = head.fence
            if (
                found is None
            ):  # Whoever finds its bundle has nothing left to write, and must not overtake somebody who has.
                fence += 1
                connection.execute(ASSET_HEAD.update().where(ASSET_HEAD.c.asset == asset).values(fence=fence))
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
        wanted = hash_rows(spec, change.rows)
        gone = None if change.deleted is None else conform_keys(spec, change.deleted)
        with self._database.write() as connection:
            head = lock_head(connection, spec.asset)
            if head.fence != writer.fence:
                raise FencedError(
                    f"{spec.asset}: another writer (token {head.fence}) took over from this one (token {writer.fence}); "
                    "its result stands, this one is dropped"
                )
            head = self._adopt_layout(connection, writer, head)
            self._probe(CommitStep.BEGUN)
            compared = self._compare(connection, spec, head, change, wanted, gone)
            self._probe(CommitStep.COMPARED)
            receipt = self._record(connection, writer, head, change, compared, expected_state_hash)
        self._probe(CommitStep.COMMITTED)
        return receipt

    def _compare(
        self,
        connection: sa.Connection,
        spec: TableSpec,
        head: Head,
        change: Change,
        wanted: HashedRows,
        gone: pa.Table | None,
    ) -> _Compared:
        if change.is_full:
            if gone is not None and gone.num_rows:
                raise ContractError(f"{spec.name}: a full listing cannot carry deletions as well; leave them out")
            return self._compare_full(connection, spec, head, wanted)
        gone_keys = np.empty((0, 2), dtype=np.uint64) if gone is None else np.unique(key_digests(spec, gone), axis=0)
        if (match_positions(gone_keys, wanted.keys) >= 0).any():
            raise ContractError(f"{spec.name}: a key is both wanted and deleted in one change")
        keys = wanted.table.select(list(spec.key_names))
        if gone is not None and gone.num_rows:
            keys = pa.concat_tables([keys, gone])
        stored = payloads.hashed(spec, self._tables.read_by_key(connection, spec, keys))
        return _Compared(change_set(stored, wanted, gone_keys))

    def _compare_full(self, connection: sa.Connection, spec: TableSpec, head: Head, wanted: HashedRows) -> _Compared:
        index, wants_checkpoint = index_io.load_index(connection, self._tables, spec, head)
        at, vanished = index.compare(wanted)
        candidates = wanted.take(at)
        gone_keys = index.keys[vanished]
        gone_table = index.key_table.take(pa.array(vanished))
        known = match_sorted(candidates.keys, index.keys)
        touched = candidates.table.select(list(spec.key_names)).filter(pa.array(known >= 0))
        stored = payloads.hashed(
            spec, self._tables.read_by_key(connection, spec, pa.concat_tables([touched, gone_table]))
        )
        recorded = StateHash.of(index.rows[np.concatenate([known[known >= 0], vanished])])
        if StateHash.of(stored.rows) != recorded:
            raise IntegrityError(
                f"{spec.name}: rows that this change touches were edited outside the store; run `ao verify {spec.asset}`"
            )
        return _Compared(change_set(stored, candidates, gone_keys), index, wants_checkpoint)

    def _record(
        self,
        connection: sa.Connection,
        writer: Writer,
        head: Head,
        change: Change,
        compared: _Compared,
        expected_state_hash: str | None,
    ) -> Receipt:
        intent, changes, spec = writer.intent, compared.changes, writer.intent.spec
        self._apply(connection, spec, changes)
        self._probe(CommitStep.APPLIED)
        after = _state_after(head, changes)
        if expected_state_hash is not None:
            self._verify_outcome(connection, writer, changes, after, expected_state_hash)
        payload = payloads.encode(spec, changes)
        header = _header(writer, head, change, changes, after=after, payload=payload)
        if payload:
            connection.execute(BUNDLE_PAYLOAD.insert().values(bundle_id=header.bundle_id, payload=payload))
        self._probe(CommitStep.PAYLOAD_STORED)
        connection.execute(BUNDLE.insert().values(bundle_id=header.bundle_id, **asdict(header)))
        _store_quarantine(connection, intent, change)
        self._probe(CommitStep.BUNDLE_STORED)
        _store_index(connection, spec, header.seq, compared)
        self._probe(CommitStep.INDEX_STORED)
        connection.execute(
            ASSET_HEAD.update()
            .where(ASSET_HEAD.c.asset == spec.asset)
            .values(
                seq=header.seq,
                seal=header.seal,
                state_hash=header.state_hash_after,
                row_count=header.row_count_after,
                cursor=header.cursor_after,
                computed_cycle=_computed_cycle(head, intent),
                state_cycle=intent.state_cycle or intent.cycle.key,
                inputs=intent.inputs,
                layout=layout_of(spec),
            )
        )
        self._probe(CommitStep.HEAD_MOVED)
        return Receipt(header, preview_changes(spec, changes, limit=PREVIEW_ROWS))

    def _apply(self, connection: sa.Connection, spec: TableSpec, changes: ChangeSet) -> None:
        self._tables.delete(connection, spec, changes.deleted.table.select(list(spec.key_names)))
        self._tables.upsert(connection, spec, pa.concat_tables([changes.inserted.table, changes.updated_after.table]))

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
        header = _header(
            migrate,
            head,
            Change(spec.empty(), is_full=False),
            nothing,
            after=index.state_hash,
            payload=b"",
            rows=len(index),
        )
        connection.execute(BUNDLE.insert().values(bundle_id=header.bundle_id, **asdict(header)))
        index_io.store_checkpoint(connection, spec, seq=header.seq, index=index)
        return replace(
            head,
            seq=header.seq,
            seal=header.seal,
            state_hash=header.state_hash_after,
            layout=layout,
            row_count=len(index),
        )


def lock_head(connection: sa.Connection, asset: str) -> Head:
    """Return the asset's head, made if missing, locked until the transaction ends."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(ASSET_HEAD)
        .values(
            asset=asset,
            seq=0,
            seal=GENESIS_SEAL,
            state_hash=StateHash().hex,
            row_count=0,
            cursor="",
            computed_cycle="",
            state_cycle="",
            inputs="",
            layout="",
            fence=0,
        )
        .on_conflict_do_nothing()
    )
    row = connection.execute(sa.select(ASSET_HEAD).where(ASSET_HEAD.c.asset == asset).with_for_update()).one()
    return Head(**row._mapping)


def _refuse_held(connection: sa.Connection, asset: str) -> None:
    held = connection.execute(sa.select(HOLD.c.reason, HOLD.c.actor).where(HOLD.c.asset == asset)).first()
    if held is not None:
        raise HoldError(
            f"{asset} is on hold ({held.reason}, by {held.actor}); release it with `ao hold release {asset}`"
        )


def _state_after(head: Head, changes: ChangeSet) -> StateHash:
    before = StateHash.from_hex(head.state_hash)
    without = before.minus(changes.updated_before.rows).minus(changes.deleted.rows)
    return without.plus(changes.updated_after.rows).plus(changes.inserted.rows)


def _header(
    writer: Writer,
    head: Head,
    change: Change,
    changes: ChangeSet,
    *,
    after: StateHash,
    payload: bytes,
    rows: int | None = None,
) -> BundleHeader:
    intent = writer.intent
    header = BundleHeader(
        asset=intent.spec.asset,
        seq=head.seq + 1,
        cycle=intent.cycle.key,
        first_cycle=intent.first_cycle.key,
        kind=intent.kind.value,
        intent=intent.name,
        run_id=intent.run_id,
        attempt=intent.attempt,
        code_version=intent.code_version,
        parent_seal=head.seal,
        rows_inserted=len(changes.inserted),
        rows_updated=len(changes.updated_after),
        rows_deleted=len(changes.deleted),
        row_count_after=head.row_count + len(changes.inserted) - len(changes.deleted) if rows is None else rows,
        state_hash_before=head.state_hash,
        state_hash_after=after.hex,
        payload_hash=payloads.payload_hash(payload),
        payload_bytes=len(payload),
        layout=layout_fingerprint(layout_of(intent.spec)),
        actor=intent.actor,
        reason=intent.reason,
        inputs=intent.inputs,
        cursor_before=head.cursor,
        cursor_after=_cursor_after(head, change),
        target_id=intent.target_id,
        stats=canonical_json(dict(change.stats)),
        started_at_us=writer.began_at_us,
        duration_ms=round((clock.monotonic_seconds() - writer.began_monotonic) * 1000),
    )
    return replace(header, seal=header.computed_seal())


def _cursor_after(head: Head, change: Change) -> str:
    if change.cursor is None:
        return head.cursor
    return canonical_json(dict(change.cursor)) if change.cursor else ""


def _computed_cycle(head: Head, intent: Intent) -> str:
    if intent.kind is not BundleKind.MATERIALIZE:
        return head.computed_cycle
    return max(head.computed_cycle, intent.cycle.key)


def _store_index(connection: sa.Connection, spec: TableSpec, seq: int, compared: _Compared) -> None:
    if compared.index is not None and compared.wants_checkpoint:
        delta = IndexDelta.of(spec, compared.changes)
        index_io.store_checkpoint(connection, spec, seq=seq, index=compared.index.apply([delta]))
    elif compared.changes.count:
        index_io.store_delta(connection, spec, seq=seq, changes=compared.changes)


def _store_quarantine(connection: sa.Connection, intent: Intent, change: Change) -> None:
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
