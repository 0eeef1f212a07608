"""`verify` finds every kind of damage, says where it is, and nothing where there is none."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import ASSET_HEAD, BUNDLE, BUNDLE_PAYLOAD, ROW_INDEX
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.state.verify import PRUNED_THROUGH
from ao_pipeline.bundles.canonical import conform
from ao_pipeline_tests.stress.histories import FIRST, commit, intent
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row
from ao_pipeline_tests.stress.tamper import KINDS, Tamperer

ASSET = EVERY_TYPE.asset


@pytest.fixture
def lived(store: StateStore) -> StateStore:
    """A store with a past: full and partial commits, one that changed nothing, and a revert."""
    rows = [row(EVERY_TYPE, f"k{n}", n, note=f"n{n}" if n % 3 else None, amount_minor=n) for n in range(8)]
    commit(store, EVERY_TYPE, FIRST, rows, cursor={"page": 1})
    commit(store, EVERY_TYPE, FIRST.shift(1), rows[2:])
    commit(store, EVERY_TYPE, FIRST.shift(2), rows[2:])
    commit(
        store,
        EVERY_TYPE,
        FIRST.shift(3),
        [rows[3] | {"note": "x"}],
        is_full=False,
        deleted=[rows[4]],
        cursor={"page": 2},
    )
    store.revert(intent(EVERY_TYPE, FIRST, "revert"))
    commit(store, EVERY_TYPE, FIRST.shift(4), rows[1:])
    assert store.verify(ASSET) == []
    return store


def tamperer(store: StateStore, seed: int = 20261122) -> Tamperer:
    """Return a tamperer with a fixed seed."""
    return Tamperer(store, EVERY_TYPE, random.Random(seed))


@pytest.mark.parametrize("name", [column.name for column in BUNDLE.columns])
def test_a_change_in_any_header_column_is_found(lived: StateStore, name: str) -> None:
    tampers = tamperer(lived)
    tampers.flip_header = lambda connection: tampers.flip_column(connection, name)  # type: ignore[method-assign]

    for _ in range(4):
        done, findings = tampers.try_one("flip_header")
        assert findings, done
    assert lived.verify(ASSET) == []


@pytest.mark.parametrize("is_pruned", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_every_kind_of_damage_is_found(lived: StateStore, kind: str, is_pruned: bool) -> None:
    if is_pruned:
        lived.prune(ASSET, keep_from=FIRST.shift(2))
    tampers = tamperer(lived)

    for _ in range(15):
        done, findings = tampers.try_one(kind)
        assert findings, done
    assert lived.verify(ASSET) == []


def test_the_bundle_that_is_wrong_is_named(lived: StateStore) -> None:
    third = lived.bundles(asset=ASSET)[::-1][2]
    with lived.database.write() as connection:
        connection.execute(BUNDLE.update().where(BUNDLE.c.bundle_id == third.bundle_id).values(reason="edited"))

    findings = lived.verify(ASSET)

    assert third.bundle_id in {finding.bundle_id for finding in findings}
    assert any("header was changed" in finding.problem for finding in findings)


def test_the_payload_that_is_wrong_is_named(lived: StateStore) -> None:
    first = lived.bundles(asset=ASSET)[-1]
    with lived.database.write() as connection:
        connection.execute(
            BUNDLE_PAYLOAD.update().where(BUNDLE_PAYLOAD.c.bundle_id == first.bundle_id).values(payload=b"x")
        )

    (finding,) = lived.verify(ASSET)

    assert (finding.bundle_id, "payload" in finding.problem) == (first.bundle_id, True)


def test_the_rows_that_are_wrong_are_named(lived: StateStore) -> None:
    with lived.database.write() as connection:
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'edited' WHERE number = 5"))
        connection.execute(sa.text("DELETE FROM proof_every_type WHERE number = 6"))

    findings = lived.verify(ASSET)

    assert "1 edited or added, like [{'name': 'k5', 'number': 5}]" in findings[0].problem
    assert "1 missing, like [{'name': 'k6', 'number': 6}]" in findings[0].problem
    assert "rows, the head says" in findings[1].problem


def test_wrong_rows_are_found_without_a_row_index(lived: StateStore) -> None:
    with lived.database.write() as connection:
        connection.execute(ROW_INDEX.delete())
        connection.execute(sa.text("UPDATE proof_every_type SET note = 'edited' WHERE number = 5"))

    assert [finding.problem.split()[0] for finding in lived.verify(ASSET)] == ["table"]


def test_a_table_that_was_never_committed_must_be_empty(store: StateStore) -> None:
    assert store.verify(ASSET) == []
    with store.database.write() as connection:
        store.tables.upsert(connection, EVERY_TYPE, conform(EVERY_TYPE, [row(EVERY_TYPE, "a", 1)]))

    assert "no bundle ever wrote it" in store.verify(ASSET)[0].problem


@pytest.mark.parametrize("table", [BUNDLE, ASSET_HEAD])
def test_a_lost_chain_and_a_lost_head_are_found(lived: StateStore, table: sa.Table) -> None:
    with lived.database.write() as connection:
        connection.execute(table.delete())

    assert lived.verify(ASSET)


def test_bundles_that_retention_removed_are_not_missed(lived: StateStore) -> None:
    lived.prune(ASSET, keep_from=FIRST.shift(2))

    assert lived.verify(ASSET) == []
    assert json.loads(lived.bundles(asset=ASSET)[0].stats)[PRUNED_THROUGH] == 2


@pytest.mark.parametrize("through", [1, 3, 4, 5])
def test_bundles_that_nobody_pruned_are_missed(lived: StateStore, through: int) -> None:
    if through != 1:  # With 1 there is no retention bundle at all.
        lived.prune(ASSET, keep_from=FIRST.shift(2))
    with lived.database.write() as connection:
        connection.execute(BUNDLE.delete().where(BUNDLE.c.seq <= through))

    assert any("oldest" in finding.problem for finding in lived.verify(ASSET))


def test_verify_sees_one_state_while_others_write(database_url: str, lived: StateStore) -> None:
    from ao_pipeline.adapters.state.verify import verify_asset

    with lived.database.read() as connection:
        before = connection.execute(sa.select(ASSET_HEAD.c.seq)).scalar_one()  # The snapshot is taken here.
        commit(lived, EVERY_TYPE, FIRST.shift(9), [row(EVERY_TYPE, "later", 99)])
        findings = verify_asset(connection, lived.tables, EVERY_TYPE)
        seen = connection.execute(sa.select(ASSET_HEAD.c.seq)).scalar_one()

    head = lived.head(ASSET)
    assert (findings, seen) == ([], before)
    assert head is not None
    assert head.seq == before + 1


def test_a_chain_is_walked_in_portions_on_a_server(lived: StateStore) -> None:
    if lived.database.is_sqlite:
        pytest.skip("SQLite's driver reads row by row in any case")
    on_the_server: list[bool] = []

    def look(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if BUNDLE_PAYLOAD.name in statement:
            on_the_server.append(cursor.name is not None)  # A named cursor; any other brings all rows at once.

    sa.event.listen(lived.database.engine, "before_cursor_execute", look)
    assert lived.verify(ASSET) == []

    assert on_the_server
    assert all(on_the_server)
