"""The row index is a cache: rebuilt when damaged, never believed against the table."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ROW_INDEX
from ao_pipeline.adapters.state.model import Receipt
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.errors import IntegrityError
from ao_pipeline_tests.stress.histories import FIRST, commit
from ao_pipeline_tests.stress.tables import EVERY_TYPE, Row, row

ASSET = EVERY_TYPE.asset


def one(name: str, **cells: Any) -> Row:
    """Return a row named `name`."""
    return row(EVERY_TYPE, name, 1, **cells)


def counts(receipt: Receipt) -> tuple[int, int, int]:
    """Return inserted, updated, deleted."""
    header = receipt.header
    return header.rows_inserted, header.rows_updated, header.rows_deleted


def damage(store: StateStore, how: str) -> None:
    """Damage the stored row index."""
    with store.database.write() as connection:
        for stored in connection.execute(sa.select(ROW_INDEX)).all():
            blob = bytes(stored.entries)
            at = {"start": 3, "middle": len(blob) // 2, "end": len(blob) - 1}.get(how)
            damaged = (
                b"" if how == "empty" else blob if at is None else blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
            )
            where = sa.and_(ROW_INDEX.c.asset == stored.asset, ROW_INDEX.c.seq == stored.seq)
            if how == "gone":
                connection.execute(ROW_INDEX.delete().where(where))
            else:
                connection.execute(ROW_INDEX.update().where(where).values(entries=damaged))


@pytest.mark.parametrize("how", ["start", "middle", "end", "empty", "gone", "delta"])
def test_a_damaged_row_index_is_built_again(store: StateStore, how: str) -> None:
    listing = [one(f"k{n}") for n in range(40)]
    commit(store, EVERY_TYPE, FIRST, listing)
    commit(store, EVERY_TYPE, FIRST.shift(1), [one("k1", note="x")], is_full=False)
    if how == "delta":
        with store.database.write() as connection:
            connection.execute(ROW_INDEX.delete().where(ROW_INDEX.c.seq == 2))
    else:
        damage(store, how)

    receipt = commit(store, EVERY_TYPE, FIRST.shift(2), [*listing[:30], one("new")])

    assert counts(receipt) == (1, 1, 10)
    assert store.verify(ASSET) == []


def test_the_index_follows_many_partial_commits(store: StateStore) -> None:
    commit(store, EVERY_TYPE, FIRST, [one(f"k{n}") for n in range(20)])
    for step in range(1, 8):
        commit(
            store,
            EVERY_TYPE,
            FIRST.shift(step),
            [one(f"k{step}", amount_minor=step)],
            is_full=False,
            deleted=[one(f"k{step + 8}")],
        )
    current = store.read(ASSET).to_pylist()

    receipt = commit(store, EVERY_TYPE, FIRST.shift(9), current)

    assert receipt.header.rows_changed == 0
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ROW_INDEX)).scalar_one() >= 1


@pytest.mark.parametrize("is_full", [True, False])
def test_a_row_edited_outside_the_store_is_not_taken_over_in_silence(store: StateStore, *, is_full: bool) -> None:
    commit(store, EVERY_TYPE, FIRST, [one("a"), one("b")])
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'edited' WHERE name = 'a'"))

    if is_full:
        with pytest.raises(IntegrityError, match="outside the store"):
            commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", note="x"), one("b")])
    else:
        commit(store, EVERY_TYPE, FIRST.shift(1), [one("a", note="x")], is_full=False)
    assert store.verify(ASSET) != []
