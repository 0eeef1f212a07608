"""Old bundles go, what they are needed for stays: reverts inside the window, counters, the row index, exported chains."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD, ROW_INDEX
from ao_pipeline.adapters.state.export_bundles import export_bundles
from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline.adapters.state.past import Past
from ao_pipeline.adapters.state.prune import Pruner
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.adapters.state.totals import bundle_figures, folded
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.verifier import verify_export
from ao_pipeline.errors import FencedError, UnknownNameError
from ao_pipeline_tests.stress.histories import FIRST, commit, intent, reopen
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

ASSET = EVERY_TYPE.asset
CYCLES = 5


@pytest.fixture
def aged(store: StateStore) -> StateStore:
    """Five cycles, each with a row of its own and one that every cycle changes."""
    for number in range(CYCLES):
        rows = [row(EVERY_TYPE, "counter", 1, amount_minor=number), row(EVERY_TYPE, f"k{number}", 1)]
        commit(store, EVERY_TYPE, FIRST.shift(number), rows, is_full=number != 3, cursor={"page": number})
    return store


def numbers(store: StateStore) -> list[int]:
    """Return the numbers of the stored bundles, the oldest first."""
    return sorted(header.seq for header in store.bundles(asset=ASSET))


def names(store: StateStore) -> list[str]:
    """Return the names of the stored rows."""
    return sorted(store.read(ASSET).column("name").to_pylist())


def test_what_is_older_goes_and_a_sealed_bundle_says_so(aged: StateStore) -> None:
    hash_before = aged.heads()[ASSET].state_hash

    pruned = aged.prune(ASSET, keep_from=FIRST.shift(2), actor="amal", reason="30 days")

    assert pruned.header is not None
    assert (pruned.plan.through_seq, pruned.plan.bundles, pruned.plan.window_from) == (2, 2, FIRST.shift(2))
    assert numbers(aged) == [3, 4, 5, 6]
    assert (pruned.header.kind, pruned.header.actor, pruned.header.reason) == ("retention", "amal", "30 days")
    assert aged.heads()[ASSET].state_hash == hash_before
    assert aged.verify(ASSET) == []
    with aged.database.read() as connection:
        kept = set(connection.execute(sa.select(BUNDLE_PAYLOAD.c.bundle_id)).scalars())
        assert kept <= set(connection.execute(sa.select(BUNDLE.c.bundle_id)).scalars())


def test_a_cycle_before_the_window_is_refused_with_its_start(aged: StateStore) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(2))
    before = aged.read(ASSET)

    with pytest.raises(UnknownNameError, match=f"the undo window starts at {FIRST.shift(2)}"):
        aged.revert(intent(EVERY_TYPE, FIRST.shift(1), "too-far"))

    assert aged.read(ASSET).equals(before)
    assert aged.verify(ASSET) == []


def test_a_cycle_inside_the_window_is_restored_and_the_restoration_too(aged: StateStore) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(2))

    aged.revert(intent(EVERY_TYPE, FIRST.shift(2), "back"))
    then = names(aged), aged.cursor(ASSET)
    aged.revert(intent(EVERY_TYPE, FIRST.shift(4), "forth"))

    assert then == (["counter", "k2"], {"page": 2})
    assert (names(aged), aged.cursor(ASSET)) == (["counter", "k4"], {"page": 4})
    assert Past(aged).asof(EVERY_TYPE, FIRST.shift(2)).num_rows == 2
    assert aged.verify(ASSET) == []


@pytest.mark.parametrize("ahead", [4, 5, 1000])
def test_the_newest_computed_cycle_is_never_pruned(aged: StateStore, ahead: int) -> None:
    aged.revert(intent(EVERY_TYPE, FIRST, "away"))

    aged.prune(ASSET, keep_from=FIRST.shift(ahead))
    aged.revert(intent(EVERY_TYPE, FIRST.shift(4), "back"))

    assert names(aged) == ["counter", "k4"]
    assert min(numbers(aged)) == 5


def test_pruning_never_gives_a_cycle_another_state(aged: StateStore) -> None:
    commit(aged, EVERY_TYPE, FIRST, [row(EVERY_TYPE, "again", 1)], name="recompute")

    # Kept for cycle 4, bundle 6 would answer for cycle 2 as "the newest before it": so 2 to 5 stay as well.
    pruned = aged.prune(ASSET, keep_from=FIRST.shift(4))

    assert pruned.plan.bundles == 0
    assert aged.revert(intent(EVERY_TYPE, FIRST.shift(2), "two")).header.row_count_after == 2
    assert names(aged) == ["counter", "k2"]


def test_a_cycle_computed_again_does_not_answer_for_its_pruned_neighbours(aged: StateStore) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(3))
    commit(aged, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "again", 1)], name="recompute")

    with pytest.raises(UnknownNameError, match=f"the undo window starts at {FIRST.shift(3)}"):
        aged.revert(intent(EVERY_TYPE, FIRST.shift(2), "two"))

    assert aged.revert(intent(EVERY_TYPE, FIRST.shift(1), "one")).header.row_count_after == 1
    assert names(aged) == ["again"]


def test_pruning_again_changes_nothing(aged: StateStore) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(2))

    again = aged.prune(ASSET, keep_from=FIRST.shift(2))
    older = aged.prune(ASSET, keep_from=FIRST)

    assert (again.header, again.plan.bundles) == (None, 0)
    assert (older.header, older.plan.bundles) == (None, 0)
    assert numbers(aged) == [3, 4, 5, 6]


def test_the_plan_says_what_pruning_does_and_writes_nothing(aged: StateStore) -> None:
    plan = Pruner(aged.database).plan(EVERY_TYPE, keep_from=FIRST.shift(3))

    assert numbers(aged) == [1, 2, 3, 4, 5]
    assert aged.prune(ASSET, keep_from=FIRST.shift(3)).plan == plan
    assert plan.payload_bytes > 0


def test_no_counter_falls_when_bundles_go(aged: StateStore) -> None:
    def figures() -> dict[tuple[str, str, str], int]:
        with aged.database.read() as connection:
            return dict(bundle_figures(connection) + folded(connection))

    before = figures()

    aged.prune(ASSET, keep_from=FIRST.shift(2))
    aged.prune(ASSET, keep_from=FIRST.shift(4))

    assert figures() == before | {("bundles", ASSET, "retention"): 2}


def test_a_writer_at_work_commits_after_pruning(aged: StateStore) -> None:
    writer = aged.begin(intent(EVERY_TYPE, FIRST.shift(5), "slow"))
    aged.prune(ASSET, keep_from=FIRST.shift(4))

    receipt = aged.commit(writer, Change(conform(EVERY_TYPE, [row(EVERY_TYPE, "slow", 1)]), is_full=True))

    assert receipt.header.seq == 7
    assert names(aged) == ["slow"]
    assert aged.verify(ASSET) == []


def test_the_row_index_stays_of_use(aged: StateStore) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(4))

    with aged.database.read() as connection:
        parts = connection.execute(
            sa.select(ROW_INDEX.c.seq, ROW_INDEX.c.is_checkpoint).order_by(ROW_INDEX.c.seq)
        ).all()
    assert parts[0].is_checkpoint
    assert [part.seq for part in parts[1:] if part.seq <= 4] == []
    receipt = commit(aged, EVERY_TYPE, FIRST.shift(6), [row(EVERY_TYPE, "k4", 1)])
    assert (receipt.header.rows_deleted, receipt.header.rows_inserted, receipt.header.rows_updated) == (1, 0, 0)


def test_an_exported_chain_that_was_pruned_is_good(aged: StateStore, tmp_path: Path) -> None:
    aged.prune(ASSET, keep_from=FIRST.shift(2))

    export_bundles(aged, [EVERY_TYPE], tmp_path / "out", with_table=True)

    assert verify_export(tmp_path / "out").problems == []


def test_an_asset_without_a_computation_is_refused(store: StateStore) -> None:
    with pytest.raises(UnknownNameError, match="no recorded state"):
        store.prune(ASSET, keep_from=FIRST)

    assert store.verify(ASSET) == []


def test_an_engine_that_was_taken_over_prunes_nothing(aged: StateStore) -> None:
    with pytest.raises(FencedError, match="taken over"):
        aged.prune(ASSET, keep_from=FIRST.shift(3), engine_token=7)

    assert numbers(aged) == [1, 2, 3, 4, 5]


class PlantedError(Exception):
    """The fault that a test plants."""


@pytest.mark.parametrize(
    "statement", ["INSERT INTO ao_total", "DELETE FROM ao_bundle", "INSERT INTO ao_bundle", "UPDATE"]
)
def test_a_fault_at_any_statement_leaves_every_bundle(aged: StateStore, statement: str) -> None:
    raised = []

    def fail(_connection: object, _cursor: object, text: str, *_rest: object) -> None:
        if text.startswith(statement):
            raised.append(text)
            raise PlantedError

    sa.event.listen(aged.database.engine, "before_cursor_execute", fail)
    with pytest.raises(PlantedError):
        aged.prune(ASSET, keep_from=FIRST.shift(3))
    sa.event.remove(aged.database.engine, "before_cursor_execute", fail)

    assert len(raised) == 1
    assert numbers(aged) == [1, 2, 3, 4, 5]
    assert aged.verify(ASSET) == []
    assert aged.prune(ASSET, keep_from=FIRST.shift(3)).plan.bundles == 3


def test_a_probe_of_the_committer_is_not_part_of_pruning(aged: StateStore) -> None:
    steps: list[CommitStep] = []
    reopened = reopen(aged.database, EVERY_TYPE, probe=steps.append)

    reopened.prune(ASSET, keep_from=FIRST.shift(1))

    assert steps == []
