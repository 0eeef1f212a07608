"""A store with a short history that every command can be tried on.

The history of `raw/bills` (key: bill, line), 15 minutes apart:

    10:00  bills A1 (10), A2 (20), B1 (30)        computed, seq 1
    10:15  nothing changed                         computed, seq 2
    10:30  A1 is 11, B1 gone, C1 (40) came         computed, seq 3
    10:45  A1 is 12, C1 noted                      computed, seq 4

`truth/totals` is computed from it in the same cycles; `ref/plans` was computed once, at 10:30.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from click.testing import Result

from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent, Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.changes import Change, Quarantined
from ao_pipeline.bundles.schema import TableSpec, boolean, day, decimal, floating, instant, integer, text
from ao_pipeline.cycle import Cycle

BILLS = TableSpec(
    "raw/bills",
    (text("bill"), integer("line")),
    (
        integer("amount_minor"),
        text("note"),
        floating("share"),
        boolean("is_paid"),
        day("due_on"),
        instant("seen_at"),
        decimal("rate"),
    ),
    "one line of a bill",
)
TOTALS = TableSpec("truth/totals", (text("bill"),), (integer("total_minor"),), "one bill")
PLANS = TableSpec("ref/plans", (text("plan"),), (), "one plan")
SPECS = (PLANS, BILLS, TOTALS)

FIRST = Cycle.from_key("2026-11-22-10:00")
SECOND, THIRD, FOURTH = (FIRST.shift(count) for count in (1, 2, 3))

Row = dict[str, Any]
Ao = Callable[..., Result]


def bill(name: str, amount: int, **others: Any) -> Row:
    """Return a bill's line 1."""
    row: Row = {"bill": name, "line": 1, "amount_minor": amount, "note": None, "share": 0.5, "is_paid": False}
    row |= {"due_on": date(2026, 12, 1), "seen_at": datetime(2026, 11, 22, 10, 0, 0, 1, tzinfo=UTC), "rate": "1.5"}
    return row | others


HISTORY: tuple[tuple[Cycle, list[Row]], ...] = (
    (FIRST, [bill("A1", 10), bill("A2", 20), bill("B1", 30)]),
    (SECOND, [bill("A1", 10), bill("A2", 20), bill("B1", 30)]),
    (THIRD, [bill("A1", 11), bill("A2", 20), bill("C1", 40)]),
    (FOURTH, [bill("A1", 12), bill("A2", 20), bill("C1", 40, note="held")]),
)


def commit(
    store: StateStore, spec: TableSpec, cycle: Cycle, rows: Sequence[Row], *, inputs: str = "", **change: Any
) -> Receipt:
    """Compute a full listing in a cycle."""
    name = f"run:{cycle}"
    intent = Intent(spec, cycle, cycle, name, run_id=f"run-{cycle.key[-5:]}", code_version="v1", inputs=inputs)
    listing = Change(conform(spec, rows), is_full=True, cursor={"since": cycle.key}, **change)
    return store.commit(store.begin(intent), listing)


def fill(store: StateStore) -> None:
    """Commit the history that this module describes."""
    for cycle, rows in HISTORY:
        commit(store, BILLS, cycle, rows)
        head = store.head(BILLS.asset)
        assert head is not None
        totals = [{"bill": row["bill"], "total_minor": row["amount_minor"]} for row in rows]
        commit(store, TOTALS, cycle, totals, inputs=canonical_json({"tables": {BILLS.name: head.state_hash}}))
    commit(store, PLANS, THIRD, [{"plan": "basic"}])


def open_filled(url: str) -> StateStore:
    """Return a store with that history."""
    database = Database(url)
    managed = sa.MetaData()
    managed_tables(SPECS, managed)
    for metadata in (ENGINE, managed):
        metadata.create_all(database.engine)
    store = StateStore(database, SPECS)
    fill(store)
    return store


@dataclass
class DirectReverts:
    """Carries reverts out in the store, as the assets do within a Dagster run; `asked` keeps what was asked for."""

    store: StateStore
    asked: list[tuple[tuple[str, ...], str, str, bool]]

    def __call__(self, assets: Sequence[str], cycle: Cycle, *, reason: str, hold: bool) -> None:
        self.asked.append((tuple(assets), cycle.key, reason, hold))
        for asset in assets:
            name = f"revert:{len(self.asked)}"
            self.store.revert(Intent(self.store.spec(asset), cycle, cycle, name, reason=reason, actor="test"))
            if hold:
                self.store.hold(asset, reason=reason, actor="test")


def answer(result: Result) -> Any:
    """Return the JSON that a command printed."""
    return json.loads(result.stdout)


def refuse_one(store: StateStore) -> None:
    """Commit a cycle in which one record was refused."""
    refused = Quarantined("B9:1", "amount is missing", '{"bill":"B9"}')
    commit(store, BILLS, FOURTH.shift(1), HISTORY[-1][1], quarantined=(refused,))
