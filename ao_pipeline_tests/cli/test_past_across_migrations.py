"""Reading and taking back across a change of a table's columns: across an added one it works, across a dropped one not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.past import Past
from ao_pipeline.adapters.state.revert_rows import RowReverter
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec, integer, text
from ao_pipeline.errors import IntegrityError
from ao_pipeline_tests.cli.history import FIRST, SECOND, THIRD, commit

OLD = TableSpec("raw/seats", (text("seat"),), (integer("price_minor"), text("note")), "one seat")
ADDED = replace(OLD, columns=(*OLD.columns, text("colour")))
DROPPED = replace(OLD, columns=OLD.columns[:1])


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A store's database with two cycles of the table as it was."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    managed = sa.MetaData()
    managed_tables([OLD], managed)
    for metadata in (ENGINE, managed):
        metadata.create_all(database.engine)
    store = StateStore(database, [OLD])
    commit(store, OLD, FIRST, [{"seat": "a", "price_minor": 1, "note": "x"}])
    commit(
        store,
        OLD,
        SECOND,
        [{"seat": "a", "price_minor": 2, "note": "x"}, {"seat": "b", "price_minor": 5, "note": None}],
    )
    yield database
    database.close()


@pytest.fixture
def widened(database: Database) -> StateStore:
    """The store after a column was added, one cycle later."""
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE raw_seats ADD COLUMN colour TEXT"))
    store = StateStore(database, [ADDED])
    red = {"seat": "a", "price_minor": 2, "note": "x", "colour": "red"}
    commit(store, ADDED, THIRD, [red, {"seat": "b", "price_minor": 5, "note": None, "colour": None}])
    return store


@pytest.fixture
def narrowed(database: Database) -> StateStore:
    """The store after a column was dropped, one cycle later."""
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE raw_seats DROP COLUMN note"))
    store = StateStore(database, [DROPPED])
    commit(store, DROPPED, THIRD, [{"seat": "a", "price_minor": 3}])
    return store


def test_the_past_reaches_across_an_added_column(widened: StateStore) -> None:
    past = Past(widened)

    assert past.asof(ADDED, FIRST).to_pylist() == [{"seat": "a", "price_minor": 1, "note": "x", "colour": None}]
    assert past.diff(ADDED, FIRST, THIRD).updated_after.table.to_pylist()[0]["colour"] == "red"
    blamed = {line.column: line.bundle and line.bundle.cycle for line in past.blame(ADDED, {"seat": "a"})}
    assert blamed == {"price_minor": SECOND.key, "note": FIRST.key, "colour": THIRD.key}


def test_rows_come_back_across_an_added_column(widened: StateStore) -> None:
    header = next(item for item in widened.bundles(asset=ADDED.asset) if item.cycle == SECOND.key)

    result = RowReverter.of(widened).apply(Intent(ADDED, THIRD, THIRD, "rows"), header)

    # `a` got a colour since; `b` has none, and so is as the bundle left it.
    assert [conflict.key for conflict in result.plan.conflicts] == [{"seat": "a"}]
    assert [row["seat"] for row in widened.read(ADDED.asset).to_pylist()] == ["a"]
    assert widened.verify(ADDED.asset) == []


def test_states_before_a_dropped_column_are_refused_with_the_reason(narrowed: StateStore) -> None:
    past = Past(narrowed)

    for read in (lambda: past.asof(DROPPED, FIRST), lambda: past.diff(DROPPED, FIRST, THIRD)):
        with pytest.raises(IntegrityError, match="columns of its table were changed or dropped"):
            read()


def test_rows_from_before_a_dropped_column_are_refused_with_the_reason(narrowed: StateStore) -> None:
    header = next(item for item in narrowed.bundles(asset=DROPPED.asset) if item.cycle == SECOND.key)

    with pytest.raises(IntegrityError, match="do not fit the table as it is now"):
        RowReverter.of(narrowed).plan(DROPPED, header)


def test_blame_stops_at_a_dropped_column(narrowed: StateStore) -> None:
    commit(narrowed, DROPPED, THIRD.shift(1), [{"seat": "a", "price_minor": 3}, {"seat": "c", "price_minor": 9}])

    past = Past(narrowed)

    assert past.blame(DROPPED, {"seat": "a"})[0].bundle is not None
    assert past.asof(DROPPED, THIRD).to_pylist() == [{"seat": "a", "price_minor": 3}]
