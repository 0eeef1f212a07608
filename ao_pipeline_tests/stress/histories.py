"""A store under test beside a brute-force model of it, and the steps that drive both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ao_pipeline.adapters.state import history as recorded
from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.commit import Probe
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent, Receipt
from ao_pipeline.adapters.state.revert_rows import RowReverter
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.bundles.header import BundleHeader, BundleKind
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.bundles.where import Condition
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConflictError, UnknownNameError
from ao_pipeline_tests.stress.model import Remembered, changed_counts, changed_keys
from ao_pipeline_tests.stress.oracle import FIRST as FIRST  # Whoever drives histories needs both.
from ao_pipeline_tests.stress.oracle import MismatchError as MismatchError
from ao_pipeline_tests.stress.oracle import Oracle
from ao_pipeline_tests.stress.tables import Row, key_of


def open_empty(url: str, *specs: TableSpec, probe: Probe | None = None) -> StateStore:
    """Create the tables of the engine and of `specs` in an empty database and open a store on it."""
    database = Database(url)
    metadata = sa.MetaData()
    managed_tables(specs, metadata)
    ENGINE.create_all(database.engine)
    metadata.create_all(database.engine)
    return reopen(database, *specs, probe=probe)


def reopen(database: Database, *specs: TableSpec, probe: Probe | None = None) -> StateStore:
    """Open a store on a database that has its tables."""
    return StateStore(database, specs) if probe is None else StateStore(database, specs, probe=probe)


def wipe(store: StateStore) -> None:
    """Empty every table: as good as a new database, without making one."""
    with store.database.write(is_durable=False) as connection:
        for name in [*(table.name for table in ENGINE.sorted_tables), *(spec.name for spec in store.specs.values())]:
            connection.exec_driver_sql(f"DELETE FROM {name}")


def intent(spec: TableSpec, cycle: Cycle, name: str, **more: Any) -> Intent:
    """Return an intent for one cycle."""
    return replace(Intent(spec, cycle, cycle, name), **more)


def commit(
    store: StateStore,
    spec: TableSpec,
    cycle: Cycle,
    rows: list[Row],
    *,
    name: str = "run",
    first: Cycle | None = None,
    is_full: bool = True,
    deleted: list[Row] | None = None,
    cursor: dict[str, Any] | None = None,
    quarantined: tuple[Quarantined, ...] = (),
) -> Receipt:
    """Begin and commit one change; deleted rows are named by whole rows, of which only the key counts."""
    writer = store.begin(intent(spec, cycle, name, first_cycle=first or cycle))
    if writer.found is not None:
        return Receipt(writer.found, is_replay=True)
    gone = None if deleted is None else conform(spec, deleted)
    return store.commit(writer, Change(conform(spec, rows), is_full, gone, cursor, quarantined))


class History(Oracle):
    """Drives a store and its model through the same steps and compares them after each.

    Raises:
        MismatchError: From every step, as soon as store and model disagree.
    """

    def __init__(self, store: StateStore, spec: TableSpec) -> None:
        super().__init__(store, spec)
        self.names = 0

    def commit_full(self, rows: list[Row], cursor: dict[str, Any] | None) -> None:
        """Commit a full listing."""
        self._commit(rows, cursor, is_full=True, deleted=[])

    def commit_partial(self, rows: list[Row], deleted: list[Row], cursor: dict[str, Any] | None) -> None:
        """Commit changed rows and tombstones; a key that is both counts as changed."""
        wanted = {key_of(self.spec, row) for row in rows}
        gone = [row for row in deleted if key_of(self.spec, row) not in wanted]
        self._commit(rows, cursor, is_full=False, deleted=gone)

    def commit_nothing(self) -> None:
        """Commit the listing that is there already."""
        self._commit(list(self.model.rows.values()), None, is_full=True, deleted=[])

    def recompute(self, rows: list[Row], back: int) -> None:
        """Compute an earlier cycle again."""
        self._commit(rows, None, is_full=True, deleted=[], cycle=self.cycle.shift(-back))

    def catch_up(self, rows: list[Row], missed: int) -> None:
        """Commit one bundle for several cycles."""
        first = self.cycle.shift(1)
        self.cycle = first.shift(missed)
        self._commit(rows, None, is_full=True, deleted=[], first=first)

    def retry(self, pick: int) -> None:
        """Ask again for a bundle that is there: it is found, and nothing is written."""
        if not self.model.kept:
            return
        past = self.model.kept[pick % len(self.model.kept)]
        writer = self.store.begin(intent(self.spec, past.cycle, past.name))
        if writer.found is None or writer.found.seq != past.seq:
            raise MismatchError("retry_finds_its_bundle", f"{past.cycle} {past.name}: found {writer.found}")
        self.compare()

    def next_cycle(self) -> None:
        """Let a quarter of an hour pass."""
        self.cycle = self.cycle.shift(1)

    def revert(self, back: int) -> None:
        """Restore the state of an earlier cycle, or be told that it lies before the undo window."""
        target = self.cycle.shift(-back)
        wanted = self.model.state_of(target)
        if wanted is None:
            self.expect_refusal(target)
            return
        self.names += 1
        plan = self.store.plan_revert(self.spec, target)
        receipt = self.store.revert(intent(self.spec, target, f"revert:{self.names}"))
        planned = (plan.rows_inserted, plan.rows_updated, plan.rows_deleted)
        self.expect_counts("plan_is_exact", receipt.header, planned)
        self.model.rows, self.model.cursor = dict(wanted.rows), wanted.cursor
        self.model.remember(target, BundleKind.REVERT.value, f"revert:{self.names}")
        self.compare()

    def undo_rows(self, pick: int, where: tuple[str, Any] | None, *, force: bool) -> None:
        """Take rows of one bundle out of the middle back; those that changed since stay, unless forced."""
        candidates = [past for past in self.model.kept if changed_keys(self.model.before(past), past.rows)]
        computed = self.model.computed
        if not candidates or computed is None:
            return
        past = candidates[pick % len(candidates)]
        expected = self.model.undoing(past, lambda row: where is None or holds(row, where), force=force)
        columns = {column.name: column for column in self.spec.all_columns}
        conditions = () if where is None else (Condition(columns[where[0]], where[1]),)
        bundle = self.header(past)
        self.names += 1
        name = f"undo:{self.names}"
        before = dict(self.model.rows)
        try:
            result = RowReverter.of(self.store).apply(
                intent(self.spec, computed, name), bundle, conditions, force=force
            )
        except (UnknownNameError, ConflictError) as error:
            is_right = isinstance(error, ConflictError if expected.selected else UnknownNameError)
            nothing_to_do = not changed_keys(before, expected.rows) and (expected.conflicts or not expected.selected)
            if not (is_right and nothing_to_do):
                raise MismatchError("undo_is_exact", f"{error}, but {expected} was expected") from error
            self.compare()
            return
        self.expect_undo(result.plan, expected)
        self.expect_counts("undo_is_exact", result.receipt.header, changed_counts(before, expected.rows))
        self.model.rows = expected.rows
        self.model.remember(computed, BundleKind.REVERT.value, name)
        self.compare()

    def prune(self, back: int) -> None:
        """Take the bundles away that only cycles before an earlier one need."""
        keep_from = self.cycle.shift(-back)
        if self.model.computed is None:
            return
        pruned, figures = self.model.prunable(keep_from), self.figures()
        outcome = self.store.prune(self.spec.asset, keep_from=keep_from)
        if (outcome.header is not None) != (pruned > self.model.pruned):
            raise MismatchError("prune_is_exact", f"{outcome} instead of {pruned}, {self.model.pruned} were gone")
        if outcome.header is not None:
            if (outcome.plan.through_seq, outcome.plan.bundles) != (pruned, pruned - self.model.pruned):
                raise MismatchError("prune_is_exact", f"{outcome.plan} instead of {pruned}")
            self.model.window, self.model.pruned = self.model.window_without(pruned), pruned
            if outcome.plan.window_from != self.model.window:
                raise MismatchError("prune_is_exact", f"{outcome.plan} instead of {self.model.window}")
            self.model.remember(self.model.computed, BundleKind.RETENTION.value, outcome.header.intent)
            figures["bundles", self.spec.asset, BundleKind.RETENTION.value] += 1
        if {k: v for k, v in self.figures().items() if v} != {k: v for k, v in figures.items() if v}:
            raise MismatchError("counters", f"{self.figures()} instead of {figures}")
        self.compare()
        self.compare_window()

    def header(self, past: Remembered) -> BundleHeader:
        """Return the stored bundle of a remembered state."""
        with self.store.database.read() as connection:
            (found,) = recorded.read_bundles(connection, asset=self.spec.asset, after_seq=past.seq - 1, limit=10_000)[
                -1:
            ]
        return found

    def _commit(
        self,
        rows: list[Row],
        cursor: dict[str, Any] | None,
        *,
        is_full: bool,
        deleted: list[Row],
        cycle: Cycle | None = None,
        first: Cycle | None = None,
    ) -> None:
        self.names += 1
        before, name, cycle = dict(self.model.rows), f"run:{self.names}", cycle or self.cycle
        gone = None if is_full else deleted
        options: dict[str, Any] = {"is_full": is_full, "deleted": gone, "cursor": cursor, "first": first}
        receipt = commit(self.store, self.spec, cycle, rows, name=name, **options)
        if is_full:
            self.model.full(rows)
        else:
            self.model.partial(rows, deleted)
        self.model.cursor = self.model.cursor if cursor is None else cursor or None
        self.model.remember(cycle, BundleKind.MATERIALIZE.value, name, first=first)
        self.expect_counts("counts", receipt.header, changed_counts(before, self.model.rows))
        self.compare()


def holds(row: Row, where: tuple[str, Any]) -> bool:
    """Tell whether a row has this value in this column; None stands for NULL and for an empty text."""
    column, value = where
    return row[column] in (None, "") if value is None else row[column] == value
