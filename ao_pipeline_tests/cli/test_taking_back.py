"""`ao revert`: the dry run is exact and changes nothing, conflicts stay, and what cannot be taken back is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.past import Past
from ao_pipeline.adapters.state.revert_rows import RowReverter
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.where import parse_condition
from ao_pipeline.cli import main
from ao_pipeline.cli.session import Session
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConflictError, FencedError, PermanentError
from ao_pipeline_tests.cli.history import (
    BILLS,
    FIRST,
    FOURTH,
    HISTORY,
    SECOND,
    THIRD,
    TOTALS,
    Ao,
    DirectReverts,
    Row,
    answer,
    commit,
)


def amounts(store: StateStore) -> dict[str, int]:
    return {row["bill"]: row["amount_minor"] for row in store.read(BILLS.asset).to_pylist()}


def intent(name: str = "rows") -> Intent:
    return Intent(BILLS, FOURTH, FOURTH, name)


def bundle_of(store: StateStore, seq: int) -> str:
    return next(header.bundle_id for header in store.bundles(asset=BILLS.asset) if header.seq == seq)


def test_a_dry_run_changes_nothing_and_says_what_would_change(
    store: StateStore, ao: Ao, reverts: DirectReverts
) -> None:
    before = store.head(BILLS.asset)

    result = ao("revert", "raw/bills", "--to", SECOND.key)

    line = result.stdout.splitlines()[1].split()
    assert (line[0], line[1], *line[3:6]) == ("raw/bills", SECOND.key, "+1", "~1", "-1")
    assert "Add --yes" in result.stderr
    assert (result.exit_code, reverts.asked, store.head(BILLS.asset)) == (0, [], before)


def test_yes_restores_the_state_and_passes_reason_and_hold_on(
    store: StateStore, ao: Ao, reverts: DirectReverts
) -> None:
    result = ao("revert", "raw/bills", "--to", SECOND.key, "--yes", "--hold", "--reason", "wrong upstream")

    assert (result.exit_code, amounts(store)) == (0, {"A1": 10, "A2": 20, "B1": 30})
    assert reverts.asked == [(("raw/bills",), SECOND.key, "wrong upstream", True)]
    assert store.holds() == {"raw/bills": "wrong upstream"}
    assert "restored, hash verified" in result.stdout


def test_what_the_plan_says_is_what_the_revert_does(store: StateStore, ao: Ao) -> None:
    plan = answer(ao("revert", "raw/bills", "--to", FIRST.key, "--json"))["plans"][0]

    ao("revert", "raw/bills", "--to", FIRST.key, "--yes")

    header = store.bundles(asset=BILLS.asset, limit=1)[0]
    done = answer(ao("show", header.bundle_id, "--json"))
    assert (plan["inserted"], plan["updated"], plan["deleted"]) == (
        header.rows_inserted,
        header.rows_updated,
        header.rows_deleted,
    )
    assert plan["rows"] == done["rows"]


def test_a_limit_cuts_the_preview_but_not_the_counts(ao: Ao) -> None:
    result = ao("revert", "--all", "--to", SECOND.key, "--skip", "ref/plans", "--limit", "2")

    assert "2 of 6 changed rows" in result.stderr
    assert [line.split()[3:6] for line in result.stdout.splitlines()[1:3]] == [["+1", "~1", "-1"]] * 2


def test_downstream_assets_are_listed_and_taken_along_on_request(
    store: StateStore, ao: Ao, reverts: DirectReverts
) -> None:
    listed = ao("revert", "raw/bills", "--to", SECOND.key)
    taken = ao("revert", "raw/bills", "--to", SECOND.key, "--downstream", "--yes")

    assert "truth/totals" in listed.stderr
    assert taken.exit_code == 0
    assert reverts.asked[0][0] == ("raw/bills", "truth/totals")
    assert store.read(TOTALS.asset).sort_by("bill").to_pylist() == [
        {"bill": row["bill"], "total_minor": row["amount_minor"]} for row in HISTORY[1][1]
    ]


def test_last_counts_computed_cycles(store: StateStore, ao: Ao) -> None:
    result = ao("revert", "--last", "1", "--yes")

    assert result.exit_code == 0
    assert amounts(store) == {"A1": 11, "A2": 20, "C1": 40}


def test_all_leaves_alone_what_is_in_the_wanted_state(ao: Ao, reverts: DirectReverts) -> None:
    result = ao("revert", "--all", "--to", THIRD.key, "--yes", "--json")

    assert answer(result)["already_there"] == ["ref/plans"]
    assert reverts.asked[0][0] == ("raw/bills", "truth/totals")


def test_all_refuses_when_one_asset_cannot_go_back_that_far(store: StateStore, ao: Ao, reverts: DirectReverts) -> None:
    shown = ao("revert", "--all", "--to", FIRST.key)
    refused = ao("revert", "--all", "--to", FIRST.key, "--yes")
    skipped = ao("revert", "--all", "--to", FIRST.key, "--skip", "ref/plans", "--yes")

    assert (shown.exit_code, refused.exit_code, skipped.exit_code) == (1, 1, 0)
    assert f"ref/plans: the undo window starts at {THIRD}" in refused.stderr
    assert [asked[0] for asked in reverts.asked] == [("raw/bills", "truth/totals")]
    assert amounts(store) == {"A1": 10, "A2": 20, "B1": 30}


def test_a_second_revert_to_the_same_cycle_has_nothing_to_do(ao: Ao) -> None:
    ao("revert", "raw/bills", "--to", SECOND.key, "--yes")

    again = ao("revert", "raw/bills", "--to", SECOND.key, "--yes")

    assert again.exit_code == 0
    assert "Already in the state" in again.stderr


def test_a_revert_that_did_not_happen_is_not_called_one(store: StateStore, ao: Ao) -> None:
    def refuse(_assets: Sequence[str], _cycle: Cycle, **_others: object) -> None:
        raise PermanentError("the run was cancelled")

    session = Session(open_store=lambda: store, request_revert=refuse)

    result = CliRunner().invoke(main, ["revert", "raw/bills", "--last", "1", "--yes"], obj=session)

    assert result.exit_code == 1
    assert "the run was cancelled" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("raw/bills",), 2, "exactly one of --to, --last and --bundle"),
        (("raw/bills", "--to", FIRST.key, "--last", "1"), 2, "exactly one of"),
        (("--to", FIRST.key), 2, "name an asset, or use --all"),
        (("raw/bills", "--all", "--to", FIRST.key), 2, "not both"),
        (("raw/bills", "--to", FIRST.key, "--where", "bill=A1"), 2, "need --bundle"),
        (("raw/bills", "--bundle", "00"), 2, "names its asset itself"),
        (("raw/nothing", "--to", FIRST.key), 2, "is not an asset"),
        (("raw/bills", "--to", FIRST.shift(-1).key), 2, f"undo window starts at {FIRST}"),
        (("raw/bills", "--last", "9"), 2, "has 4 computed cycles"),
        (("--bundle", "ffffffffffffffff"), 2, "no bundle starts with"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_name(ao: Ao, words: tuple[str, ...], code: int, message: str) -> None:
    result = ao("revert", *words)

    assert result.exit_code == code
    assert message in result.stderr


def test_one_bundle_is_taken_back_out_of_the_middle(either_store: StateStore) -> None:
    store = either_store
    header = store.bundle(bundle_of(store, 3))

    result = RowReverter.of(store).apply(intent(), header)

    # C1 and A1 changed again in the bundle after it; only B1, which it deleted, is as it left it.
    assert [conflict.key["bill"] for conflict in result.plan.conflicts] == ["C1", "A1"]
    assert amounts(store) == {"A1": 12, "A2": 20, "B1": 30, "C1": 40}
    assert store.verify(BILLS.asset) == []


def test_a_conflict_is_left_alone(store: StateStore, ao: Ao) -> None:
    result = ao("revert", "--bundle", bundle_of(store, 3), "--yes")

    assert result.exit_code == 1
    assert "conflicts: 2 rows changed since" in result.stdout
    assert FOURTH.key in result.stdout
    assert amounts(store)["A1"] == 12


def test_force_overwrites_conflicts(store: StateStore, ao: Ao) -> None:
    result = ao("revert", "--bundle", bundle_of(store, 3), "--force", "--yes")

    assert result.exit_code == 0
    assert amounts(store) == {"A1": 10, "A2": 20, "B1": 30}
    assert store.verify(BILLS.asset) == []


def test_conditions_choose_the_rows(store: StateStore, ao: Ao) -> None:
    result = ao("revert", "--bundle", bundle_of(store, 4), "--where", "bill=C1", "--where", "note=held", "--yes")

    assert result.exit_code == 0
    notes = {row["bill"]: row["note"] for row in store.read(BILLS.asset).to_pylist()}
    assert notes["C1"] is None
    assert amounts(store)["A1"] == 12


def test_rows_taken_back_twice_change_once(store: StateStore, ao: Ao) -> None:
    words = ("revert", "--bundle", bundle_of(store, 4), "--yes", "--json")

    first, second = answer(ao(*words)), answer(ao(*words))

    assert (first["updated"], first["already"]) == (2, 0)
    assert (second["updated"], second["already"], second["conflict_count"], second["committed"]) == (0, 2, 0, None)


def test_rows_that_all_changed_since_are_refused_and_fence_nobody_off(store: StateStore) -> None:
    header = store.bundle(bundle_of(store, 3))
    before = store.head(BILLS.asset)

    with pytest.raises(ConflictError, match="all 1 selected rows"):
        RowReverter.of(store).apply(intent(), header, [parse_condition(BILLS, "bill=C1")])

    assert store.head(BILLS.asset) == before


def test_a_row_scoped_revert_keeps_the_cursor_and_is_itself_revertible(store: StateStore, ao: Ao) -> None:
    cursor = store.cursor(BILLS.asset)
    ao("revert", "--bundle", bundle_of(store, 4), "--yes")

    ao("revert", "raw/bills", "--to", FOURTH.key, "--yes")

    assert store.cursor(BILLS.asset) == cursor
    assert amounts(store)["A1"] == 12


def test_a_writer_that_began_before_a_row_scoped_revert_is_fenced_off(store: StateStore) -> None:
    slow = store.begin(Intent(BILLS, FOURTH.shift(1), FOURTH.shift(1), "slow"))
    RowReverter.of(store).apply(intent(), store.bundle(bundle_of(store, 4)))

    with pytest.raises(FencedError):
        store.commit(slow, Change(conform(BILLS, HISTORY[3][1]), is_full=True))


def test_the_past_stays_as_it_was_after_any_revert(store: StateStore, ao: Ao) -> None:
    ao("revert", "--bundle", bundle_of(store, 3), "--force", "--yes")
    ao("revert", "--all", "--to", THIRD.key, "--yes")

    for cycle, rows in HISTORY:
        seen: list[Row] = Past(store).asof(BILLS, cycle).sort_by("bill").to_pylist()
        assert seen == conform(BILLS, rows).sort_by("bill").to_pylist()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("colour=red", "is not column=value for raw_bills"),
        ("bill", "is not column=value"),
        ("amount_minor=many", "'many' is no int"),
        ("is_paid=maybe", "'maybe' is no bool"),
        ("due_on=tomorrow", "'tomorrow' is no date"),
        ("seen_at=2026-11-22T10:00:00", "is no instant"),
        ("bill=Q7", "none of which fits bill=Q7"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(store: StateStore, ao: Ao, condition: str, message: str) -> None:
    result = ao("revert", "--bundle", bundle_of(store, 3), "--where", condition, "--yes")

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_bundle_without_rows_has_nothing_to_select(store: StateStore, ao: Ao) -> None:
    commit(store, BILLS, FOURTH.shift(1), HISTORY[3][1])

    result = ao("revert", "--bundle", bundle_of(store, 5), "--yes")

    assert result.exit_code == 2
    assert "changed 0 rows" in result.stderr
