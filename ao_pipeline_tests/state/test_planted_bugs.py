"""Known bugs, planted one at a time: each turns a named check of the oracle red. A proof that cannot fail proves nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state import commit as commit_module
from ao_pipeline.adapters.state import compare as compare_module
from ao_pipeline.adapters.state import prune as prune_module
from ao_pipeline.adapters.state import revert as revert_module
from ao_pipeline.adapters.state import revert_rows as revert_rows_module
from ao_pipeline.adapters.state.catalog import ASSET_HEAD, ROW_INDEX
from ao_pipeline.adapters.state.commit import Committer
from ao_pipeline.adapters.state.model import CommitStep, Intent, Receipt, Writer
from ao_pipeline.adapters.state.sqlite_io import SqliteIo
from ao_pipeline.bundles import hashing
from ao_pipeline.bundles import payload as payloads
from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.changes import Change, ChangeSet
from ao_pipeline.bundles.netting import Inverse, net_undo
from ao_pipeline.errors import AoError, FencedError
from ao_pipeline_tests.stress.histories import FIRST, History, MismatchError, commit, intent, open_empty
from ao_pipeline_tests.stress.places import quick_folder
from ao_pipeline_tests.stress.random_histories import run_history
from ao_pipeline_tests.stress.tables import EVERY_TYPE, row

HISTORIES = 8
Plant = Callable[[pytest.MonkeyPatch], None]


def first_red_check(folder: Path) -> str:
    """Put the engine through the oracle's checks; return the name of the first that fails, empty when none does."""
    try:
        check_the_fence(folder)
        check_a_fault(folder)
        check_look_alikes(folder)
        check_a_revert(folder)
        check_a_conflict(folder)
        check_pruning(folder)
        for number in range(HISTORIES):
            store = open_empty(f"sqlite:///{folder / f'{number}.db'}", EVERY_TYPE)
            run_history(History(store, EVERY_TYPE), random.Random(number))
            store.close()
    except MismatchError as error:
        return error.check
    except AoError as error:
        return type(error).__name__
    return ""


def check_the_fence(folder: Path) -> None:
    """Let a zombie try to commit after its successor."""
    store = open_empty(f"sqlite:///{folder / 'fence.db'}", EVERY_TYPE)
    zombie = store.begin(intent(EVERY_TYPE, FIRST, "zombie"))
    commit(store, EVERY_TYPE, FIRST, [row(EVERY_TYPE, "successor", 1)])
    try:
        store.commit(zombie, Change(conform(EVERY_TYPE, []), is_full=True))
    except FencedError:
        return
    raise MismatchError("fence", "the zombie committed")


def check_a_fault(folder: Path) -> None:
    """Fail in the middle of a commit and compare with the state before."""
    armed = []

    def probe(step: CommitStep) -> None:
        if armed and step is CommitStep.APPLIED:
            raise RuntimeError("planted")

    store = open_empty(f"sqlite:///{folder / 'fault.db'}", EVERY_TYPE, probe=probe)
    history = History(store, EVERY_TYPE)
    history.commit_full([row(EVERY_TYPE, "a", 1)], {"page": 1})
    armed.append(True)
    with pytest.raises(RuntimeError, match="planted"):
        commit(store, EVERY_TYPE, FIRST.shift(1), [row(EVERY_TYPE, "b", 1)], cursor={"page": 2})
    history.compare()


def check_look_alikes(folder: Path) -> None:
    """Replace rows by rows whose texts, put end to end, are the same."""
    store = open_empty(f"sqlite:///{folder / 'alike.db'}", EVERY_TYPE)
    history = History(store, EVERY_TYPE)
    for note, tags in (("x", ""), ("", "x"), (None, "x"), ("x", None)):
        history.commit_full([row(EVERY_TYPE, "a", 1, note=note, tags=tags)], None)


def check_a_revert(folder: Path) -> None:
    """Change one row in every cycle, each with its own cursor, and go back over several of them."""
    store = open_empty(f"sqlite:///{folder / 'revert.db'}", EVERY_TYPE)
    history = History(store, EVERY_TYPE)
    for number in range(4):
        history.commit_full([row(EVERY_TYPE, "a", 1, amount_minor=number)], {"page": number})
        history.next_cycle()
    history.revert(4)
    history.finish()


def check_a_conflict(folder: Path) -> None:
    """Take a bundle back of which one row changed since, one went since, and one did neither."""
    store = open_empty(f"sqlite:///{folder / 'conflict.db'}", EVERY_TYPE)
    history = History(store, EVERY_TYPE)
    history.commit_full([row(EVERY_TYPE, name, 1, note="old") for name in "abc"], None)
    history.commit_partial([row(EVERY_TYPE, name, 1, note="new") for name in "abc"], [], None)
    history.commit_partial([row(EVERY_TYPE, "a", 1, note="newer")], [row(EVERY_TYPE, "b", 1)], None)
    history.undo_rows(1, None, force=False)
    history.undo_rows(1, ("name", "a"), force=False)
    history.finish()


def check_pruning(folder: Path) -> None:
    """Prune a chain in which an old cycle was computed again late, twice."""
    store = open_empty(f"sqlite:///{folder / 'pruning.db'}", EVERY_TYPE)
    history = History(store, EVERY_TYPE)
    for number in range(5):
        history.commit_full([row(EVERY_TYPE, "a", 1, amount_minor=number), row(EVERY_TYPE, f"b{number}", 1)], None)
        history.next_cycle()
    history.prune(4)
    history.recompute([row(EVERY_TYPE, "again", 1)], 3)
    history.prune(1)
    history.commit_full([row(EVERY_TYPE, "last", 1)], None)
    history.prune(0)
    history.revert(1)
    history.recompute([row(EVERY_TYPE, "older", 1)], 5)
    history.finish()


def skip_before_images(patch: pytest.MonkeyPatch) -> None:
    """Store the new image of an updated row as its old one."""
    lay_out = payloads.lay_out
    patch.setattr(
        payloads, "lay_out", lambda spec, changes: lay_out(spec, replace(changes, updated_before=changes.updated_after))
    )


def leave_a_cell_unwritten(patch: pytest.MonkeyPatch) -> None:
    """Write all columns that differ but one."""
    write = SqliteIo.write

    def some(self: SqliteIo, *arguments: Any, differing: set[str], **more: Any) -> None:
        write(self, *arguments, differing=set(sorted(differing)[1:]), **more)

    patch.setattr(SqliteIo, "write", some)


def write_to_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    """Take the places of the updated rows in the wrong order."""
    write = SqliteIo.write

    def elsewhere(self: SqliteIo, *arguments: Any, places: Any, **more: Any) -> None:
        write(self, *arguments, places=None if places is None else places[::-1], **more)

    patch.setattr(SqliteIo, "write", elsewhere)


def net_the_wrong_way(patch: pytest.MonkeyPatch) -> None:
    """Let the newest answer win instead of the oldest."""
    net = revert_module.net_undo
    patch.setattr(revert_module, "net_undo", lambda spec, newest_first: net(spec, list(newest_first)[::-1]))


def net_the_wrong_way_unverified(patch: pytest.MonkeyPatch) -> None:
    """The same, and do not prove the outcome either."""
    net_the_wrong_way(patch)
    unverified(patch)


def unverified(patch: pytest.MonkeyPatch) -> None:
    """Commit reverts without comparing their outcome with the recorded state."""
    patch.setattr(Committer, "_verify_outcome", lambda *_: None)


def hash_null_as_zero(patch: pytest.MonkeyPatch) -> None:
    """Give NULL the word of zero and the empty text."""
    words_of = hashing._words

    def words(columns: Any, table: Any) -> Any:
        found, present = words_of(columns, table)
        found[:, 0] = (1 << len(columns)) - 1
        found[~present] = 0
        return found, np.ones_like(present)

    patch.setattr(hashing, "_words", words)


def hash_without_lengths(patch: pytest.MonkeyPatch) -> None:
    """Leave the length out of a text's word."""
    words_of = hashing._column_words
    patch.setattr(
        hashing,
        "_column_words",
        lambda column, values: words_of(column, values) * (column.type not in hashing.TEXT_TYPES),
    )


def forget_the_index(patch: pytest.MonkeyPatch) -> None:
    """Do not write what a commit changed into the row index."""
    kept = commit_module._store_index

    def store_index(connection: Any, spec: Any, seq: int, compared: Any) -> None:
        if compared.wants_checkpoint:
            kept(connection, spec, seq, compared)

    patch.setattr(commit_module, "_store_index", store_index)


def move_the_cursor_outside(patch: pytest.MonkeyPatch) -> None:
    """Store the cursor in a transaction of its own, before the rows."""
    inside = Committer.commit

    def commit_change(self: Committer, writer: Writer, change: Change, **more: Any) -> Receipt:
        if change.cursor is not None:
            with self._database.write() as connection:
                connection.execute(ASSET_HEAD.update().values(cursor=canonical_json(dict(change.cursor))))
        return inside(self, writer, change, **more)

    patch.setattr(Committer, "commit", commit_change)


def forget_the_cursor_in_reverts(patch: pytest.MonkeyPatch) -> None:
    """Leave the cursor where it is when rows go back."""
    patch.setattr(revert_module, "_cursor", lambda _target: None)


def ignore_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Let every writer hold the newest token."""
    fenced = Committer.commit

    def commit_change(self: Committer, writer: Writer, change: Change, **more: Any) -> Receipt:
        with self._database.read() as connection:
            fence = connection.execute(sa.select(ASSET_HEAD.c.fence)).scalar_one()
        return fenced(self, replace(writer, fence=fence), change, **more)

    patch.setattr(Committer, "commit", commit_change)


def ignore_tombstones(patch: pytest.MonkeyPatch) -> None:
    """Do not delete rows that shall go."""
    patch.setattr(SqliteIo, "delete", lambda *_: None)


def keep_deleted_rows_in_the_hash(patch: pytest.MonkeyPatch) -> None:
    """Do not subtract what went from the state hash."""

    def state_after(head: Any, changes: ChangeSet) -> hashing.StateHash:
        before = hashing.StateHash.from_hex(head.state_hash).minus(changes.updated_before.rows)
        return before.plus(changes.updated_after.rows).plus(changes.inserted.rows)

    patch.setattr(commit_module, "state_after", state_after)


def record_rows_that_did_not_change(patch: pytest.MonkeyPatch) -> None:
    """Call every wanted row changed."""
    detect = compare_module.change_set

    def everything(stored: Any, wanted: Any, gone: Any) -> ChangeSet:
        shaken = replace(stored, rows=stored.rows ^ np.uint64(1))
        found = detect(shaken, wanted, gone)
        return replace(
            found, updated_before=replace(found.updated_before, rows=found.updated_before.rows ^ np.uint64(1))
        )

    patch.setattr(compare_module, "change_set", everything)


def forget_earlier_attempts(patch: pytest.MonkeyPatch) -> None:
    """Do not look whether the intent has its bundle already."""
    begin = Committer.begin

    def begin_blindly(self: Committer, intent: Intent) -> Writer:
        return replace(begin(self, intent), found=None)

    patch.setattr(Committer, "begin", begin_blindly)


def cut_payloads(patch: pytest.MonkeyPatch) -> None:
    """Store each payload without its last byte."""
    pack = payloads.pack
    kept: dict[bytes, str] = {}

    def cut(stream: Any) -> bytes:
        whole = pack(stream)
        kept[whole[:-1]] = payload_hash(whole)
        return whole[:-1]

    payload_hash = payloads.payload_hash
    patch.setattr(payloads, "pack", cut)
    patch.setattr(
        commit_module.payloads, "payload_hash", lambda payload: kept.get(bytes(payload), payload_hash(payload))
    )


def overwrite_conflicts(patch: pytest.MonkeyPatch) -> None:
    """Take rows back that changed since."""
    patch.setattr(revert_rows_module, "invert_one", lambda spec, changes, _now: _all_of(spec, changes))


def _all_of(spec: Any, changes: ChangeSet) -> Inverse:
    undo = net_undo(spec, [changes])
    return Inverse(undo, undo.remove.slice(0, 0))


def blame_the_bundle_itself(patch: pytest.MonkeyPatch) -> None:
    """Name the wrong bundle beside a conflict."""
    conflicts = revert_rows_module._conflicts
    patch.setattr(
        revert_rows_module,
        "_conflicts",
        lambda connection, spec, bundle, *rest: tuple(
            replace(conflict, changed_by=bundle) for conflict in conflicts(connection, spec, bundle, *rest)
        ),
    )


def prune_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """Take the bundle that stands for the oldest kept cycle as well."""
    reach = prune_module._reach

    def further(*arguments: Any) -> Any:
        through, window = reach(*arguments)
        return through + 1, window

    patch.setattr(prune_module, "_reach", further)


def prune_by_number_alone(patch: pytest.MonkeyPatch) -> None:
    """Forget that old cycles may have been computed again."""

    def reach(connection: Any, spec: Any, keep_from: Any) -> Any:
        return prune_module.history.bundle_for_cycle(connection, spec.asset, keep_from).seq - 1, keep_from

    patch.setattr(prune_module, "_reach", reach)


def forget_the_window(patch: pytest.MonkeyPatch) -> None:
    """Let a cycle that was computed again after the pruning answer for those that were pruned."""
    patch.setattr(prune_module.history, "undo_window_from", lambda *_: "")


def prune_in_silence(patch: pytest.MonkeyPatch) -> None:
    """Leave out of the retention bundle what was taken away."""
    patch.setattr(prune_module, "PRUNED_THROUGH", "pruned")


def forget_the_counters(patch: pytest.MonkeyPatch) -> None:
    """Let bundles go without keeping what they counted."""
    patch.setattr(prune_module, "fold_bundles", lambda *_: None)


def prune_the_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """Take the row index of old bundles away, as if it were theirs alone."""

    def cut(connection: sa.Connection, _spec: Any, _head: Any, through: int) -> None:
        connection.execute(ROW_INDEX.delete().where(ROW_INDEX.c.seq <= through))

    patch.setattr(prune_module, "_compact_index", cut)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for databases that need not survive anything."""
    with quick_folder() as made:
        yield made


PLANTED: list[tuple[Plant, set[str]]] = [
    (skip_before_images, {"before_images", "IntegrityError", "undo_is_exact"}),
    (leave_a_cell_unwritten, {"rows", "IntegrityError"}),
    (write_to_the_neighbour, {"rows", "IntegrityError"}),
    (net_the_wrong_way, {"IntegrityError"}),
    (net_the_wrong_way_unverified, {"rows", "plan_is_exact"}),
    (hash_null_as_zero, {"rows", "counts"}),
    (hash_without_lengths, {"rows", "counts"}),
    (forget_the_index, {"row_index"}),
    (move_the_cursor_outside, {"cursor"}),
    (forget_the_cursor_in_reverts, {"cursor"}),
    (ignore_the_fence, {"fence"}),
    (ignore_tombstones, {"rows", "IntegrityError"}),
    (keep_deleted_rows_in_the_hash, {"state_hash", "IntegrityError"}),
    (record_rows_that_did_not_change, {"counts", "state_hash"}),
    (forget_earlier_attempts, {"retry_finds_its_bundle"}),
    (cut_payloads, {"IntegrityError", "verify"}),
    (overwrite_conflicts, {"undo_is_exact"}),
    (blame_the_bundle_itself, {"undo_is_exact"}),
    (prune_one_too_many, {"prune_is_exact"}),
    (prune_by_number_alone, {"prune_is_exact"}),
    (forget_the_window, {"window", "prune_is_exact"}),
    (prune_in_silence, {"verify"}),
    (forget_the_counters, {"counters"}),
    (prune_the_checkpoint, {"row_index"}),
]


@pytest.mark.parametrize(("plant", "red"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_bug_turns_a_check_red(
    plant: Plant, red: set[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    plant(monkeypatch)

    assert first_red_check(folder) in red


def test_without_a_bug_every_check_is_green(folder: Path) -> None:
    assert first_red_check(folder) == ""
