"""A store under test beside a brute-force model of it, and the steps that drive both.

The model is a dictionary of rows and a list of remembered states. It shares no code with the engine but the row hash,
which `docs/hash-format.md` and its vectors prove on their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE, ROW_INDEX, managed_tables
from ao_pipeline.adapters.state.commit import Probe
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.index_io import stored_index
from ao_pipeline.adapters.state.model import Head, Intent, Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.bundles.hashing import StateHash, row_digests
from ao_pipeline.bundles.header import BundleKind
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.cycle import Cycle
from ao_pipeline_tests.stress.tables import Row, comparable, key_of

FIRST: Final = Cycle.from_key("2026-11-22-10:00")
Rows = dict[tuple[Any, ...], Row]


class MismatchError(AssertionError):
    """The store and the model disagree. `check` names the oracle check that failed."""

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check


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
    is_full: bool = True,
    deleted: list[Row] | None = None,
    cursor: dict[str, Any] | None = None,
    quarantined: tuple[Quarantined, ...] = (),
) -> Receipt:
    """Begin and commit one change; deleted rows are named by whole rows, of which only the key counts."""
    writer = store.begin(intent(spec, cycle, name))
    if writer.found is not None:
        return Receipt(writer.found, conform(spec, []), is_replay=True)
    gone = None if deleted is None else conform(spec, deleted)
    return store.commit(writer, Change(conform(spec, rows), is_full, gone, cursor, quarantined))


@dataclass(frozen=True)
class Remembered:
    """A state as the model remembers it."""

    seq: int
    cycle: Cycle
    kind: str
    rows: Rows
    cursor: dict[str, Any] | None


@dataclass
class Model:
    """What the store must look like."""

    spec: TableSpec
    rows: Rows = field(default_factory=dict)
    cursor: dict[str, Any] | None = None
    past: list[Remembered] = field(default_factory=list)
    intents: set[tuple[str, str]] = field(default_factory=set)

    def full(self, rows: list[Row]) -> None:
        """Replace everything."""
        self.rows = {key_of(self.spec, row): row for row in rows}

    def partial(self, rows: list[Row], deleted: list[Row]) -> None:
        """Replace some, remove some."""
        for row in deleted:
            self.rows.pop(key_of(self.spec, row), None)
        self.rows = self.rows | {key_of(self.spec, row): row for row in rows}

    def remember(self, cycle: Cycle, kind: BundleKind, name: str) -> None:
        """Note the state that a bundle left behind."""
        self.past.append(Remembered(len(self.past) + 1, cycle, kind.value, dict(self.rows), self.cursor))
        self.intents.add((cycle.key, name))

    def state_of(self, cycle: Cycle) -> Remembered | None:
        """Return the newest computation of the cycle, else of the newest cycle before it."""
        computed = [past for past in self.past if past.kind == "materialize" and past.cycle <= cycle]
        return max(computed, key=lambda past: (past.cycle, past.seq), default=None)

    @property
    def state_hash(self) -> str:
        """The state hash computed from nothing but the model's rows."""
        return StateHash.of(row_digests(self.spec, conform(self.spec, list(self.rows.values())))).hex


class History:
    """Drives a store and its model through the same steps and compares them after each.

    Raises:
        MismatchError: From every step, as soon as store and model disagree.
    """

    def __init__(self, store: StateStore, spec: TableSpec) -> None:
        self.store = store
        self.spec = spec
        self.model = Model(spec)
        self.cycle = FIRST
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

    def retry(self) -> None:
        """Ask again for a bundle that is there: it is found, and nothing is written."""
        if not self.model.intents:
            return
        key, name = max(self.model.intents)
        writer = self.store.begin(intent(self.spec, Cycle.from_key(key), name))
        if writer.found is None:
            raise MismatchError("retry_finds_its_bundle", f"{key} {name} has a bundle, but none was found")
        self.compare()

    def next_cycle(self) -> None:
        """Let a quarter of an hour pass."""
        self.cycle = self.cycle.shift(1)

    def revert(self, back: int) -> None:
        """Restore the state of an earlier cycle."""
        target = self.cycle.shift(-back)
        wanted = self.model.state_of(target)
        if wanted is None:
            return
        self.names += 1
        plan = self.store.plan_revert(self.spec, target)
        receipt = self.store.revert(intent(self.spec, target, f"revert:{self.names}"))
        changed = (plan.rows_inserted, plan.rows_updated, plan.rows_deleted)
        done = (receipt.header.rows_inserted, receipt.header.rows_updated, receipt.header.rows_deleted)
        if changed != done:
            raise MismatchError("plan_is_exact", f"planned {changed}, did {done}")
        self.model.rows, self.model.cursor = dict(wanted.rows), wanted.cursor
        self.model.remember(target, BundleKind.REVERT, f"revert:{self.names}")
        self.compare()

    def _commit(self, rows: list[Row], cursor: dict[str, Any] | None, *, is_full: bool, deleted: list[Row]) -> None:
        self.names += 1
        before = dict(self.model.rows)
        name = f"run:{self.names}"
        receipt = commit(
            self.store,
            self.spec,
            self.cycle,
            rows,
            name=name,
            is_full=is_full,
            deleted=None if is_full else deleted,
            cursor=cursor,
        )
        if is_full:
            self.model.full(rows)
        else:
            self.model.partial(rows, deleted)
        self.model.cursor = self.model.cursor if cursor is None else cursor or None
        self.model.remember(self.cycle, BundleKind.MATERIALIZE, name)
        header = receipt.header
        counts = (header.rows_inserted, header.rows_updated, header.rows_deleted)
        if counts != changed_counts(before, self.model.rows):
            raise MismatchError("counts", f"{counts}, the model says {changed_counts(before, self.model.rows)}")
        self.compare()

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
        if (head.seq, head.row_count) != (len(self.model.past), len(self.model.rows)):
            raise MismatchError(
                "head",
                f"{head.seq}, {head.row_count} rows; {len(self.model.past)}, {len(self.model.rows)} rows expected",
            )
        if self.store.cursor(self.spec.asset) != self.model.cursor:
            raise MismatchError("cursor", f"{self.store.cursor(self.spec.asset)} instead of {self.model.cursor}")

        self._compare_index(head)

    def _compare_index(self, head: Head) -> None:
        """A row index that is stored must be of use: the engine would rebuild it in silence, at the price of a full read."""
        with self.store.database.read() as connection:
            stored = connection.execute(
                sa.select(sa.func.count()).where(ROW_INDEX.c.asset == self.spec.asset)
            ).scalar_one()
            if stored and stored_index(connection, self.spec, head) is None:
                raise MismatchError("row_index", f"{stored} parts do not add up to the head")

    def finish(self) -> None:
        """Verify the whole chain, and replay it from its payloads: every remembered state must come out."""
        findings = self.store.verify(self.spec.asset)
        if findings:
            raise MismatchError("verify", str(findings))
        replayed: Rows = {}
        bundles = self.store.bundles(asset=self.spec.asset, limit=10_000)[::-1]
        for header, past in zip(bundles, self.model.past, strict=True):
            changes = self.store.changes(header)
            for row in [*changes.deleted.table.to_pylist(), *changes.updated_before.table.to_pylist()]:
                old = replayed.pop(key_of(self.spec, row), None)
                if old is None or comparable(old) != comparable(row):
                    raise MismatchError("before_images", f"bundle {header.seq} holds {row}, the table held {old}")
            for row in [*changes.inserted.table.to_pylist(), *changes.updated_after.table.to_pylist()]:
                replayed[key_of(self.spec, row)] = row
            if {k: comparable(v) for k, v in replayed.items()} != {k: comparable(v) for k, v in past.rows.items()}:
                raise MismatchError("replay", f"bundle {header.seq} does not lead to its state")


def changed_counts(before: Rows, after: Rows) -> tuple[int, int, int]:
    """Return how many rows came, changed and went, by brute force."""
    updated = sum(comparable(before[key]) != comparable(after[key]) for key in before.keys() & after.keys())
    return len(after.keys() - before.keys()), updated, len(before.keys() - after.keys())


def renamed(spec: TableSpec, **changes: Any) -> TableSpec:
    """Return a spec of the same asset with other columns, as a migration leaves it."""
    return replace(spec, **changes)
