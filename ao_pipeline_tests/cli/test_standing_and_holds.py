"""`ao status`, `verify`, `hold`, `quarantine`: they tell what is stored, and `verify` exits 1 on any finding."""

from __future__ import annotations

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Quarantined
from ao_pipeline_tests.cli.history import BILLS, FOURTH, HISTORY, SECOND, THIRD, Ao, answer, commit, refuse_one


def test_status_says_which_cycle_s_state_an_asset_has(store: StateStore, ao: Ao) -> None:
    ao("revert", "raw/bills", "--to", SECOND.key, "--yes", "--hold", "--reason", "checked by hand")

    assets = {item["asset"]: item for item in answer(ao("status", "--json"))["assets"]}

    assert (assets["raw/bills"]["as_of_cycle"], assets["raw/bills"]["computed_cycle"]) == (SECOND.key, FOURTH.key)
    assert (assets["raw/bills"]["kind"], assets["raw/bills"]["hold"]) == ("revert", "checked by hand")
    assert (assets["truth/totals"]["as_of_cycle"], assets["truth/totals"]["hold"]) == (FOURTH.key, None)


def test_status_keeps_the_cycle_after_rows_were_taken_back(store: StateStore, ao: Ao) -> None:
    ao("revert", "--bundle", store.bundles(asset=BILLS.asset, limit=1)[0].bundle_id, "--yes")

    assets = {item["asset"]: item for item in answer(ao("status", "--json"))["assets"]}

    assert (assets["raw/bills"]["as_of_cycle"], assets["raw/bills"]["kind"]) == (FOURTH.key, "revert")


def test_status_lists_the_last_cycles(store: StateStore, ao: Ao) -> None:
    store.cycles.open(THIRD, first_cycle=THIRD, run_id="run-1")
    store.cycles.close(THIRD, status="success", report={"assets": 3}, run_id="run-1")
    store.cycles.open(FOURTH, first_cycle=FOURTH, run_id="run-2")

    result = ao("status", "--limit", "2")

    lines = [line.split() for line in result.stdout.splitlines()[-2:]]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        (FOURTH.key, "open", "run-2"),
        (THIRD.key, "success", "run-1"),
    ]


def test_verify_is_good_on_what_was_recorded(ao: Ao) -> None:
    result = ao("verify")

    assert result.exit_code == 0
    assert result.stdout.startswith("3 assets, 7 rows, 9 bundles")


def test_verify_names_the_table_that_was_changed_behind_the_store(store: StateStore, ao: Ao) -> None:
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE raw_bills SET note = 'x' WHERE bill = 'A1'"))

    result = ao("verify", "--json")

    assert result.exit_code == 1
    assert [found["asset"] for found in answer(result)["findings"]] == ["raw/bills"]


def test_verify_of_one_asset_looks_at_it_alone(store: StateStore, ao: Ao) -> None:
    with store.database.write() as connection:
        connection.execute(BUNDLE.delete().where(BUNDLE.c.asset == BILLS.asset, BUNDLE.c.seq == 2))

    assert ao("verify", "truth_totals").exit_code == 0
    damaged = ao("verify", "raw_bills")
    assert damaged.exit_code == 1
    assert "bundles are missing" in damaged.stdout


def test_verify_of_an_unknown_asset_is_wrong_usage(ao: Ao) -> None:
    assert ao("verify", "raw/none").exit_code == 2


def test_a_hold_is_set_listed_and_released(store: StateStore, ao: Ao) -> None:
    set_once = ao("hold", "set", "raw_bills", "--reason", "upstream is wrong")
    set_twice = ao("hold", "set", "raw/bills", "--reason", "another reason")
    listed = answer(ao("hold", "list", "--json"))["holds"]
    released = ao("hold", "release", "raw_bills")

    assert (set_once.exit_code, set_twice.exit_code, released.exit_code) == (0, 0, 0)
    assert [(item["asset"], item["reason"]) for item in listed] == [("raw/bills", "upstream is wrong")]
    assert listed[0]["actor"].startswith("operator:")
    assert store.holds() == {}


def test_releasing_what_is_not_held_is_a_negative_outcome(ao: Ao) -> None:
    not_held, unknown = ao("hold", "release", "raw/bills"), ao("hold", "release", "raw/none")

    assert (not_held.exit_code, not_held.stderr) == (1, "ao: raw/bills is not on hold; see `ao hold list`\n")
    assert unknown.exit_code == 2


def test_a_refused_record_is_listed_and_shown(store: StateStore, ao: Ao) -> None:
    refuse_one(store)

    listed = answer(ao("quarantine", "list", "--asset", "raw/bills", "--json"))["records"]
    shown = ao("quarantine", "show", listed[0]["record_hash"][:8])

    assert [(item["record_key"], item["reason"]) for item in listed] == [("B9:1", "amount is missing")]
    assert '{"bill":"B9"}' in shown.stdout
    assert answer(ao("status", "--json"))["assets"][0]["refused"] == 1


def test_a_record_that_is_not_there_is_named(ao: Ao) -> None:
    result = ao("quarantine", "show", "abc")

    assert (result.exit_code, result.stderr) == (
        2,
        "ao: no refused record starts with 'abc'; see `ao quarantine list`\n",
    )


def test_a_dropped_record_counts_no_longer_until_it_changes(store: StateStore, ao: Ao) -> None:
    refuse_one(store)
    record = store.quarantine(asset=BILLS.asset)[0]["record_hash"]

    dropped, again = (ao("quarantine", "drop", "raw/bills", record[:8]) for _ in range(2))

    assert (dropped.exit_code, again.exit_code) == (0, 1)
    assert "is dropped, not open" in again.stderr
    assert store.quarantine_counts() == {}
    same, changed = (Quarantined("B9:1", "amount is missing", text) for text in ('{"bill":"B9"}', '{"bill":"B10"}'))
    commit(store, BILLS, FOURTH.shift(2), HISTORY[-1][1], quarantined=(same,))
    assert store.quarantine_counts() == {}
    commit(store, BILLS, FOURTH.shift(3), HISTORY[-1][1], quarantined=(changed,))
    assert store.quarantine_counts() == {BILLS.asset: 1}


def test_a_record_of_another_asset_is_not_dropped(store: StateStore, ao: Ao) -> None:
    refuse_one(store)
    record = store.quarantine(asset=BILLS.asset)[0]["record_hash"]

    result = ao("quarantine", "drop", "truth/totals", record)

    assert (result.exit_code, store.quarantine_counts()) == (2, {BILLS.asset: 1})
    assert "no refused record of truth/totals" in result.stderr
