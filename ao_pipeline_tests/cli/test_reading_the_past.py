"""`ao log`, `show`, `diff`, `blame`, `asof`: what they say is what was recorded, and what does not exist is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import BUNDLE, BUNDLE_PAYLOAD
from ao_pipeline.adapters.state.past import Past
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.past import sorted_by_key
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import IntegrityError
from ao_pipeline_tests.cli.history import BILLS, FIRST, FOURTH, HISTORY, SECOND, THIRD, Ao, answer, bill, commit


def ordered(rows: pa.Table) -> list[dict[str, object]]:
    return list(sorted_by_key(BILLS, rows).to_pylist())


def id_of(store: StateStore, seq: int) -> str:
    return next(header.bundle_id for header in store.bundles(asset=BILLS.asset) if header.seq == seq)


@pytest.mark.parametrize(("cycle", "rows"), HISTORY, ids=[cycle.key for cycle, _ in HISTORY])
def test_every_cycle_can_be_seen_as_it_was(
    either_store: StateStore, cycle: Cycle, rows: list[dict[str, object]]
) -> None:
    seen = Past(either_store).asof(BILLS, cycle)

    assert ordered(seen) == ordered(conform(BILLS, rows))


def test_a_diff_of_any_two_cycles_leads_from_one_to_the_other(either_store: StateStore) -> None:
    past = Past(either_store)
    for first, _ in HISTORY:
        for second, wanted in HISTORY:
            changes = past.diff(BILLS, first, second)

            rows = {row["bill"]: row for row in past.asof(BILLS, first).to_pylist()}
            for gone in changes.deleted.table.to_pylist():
                del rows[gone["bill"]]
            rows |= {row["bill"]: row for row in changes.inserted.table.to_pylist()}
            rows |= {row["bill"]: row for row in changes.updated_after.table.to_pylist()}
            assert sorted(rows.values(), key=lambda row: row["bill"]) == ordered(conform(BILLS, wanted))


def test_blame_finds_the_bundle_of_each_column(either_store: StateStore) -> None:
    lines = Past(either_store).blame(BILLS, {"bill": "C1", "line": 1})

    assert {line.column: line.bundle and line.bundle.cycle for line in lines} == {
        "amount_minor": THIRD.key,
        "note": FOURTH.key,
        **dict.fromkeys(("share", "is_paid", "due_on", "seen_at", "rate"), THIRD.key),
    }


def test_a_state_that_does_not_hash_as_recorded_is_refused(store: StateStore) -> None:
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE raw_bills SET amount_minor = 21 WHERE bill = 'A2'"))

    with pytest.raises(IntegrityError, match="are not shown"):
        Past(store).asof(BILLS, FIRST)


def test_a_diff_over_a_forged_bundle_is_refused(store: StateStore) -> None:
    with store.database.write() as connection:
        forged = BUNDLE.update().where(BUNDLE.c.asset == BILLS.asset, BUNDLE.c.seq == 3)
        connection.execute(forged.values(state_hash_after="0" * 32))

    with pytest.raises(IntegrityError, match="do not lead from"):
        Past(store).diff(BILLS, FIRST, THIRD)


def test_a_revert_is_what_blame_names_afterwards(store: StateStore, ao: Ao) -> None:
    ao("revert", "raw/bills", "--to", THIRD.key, "--yes")

    columns = answer(ao("blame", "raw/bills", "A1", "1", "--json"))["columns"]

    assert (columns["amount_minor"]["value"], columns["amount_minor"]["bundle"]["kind"]) == (11, "revert")
    assert columns["rate"]["bundle"]["cycle"] == FIRST.key


def test_a_column_that_was_set_before_the_undo_window_says_so(store: StateStore, ao: Ao) -> None:
    with store.database.write() as connection:
        connection.execute(BUNDLE.delete().where(BUNDLE.c.asset == BILLS.asset, BUNDLE.c.seq < 3))

    result = ao("blame", "raw_bills", "A1", "1")

    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "before the undo window" in lines["rate"]
    assert FOURTH.key in lines["amount_minor"]


def test_log_lists_the_newest_first_and_says_when_there_is_more(ao: Ao) -> None:
    result = ao("log", "raw/bills", "--limit", "2")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[1] for line in lines] == ["seq", "4", "3"]
    assert lines[2][2:9] == ["raw/bills", THIRD.key, "materialize", "+1", "~1", "-1", "3"]
    assert "more with --limit" in result.stderr


def test_log_of_one_cycle_lists_every_asset_of_it(ao: Ao) -> None:
    bundles = answer(ao("log", "--cycle", THIRD.key, "--json"))["bundles"]

    assert {header["asset"] for header in bundles} == {"raw/bills", "truth/totals", "ref/plans"}


def test_show_prints_the_changed_cells_alone(store: StateStore, ao: Ao) -> None:
    result = ao("show", id_of(store, 4)[:10])

    assert [line.split() for line in result.stdout.splitlines()[-3:]] == [
        ["key", "column", "before", "after"],
        ["~", "A1", "1", "amount_minor", "11", "12"],
        ["~", "C1", "1", "note", "NULL", "held"],
    ]


def test_show_as_json_has_header_and_rows(store: StateStore, ao: Ao) -> None:
    shown = answer(ao("show", id_of(store, 3), "--json"))

    assert shown["bundle"]["cursor_after"] == {"since": THIRD.key}
    assert [(row["change"], row["key"]["bill"]) for row in shown["rows"]] == [("~", "A1"), ("+", "C1"), ("-", "B1")]
    assert shown["rows"][2]["cells"]["seen_at"] == {"before": "2026-11-22T10:00:00.000001Z", "after": None}


def test_diff_leaves_out_what_changed_back(store: StateStore, ao: Ao) -> None:
    commit(store, BILLS, FOURTH.shift(1), HISTORY[0][1])

    assert answer(ao("diff", "raw/bills", FIRST.key, "latest", "--json"))["rows"] == []


def test_diff_takes_the_two_newest_cycles_by_default(ao: Ao) -> None:
    result = ao("diff", "raw/bills")

    assert result.stdout.splitlines()[0] == f"raw/bills {THIRD.key}..{FOURTH.key}: +0 ~2 -0"


def test_asof_writes_parquet_that_says_what_it_is(ao: Ao, tmp_path: Path) -> None:
    file = tmp_path / "bills.parquet"

    result = ao("asof", "raw_bills", SECOND.key, "--parquet", str(file))

    written = pq.read_table(file)
    assert result.exit_code == 0
    assert written.column("bill").to_pylist() == ["A1", "A2", "B1"]
    assert written.schema.metadata[b"ao.cycle"] == SECOND.key.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["bills.parquet"]


def test_asof_overwrites_a_file_only_when_told(ao: Ao, tmp_path: Path) -> None:
    file = tmp_path / "bills.parquet"
    file.write_text("mine")

    refused = ao("asof", "raw_bills", "--parquet", str(file))
    kept = file.read_text()
    written = ao("asof", "raw_bills", "--parquet", str(file), "--overwrite")

    assert (refused.exit_code, kept, written.exit_code) == (2, "mine", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("log", "raw/bils"), "'raw/bils' is not an asset with a table"),
        (("log", "--cycle", "2026-11-22-10:07"), "not on a multiple of 15 minutes"),
        (("log", "--cycle", "noon"), "'noon' is not a cycle"),
        (("asof", "raw/bills", FOURTH.shift(10).key), f"has not closed yet; the newest one is {FOURTH.shift(9)}"),
        (("log", "--cycle", "latest~x"), "'latest~x' is not a cycle"),
        (("show", "zz"), "'zz' is not a bundle id"),
        (("show", "0123456789abcdef"), "no bundle starts with"),
        (("diff", "raw/bills", FIRST.shift(-1).key), f"the undo window starts at {FIRST}"),
        (("diff", "raw/bills", "latest~4"), "raw/bills has 4 computed cycles"),
        (("asof", "ref/plans", FIRST.key), f"the undo window starts at {THIRD}"),
        (("blame", "raw/bills", "A1"), "has 2 parts (bill, line); got 1"),
        (("blame", "raw/bills", "A1", "one"), "'one' is no int"),
        (("blame", "raw/bills", "Z9", "1"), "has no row bill=Z9, line=1, and had none"),
    ],
)
def test_what_does_not_exist_is_named_in_one_line(ao: Ao, words: tuple[str, ...], message: str) -> None:
    result = ao(*words)

    assert result.exit_code == 2
    assert result.stderr.startswith("ao: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_blame_of_a_deleted_row_names_the_bundle_that_deleted_it(store: StateStore, ao: Ao) -> None:
    result = ao("blame", "raw/bills", "B1", "1")

    assert result.exit_code == 2
    assert f"bundle {id_of(store, 3)} ({THIRD}) deleted it" in result.stderr


def test_a_damaged_payload_is_not_shown(store: StateStore, ao: Ao) -> None:
    bundle = id_of(store, 3)
    with store.database.write() as connection:
        damaged = BUNDLE_PAYLOAD.update().where(BUNDLE_PAYLOAD.c.bundle_id == bundle)
        connection.execute(damaged.values(payload=b"not it"))

    result = ao("show", bundle)

    assert result.exit_code == 1
    assert "its payload is damaged" in result.stderr


def test_blame_of_a_table_of_keys_alone_names_the_row_s_bundle(ao: Ao) -> None:
    assert answer(ao("blame", "ref/plans", "basic", "--json"))["columns"]["plan"]["bundle"]["cycle"] == THIRD.key


def test_what_is_not_a_number_is_printed_and_is_no_difference(store: StateStore, ao: Ao) -> None:
    cycle = FOURTH.shift(1)
    commit(store, BILLS, cycle, [bill("A1", 1, share=float("nan")), bill("A2", 2, share=float("inf"))])
    commit(store, BILLS, cycle.shift(1), [bill("A1", 2, share=float("nan")), bill("A2", 2, share=float("-inf"))])

    rows = answer(ao("diff", "raw/bills", "--json"))["rows"]

    assert [sorted(row["cells"]) for row in rows] == [["amount_minor"], ["share"]]
    assert rows[1]["cells"]["share"] == {"before": "Infinity", "after": "-Infinity"}
