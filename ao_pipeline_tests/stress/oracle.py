"""What is compared between a store and its model, after every step and at the end of a history."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state import history as recorded
from ao_pipeline.adapters.state.catalog import ROW_INDEX
from ao_pipeline.adapters.state.index_io import stored_index
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.adapters.state.revert_rows import RowRevertPlan
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.state.totals import Figures, bundle_figures, folded
from ao_pipeline.bundles.header import BundleHeader
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import UnknownNameError
from ao_pipeline_tests.stress.model import Model, Rows, Undoing, changed_keys, is_same
from ao_pipeline_tests.stress.tables import comparable, key_of

FIRST: Final = Cycle.from_key("2026-11-22-10:00")


class MismatchError(AssertionError):
    """The store and the model disagree. `check` names the oracle check that failed."""

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check


class Oracle:
    """Compares a store with its model.

    Raises:
        MismatchError: From every method, as soon as the two disagree.
    """

    def __init__(self, store: StateStore, spec: TableSpec, model: Model | None = None) -> None:
        self.store = store
        self.spec = spec
        self.model = model or Model(spec)
        self.cycle = FIRST

    def expect_counts(self, check: str, header: BundleHeader, counts: tuple[int, int, int]) -> None:
        """The bundle changed this many rows."""
        done = (header.rows_inserted, header.rows_updated, header.rows_deleted)
        if done != counts:
            raise MismatchError(check, f"changed {done}, expected {counts}")

    def expect_undo(self, plan: RowRevertPlan, expected: Undoing) -> None:
        """The plan chose, skipped and left alone the rows that the model did."""
        conflicts = {
            key_of(self.spec, conflict.key): conflict.changed_by.seq if conflict.changed_by else 0
            for conflict in plan.conflicts
        }
        found = (plan.selected, plan.already, conflicts)
        if found != (expected.selected, expected.already, expected.conflicts):
            raise MismatchError("undo_is_exact", f"{found} instead of {expected}")

    def expect_refusal(self, target: Cycle) -> None:
        """The cycle cannot be returned to, and the message says how far back one can go."""
        try:
            self.store.plan_revert(self.spec, target)
        except UnknownNameError as error:
            window = self.model.oldest
            if window is not None and f"the undo window starts at {window}" not in str(error):
                raise MismatchError("window", f"{error}; it starts at {window}") from error
            return
        raise MismatchError("window", f"{target} lies before the undo window, but can be returned to")

    def figures(self) -> Figures:
        """Return the counters as the exporter sums them."""
        with self.store.database.read() as connection:
            figures = bundle_figures(connection)
            figures.update(folded(connection))
            return figures

    def compare_window(self) -> None:
        """Each cycle has the state that it would have if nothing had ever been pruned, or is refused."""
        for number in range(-1, 1 + (self.cycle.start - FIRST.start) // (FIRST.shift(1).start - FIRST.start)):
            cycle = FIRST.shift(number)
            wanted, always = self.model.state_of(cycle), self.model.state_of(cycle, is_pruned=False)
            if wanted is None:
                self.expect_refusal(cycle)
                continue
            with self.store.database.read() as connection:
                found = recorded.bundle_for_cycle(connection, self.spec.asset, cycle).seq
            if not found == wanted.seq == (always and always.seq):
                raise MismatchError("window", f"{cycle} has bundle {found}; {wanted.seq} stays; it was {always}")

    def compare(self) -> None:
        """Compare rows, cursor, head and newest bundle with the model."""
        stored = {key_of(self.spec, row): comparable(row) for row in self.store.read(self.spec.asset).to_pylist()}
        expected = {key: comparable(row) for key, row in self.model.rows.items()}
        if stored != expected:
            raise MismatchError("rows", f"{stored} instead of {expected}")
        head = self.store.head(self.spec.asset)
        if head is None:
            if self.model.past:
                raise MismatchError("head", "there is none")
            return
        if head.state_hash != self.model.state_hash:
            raise MismatchError("state_hash", f"{head.state_hash} instead of {self.model.state_hash}")
        computed = self.model.computed.key if self.model.computed else ""
        stands = (head.seq, head.row_count, head.computed_cycle)
        if stands != (len(self.model.past), len(self.model.rows), computed):
            raise MismatchError("head", f"{stands}; {len(self.model.past)}, {len(self.model.rows)} rows, {computed}")
        if self.store.cursor(self.spec.asset) != self.model.cursor:
            raise MismatchError("cursor", f"{self.store.cursor(self.spec.asset)} instead of {self.model.cursor}")
        self._compare_index(head)

    def _compare_index(self, head: Head) -> None:
        """A row index that is stored must be of use: the engine would rebuild it in silence, at the price of a full read."""
        with self.store.database.read() as connection:
            of_asset = ROW_INDEX.c.asset == self.spec.asset
            parts = connection.execute(sa.select(ROW_INDEX.c.seq, ROW_INDEX.c.is_checkpoint).where(of_asset)).all()
            if parts and stored_index(connection, self.spec, head) is None:
                raise MismatchError("row_index", f"{len(parts)} parts do not add up to the head")
        stale = [part.seq for part in parts if not part.is_checkpoint and part.seq <= self.model.pruned]
        if stale:
            raise MismatchError("row_index", f"deltas {stale} are of bundles that were pruned")

    def finish(self) -> None:
        """Verify the whole chain, and replay it from its payloads: every remembered state must come out."""
        findings = self.store.verify(self.spec.asset)
        if findings:
            raise MismatchError("verify", str(findings))
        self.compare_window()
        replayed: Rows = dict(self.model.before(self.model.kept[0])) if self.model.kept else {}
        bundles = self.store.bundles(asset=self.spec.asset, limit=10_000)[::-1]
        for header, past in zip(bundles, self.model.kept, strict=True):
            changes = self.store.changes(header)
            for row in [*changes.deleted.table.to_pylist(), *changes.updated_before.table.to_pylist()]:
                old = replayed.pop(key_of(self.spec, row), None)
                if not is_same(old, row):
                    raise MismatchError("before_images", f"bundle {header.seq} holds {row}, the table held {old}")
            for row in [*changes.inserted.table.to_pylist(), *changes.updated_after.table.to_pylist()]:
                replayed[key_of(self.spec, row)] = row
            if changed_keys(replayed, past.rows):
                raise MismatchError("replay", f"bundle {header.seq} does not lead to its state")
