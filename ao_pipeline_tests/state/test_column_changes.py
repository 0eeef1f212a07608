"""Reverts across a migration: an added column is no obstacle, a dropped one is, and it is said why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import Column, ColumnType, text
from ao_pipeline.errors import ContractError, IntegrityError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent, open_empty, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


def one(name: str, **cells: Any) -> Row:
    """Return a row named `name`."""
    return row(EVERY_TYPE, name, 1, **cells)


def three_cycles(store: StateStore) -> list[list[Row]]:
    """Commit three cycles in which rows come, change, go and return; give what was stored after each."""
    listings = [
        [one("a", note="1", ratio=float("nan")), one("b", note=""), one("c")],
        [one("a", note="2"), one("d", tags="{}")],
        [one("a", note="3"), one("b", note="back"), one("e")],
    ]
    states = []
    for step, listing in enumerate(listings):
        commit(store, EVERY_TYPE, FIRST.shift(step), listing, cursor={"step": step})
        states.append(stored(store))
    return states


def stored(store: StateStore) -> list[Any]:
    """Return the table's rows, sorted, in a form in which equal means byte-equal."""
    return sorted(repr(sorted(found.items())) for found in store.read(ASSET).to_pylist())


WIDER = replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns, text("since"), Column("score", ColumnType.FLOAT)))
NARROWER = replace(EVERY_TYPE, columns=EVERY_TYPE.columns[1:])
RETYPED = replace(EVERY_TYPE, columns=(*EVERY_TYPE.columns[:-1], text("rate_text")))


def migrate(store: StateStore, *statements: str) -> None:
    """Change the managed table as a migration does."""
    with store.database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_revert_across_an_added_column_works(database_url: str) -> None:
    old = open_empty(database_url, EVERY_TYPE)
    three_cycles(old)
    hashes = [bundle.state_hash_after for bundle in old.bundles(asset=ASSET)][::-1]
    migrate(
        old,
        "ALTER TABLE proof_every_type ADD COLUMN since TEXT",
        "ALTER TABLE proof_every_type ADD COLUMN score DOUBLE PRECISION",
    )
    new = reopen(old.database, WIDER)
    assert new.verify(ASSET) == []
    commit(new, WIDER, FIRST.shift(3), [row(WIDER, "a", 1, since="now", score=0.5)], cursor={"step": 3})

    for number, step in enumerate([0, 2, 3, 1]):
        receipt = new.revert(intent(WIDER, FIRST.shift(step), f"revert-{number}"))
        if step < 3:
            assert receipt.header.state_hash_after == hashes[step]
        else:
            assert new.read(ASSET).to_pylist() == [row(WIDER, "a", 1, since="now", score=0.5)]
    assert new.verify(ASSET) == []
    new.close()


@pytest.mark.parametrize("is_noted", [True, False], ids=["a bundle noted it", "no bundle since"])
def test_a_revert_across_a_dropped_column_is_refused_and_says_why(database_url: str, *, is_noted: bool) -> None:
    old = open_empty(database_url, EVERY_TYPE)
    three_cycles(old)
    migrate(old, "ALTER TABLE proof_every_type DROP COLUMN note")
    new = reopen(old.database, NARROWER)
    if is_noted:
        commit(new, NARROWER, FIRST.shift(3), [row(NARROWER, "a", 1, tags="{}")])
        assert [bundle.kind for bundle in new.bundles(asset=ASSET)][:2] == ["materialize", "migrate"]
    before = stored(new)

    for step in (0, 1):
        with pytest.raises((IntegrityError, ContractError), match="changed or dropped"):
            new.revert(intent(NARROWER, FIRST.shift(step), "revert"))
        with pytest.raises((IntegrityError, ContractError), match="changed or dropped"):
            new.plan_revert(NARROWER, FIRST.shift(step))

    assert stored(new) == before
    if is_noted:
        assert new.verify(ASSET) == []
        commit(new, NARROWER, FIRST.shift(4), [row(NARROWER, "b", 1)])
        new.revert(intent(NARROWER, FIRST.shift(3), "back"))
        assert [found["name"] for found in new.read(ASSET).to_pylist()] == ["a"]
        assert new.verify(ASSET) == []
    new.close()
