"""Take old bundles away without breaking what stays: the engine's primitive. When and how much is the policy's business.

Invariants:
1. What is kept is sealed into the chain, so a bundle that anybody else removed is missed (`test_bundles_that_nobody_pruned_are_missed`).
2. A cycle has the state that it had before, or is refused; it never gets another one (`test_pruning_never_gives_a_cycle_another_state`,
   `test_a_cycle_computed_again_does_not_answer_for_its_pruned_neighbours`).
3. The newest computed cycle, and everything since it was computed, stays (`test_the_newest_computed_cycle_is_never_pruned`).
4. No counter falls (`test_no_counter_falls_when_bundles_go`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa

from ao_pipeline import clock
from ao_pipeline.adapters.state import history, index_io
from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, BUNDLE_PAYLOAD, ROW_INDEX
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.headers import make_header
from ao_pipeline.adapters.state.heads import lock_head
from ao_pipeline.adapters.state.leases import refuse_displaced
from ao_pipeline.adapters.state.model import Head, Intent, Writer
from ao_pipeline.adapters.state.totals import fold_bundles
from ao_pipeline.adapters.state.verify import PRUNED_THROUGH
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import BundleHeader, BundleKind, layout_fingerprint
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError


@dataclass(frozen=True)
class PrunePlan:
    """What pruning takes away.

    Attributes:
        window_from: Oldest cycle that can still be returned to afterwards.
        through_seq: Newest bundle that goes; 0 when nothing is that old.
        bundles, payload_bytes: How many bundles go, and the size of their payloads.
    """

    window_from: Cycle
    through_seq: int
    bundles: int
    payload_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What was taken away, and the sealed bundle that says so; None when nothing was that old and nothing was written."""

    plan: PrunePlan
    header: BundleHeader | None


class Pruner:
    """Removes the oldest bundles of a chain, each time as one transaction with the bundle that records it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, spec: TableSpec, *, keep_from: Cycle) -> PrunePlan:
        """Return what `prune` would take away.

        Raises:
            UnknownNameError: The asset was never computed.
        """
        with self._database.read() as connection:
            return _plan(connection, spec, keep_from)

    def prune(
        self,
        spec: TableSpec,
        *,
        keep_from: Cycle,
        run_id: str = "",
        actor: str = "engine",
        reason: str = "",
        engine_token: int = 0,
    ) -> Pruned:
        """Take away the bundles that only cycles before `keep_from` need. Doing it again changes nothing.

        A writer at work is not fenced off: its rows and its undo stay as they are, only its bundle gets a later number.

        Args:
            spec: The table; its rows do not change.
            keep_from: Oldest cycle that must stay within reach. One after the newest computed cycle counts as that one.
            run_id, actor, reason: Who asks and why, for the bundle.
            engine_token: Token of the engine's lease that it acts under; 0 when it needs none.

        Raises:
            UnknownNameError: The asset was never computed. Nothing was written.
            FencedError: Another engine has taken over. Nothing was written.
            TransientError: The database is locked or unreachable. Nothing was written.
        """
        began, began_at_us = clock.monotonic_seconds(), clock.to_micros(clock.utc_now())
        with self._database.write() as connection:
            head = lock_head(connection, spec.asset)
            if engine_token:
                refuse_displaced(connection, engine_token)
            plan = _plan(connection, spec, keep_from)
            if not plan.bundles:
                return Pruned(plan, None)
            cycle = Cycle.from_key(head.computed_cycle)
            intent = Intent(
                spec,
                cycle,
                cycle,
                f"prune:{plan.through_seq}",
                kind=BundleKind.RETENTION,
                run_id=run_id,
                actor=actor,
                reason=reason,
            )
            header = _header(Writer(intent, head.fence, head, began, began_at_us), head, plan)
            _remove(connection, spec, head, plan.through_seq)
            connection.execute(BUNDLE.insert().values(bundle_id=header.bundle_id, **asdict(header)))
            connection.execute(
                ASSET_HEAD.update().where(ASSET_HEAD.c.asset == spec.asset).values(seq=header.seq, seal=header.seal)
            )
        return Pruned(plan, header)


def _plan(connection: sa.Connection, spec: TableSpec, keep_from: Cycle) -> PrunePlan:
    through, window = _reach(connection, spec, keep_from)
    counted = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(BUNDLE.c.payload_bytes), 0)).where(_old(spec, through))
    ).one()
    return PrunePlan(window, through if counted[0] else 0, int(counted[0]), int(counted[1]))


def _reach(connection: sa.Connection, spec: TableSpec, keep_from: Cycle) -> tuple[int, Cycle]:
    """Return the newest bundle that may go, and the oldest cycle that stays within reach.

    An old cycle that was computed again later is among the kept bundles, and then so must be every computation of the
    cycles after it: without them `bundle_for_cycle` would answer for those with the older cycle's state.
    """
    pruned_window = history.undo_window_from(connection, spec.asset)
    computed = sa.and_(BUNDLE.c.asset == spec.asset, BUNDLE.c.kind == BundleKind.MATERIALIZE.value)
    try:
        keep = history.bundle_for_cycle(connection, spec.asset, keep_from).seq
    except UnknownNameError:
        if history.read_head(connection, spec.asset) is None:
            raise
        keep = 0  # Everything that is left is younger; when nothing was ever computed, the next query says so.
    while True:
        window = connection.execute(sa.select(sa.func.min(BUNDLE.c.first_cycle)).where(computed, BUNDLE.c.seq >= keep))
        first_cycle = window.scalar_one_or_none()
        if first_cycle is None:
            raise UnknownNameError(f"{spec.asset} was never computed; there is no state that pruning could keep")
        first_cycle = max(first_cycle, pruned_window)  # The window never goes back to what is gone.
        oldest = connection.execute(sa.select(sa.func.min(BUNDLE.c.seq)).where(computed, BUNDLE.c.cycle >= first_cycle))
        needed = min(keep, int(oldest.scalar_one()))
        if needed == keep:
            return keep - 1, Cycle.from_key(first_cycle)
        keep = needed


def _header(writer: Writer, head: Head, plan: PrunePlan) -> BundleHeader:
    stats = {
        PRUNED_THROUGH: plan.through_seq,
        "pruned_bundles": plan.bundles,
        "pruned_payload_bytes": plan.payload_bytes,
        history.UNDO_WINDOW_FROM: plan.window_from.key,
    }
    spec = writer.intent.spec
    header = make_header(
        writer,
        head,
        Change(spec.empty(), is_full=False, stats=stats),
        payloads.decode(spec, b""),
        after=StateHash.from_hex(head.state_hash),
        payload=b"",
    )
    # A migration since the last bundle is for the next commit to take note of: the rows' hashes are still the old ones.
    header = replace(header, layout=layout_fingerprint(head.layout))
    return replace(header, seal=header.computed_seal())


def _remove(connection: sa.Connection, spec: TableSpec, head: Head, through: int) -> None:
    """Remove the bundles up to `through`; the condition stands in every statement."""
    old = _old(spec, through)
    fold_bundles(connection, old)
    gone = sa.select(BUNDLE.c.bundle_id).where(old)
    connection.execute(BUNDLE_PAYLOAD.delete().where(BUNDLE_PAYLOAD.c.bundle_id.in_(gone)))
    connection.execute(BUNDLE.delete().where(old))
    _compact_index(connection, spec, head, through)


def _compact_index(connection: sa.Connection, spec: TableSpec, head: Head, through: int) -> None:
    """Fold row-index deltas of bundles that went into the checkpoint; a row index that is unsound is left to the engine."""
    stale = sa.select(sa.func.count()).where(
        ROW_INDEX.c.asset == spec.asset, ROW_INDEX.c.seq <= through, ROW_INDEX.c.is_checkpoint.is_(False)
    )
    if connection.execute(stale).scalar_one():
        index = index_io.stored_index(connection, spec, head)
        if index is not None:
            index_io.store_checkpoint(connection, spec, seq=head.seq, index=index)


def _old(spec: TableSpec, through: int) -> sa.ColumnElement[bool]:
    return sa.and_(BUNDLE.c.asset == spec.asset, BUNDLE.c.seq <= through)
