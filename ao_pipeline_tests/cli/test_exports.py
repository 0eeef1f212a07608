"""`ao export` and its verification: every file is covered, and whoever changes one is told which bundle it is."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import BUNDLE_PAYLOAD, ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.export_bundles import export_bundles
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles import verifier
from ao_pipeline.bundles.schema import TableSpec, integer, text
from ao_pipeline.errors import PermanentError
from ao_pipeline_tests.cli.history import BILLS, FIRST, FOURTH, SECOND, SPECS, THIRD, Ao, answer, commit
from ao_pipeline_tests.stress.tables import EVERY_TYPE, listings_of

BILLS_FOLDER = "raw_bills"


@pytest.fixture
def exported(ao: Ao, tmp_path: Path) -> Path:
    """An export of everything, a revert and the tables included."""
    ao("revert", "raw/bills", "--to", SECOND.key, "--yes")
    folder = tmp_path / "exported"
    result = ao("export", "--all", "--table", "--to", str(folder))
    assert result.exit_code == 0, result.stderr
    return folder


def problems(folder: Path) -> list[tuple[str, str, str]]:
    return verifier.verify_export(folder).problems


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / BILLS_FOLDER / "bundles.jsonl").read_text("utf-8").splitlines()]


def write_lines(folder: Path, headers: list[dict[str, Any]]) -> None:
    data = b"".join(verifier.canonical(header) + b"\n" for header in headers)
    (folder / BILLS_FOLDER / "bundles.jsonl").write_bytes(data)


def test_what_was_exported_is_good_in_the_command_line_and_without_the_project(
    store: StateStore, ao: Ao, exported: Path, tmp_path: Path
) -> None:
    alone = shutil.copy(verifier.__file__, tmp_path / "alone.py")
    by_command = ao("verify", "--exported", str(exported), "--json")
    by_itself = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", alone, str(exported)], capture_output=True, text=True, check=False
    )

    assert (by_command.exit_code, answer(by_command)["findings"]) == (0, [])
    assert answer(by_command)["bundles"] == len(store.bundles(limit=100)) == 10
    assert (by_itself.returncode, by_itself.stdout.startswith("3 assets, 10 bundles")) == (0, True)
    assert not re.search(r"\| +ao_pipeline", by_itself.stderr)


def test_every_flipped_byte_is_found(exported: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    files = sorted(path for path in exported.rglob("*") if path.is_file())
    missed = []

    for _ in range(400):
        file = drawn.choice(files)
        original = file.read_bytes()
        at = drawn.randrange(len(original))
        damaged = bytearray(original)
        damaged[at] ^= 1 << drawn.randrange(8)
        file.write_bytes(damaged)
        if not problems(exported):
            missed.append((file.name, at))
        file.write_bytes(original)

    assert (missed, problems(exported)) == ([], [])


def test_an_edited_header_is_named_and_no_other(exported: Path) -> None:
    headers = lines_of(exported)
    headers[2]["reason"] = "nothing to see here"
    write_lines(exported, headers)

    assert [(bundle, text) for _, bundle, text in problems(exported)] == [
        (headers[2]["seal"][:16], "bundle 3: its header was changed, the seal does not fit")
    ]


def test_a_damaged_payload_is_named_and_no_other(exported: Path) -> None:
    file = next((exported / BILLS_FOLDER).glob("3-*.payload"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    found = problems(exported)

    assert [(asset, bundle) for asset, bundle, _ in found] == [("raw/bills", file.stem.split("-")[1])]
    assert "payload is missing or was changed" in found[0][2]


def test_a_lost_payload_is_named(exported: Path) -> None:
    file = next((exported / BILLS_FOLDER).glob("4-*.payload"))
    file.unlink()

    assert [(bundle, "bundle 4: its payload" in text) for _, bundle, text in problems(exported)] == [
        (file.stem.split("-")[1], True)
    ]


@pytest.mark.parametrize(("dropped", "said"), [(0, "1 is"), (2, "3 is"), (4, "5 is")])
def test_a_dropped_bundle_is_missed_wherever_it_stood(exported: Path, dropped: int, said: str) -> None:
    headers = lines_of(exported)
    next((exported / BILLS_FOLDER).glob(f"{dropped + 1}-*.payload")).unlink()
    write_lines(exported, headers[:dropped] + headers[dropped + 1 :])

    assert [text for _, _, text in problems(exported)] == [f"bundle {said} missing"]


def test_a_bundle_that_occurs_twice_is_named(exported: Path) -> None:
    headers = lines_of(exported)
    write_lines(exported, [*headers, headers[1]])

    assert [text for _, _, text in problems(exported)] == ["bundle 2 occurs twice (line 6)"]


def test_a_copy_at_the_end_under_a_new_number_is_found(exported: Path) -> None:
    headers = lines_of(exported)
    copy = headers[1] | {"seq": 6}
    write_lines(exported, [*headers, copy | {"seal": verifier.seal_of(copy)}])

    assert any("bundle 6 does not belong to this export" in text for _, _, text in problems(exported))


def test_bundles_in_another_order_are_found(exported: Path) -> None:
    headers = lines_of(exported)
    headers[1], headers[2] = headers[2], headers[1]
    write_lines(exported, headers)

    assert [text for _, _, text in problems(exported)] == [
        "bundle 2 stands after bundle 3 (line 3): the order was changed"
    ]


def forge(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change headers and compute every seal, payload name, head and digest anew, as a careful forger does."""
    place = folder / BILLS_FOLDER
    headers = lines_of(folder)
    change(headers)
    parent = headers[0]["parent_seal"]
    for header in headers:
        old = verifier.payload_name(header)
        header["parent_seal"] = parent
        parent = header["seal"] = verifier.seal_of(header)
        if (place / old).exists():
            (place / old).rename(place / verifier.payload_name(header))
    write_lines(folder, headers)
    layout = json.loads((place / "layout.json").read_bytes())
    layout["head"]["seal"] = parent
    (place / "layout.json").write_bytes(verifier.canonical(layout) + b"\n")
    manifest = json.loads((folder / "export.json").read_bytes())
    manifest["assets"]["raw/bills"][1] = hashlib.sha256((place / "layout.json").read_bytes()).hexdigest()
    (folder / "export.json").write_bytes(verifier.canonical(manifest) + b"\n")


def test_a_chain_that_was_sealed_anew_must_still_replay(exported: Path) -> None:
    forge(exported, lambda headers: None)
    assert problems(exported) == []

    def lie(headers: list[dict[str, Any]]) -> None:
        headers[2]["state_hash_after"] = headers[3]["state_hash_before"] = "f" * 32

    forge(exported, lie)

    found = [text for _, _, text in problems(exported)]
    assert found[0].startswith("bundle 3 leaves ")
    assert "it recorded " + "f" * 32 in found[0]


def test_counts_that_the_payload_does_not_bear_out_are_found(exported: Path) -> None:
    def lie(headers: list[dict[str, Any]]) -> None:
        headers[2]["rows_updated"] = 7

    forge(exported, lie)

    assert [text for _, _, text in problems(exported)] == [
        "bundle 3 says that it changed (1, 7, 1) rows, its payload changes (1, 1, 1)"
    ]


def test_an_export_since_a_cycle_begins_there(ao: Ao, tmp_path: Path) -> None:
    result = ao("export", "raw/bills", "--since", THIRD.key, "--to", str(tmp_path / "late"), "--json")

    assert [item["bundles"] for item in answer(result)["exported"]] == [2]
    assert problems(tmp_path / "late") == []
    assert [header["cycle"] for header in lines_of(tmp_path / "late")] == [THIRD.key, FOURTH.key]


def test_a_folder_that_holds_something_is_left_alone(ao: Ao, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")

    result = ao("export", "--all", "--to", str(tmp_path))

    assert (result.exit_code, [path.name for path in tmp_path.iterdir()]) == (2, ["mine"])
    assert "is there already" in result.stderr


def test_an_export_that_fails_leaves_nothing(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ao_pipeline.adapters.state.export_bundles._write_payload", full)

    with pytest.raises(PermanentError, match="No space left on device"):
        export_bundles(store, [BILLS], tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [("export", "--to", "x"), ("export", "raw/bills", "--all", "--to", "x"), ("export", "raw/none", "--to", "x")],
)
def test_an_export_of_nothing_or_of_the_unknown_is_wrong_usage(ao: Ao, words: tuple[str, ...]) -> None:
    assert ao(*words).exit_code == 2


def test_a_damaged_store_is_exported_as_it_is(store: StateStore, tmp_path: Path) -> None:
    header = next(header for header in store.bundles(asset=BILLS.asset) if header.seq == 3)
    with store.database.write() as connection:
        connection.execute(BUNDLE_PAYLOAD.delete().where(BUNDLE_PAYLOAD.c.bundle_id == header.bundle_id))

    export_bundles(store, [BILLS], tmp_path / "out")

    assert [bundle for _, bundle, _ in problems(tmp_path / "out")] == [header.bundle_id]


def test_both_databases_export_what_the_verifier_takes(either_store: StateStore, tmp_path: Path) -> None:
    export_bundles(either_store, SPECS, tmp_path / "out", with_table=True)

    report = verifier.verify_export(tmp_path / "out")

    assert (report.problems, report.assets, report.bundles) == ([], 3, 9)


def new_store(url: str, *specs: TableSpec) -> StateStore:
    database = Database(url)
    managed = sa.MetaData()
    managed_tables(specs, managed)
    for metadata in (ENGINE, managed):
        metadata.create_all(database.engine)
    return StateStore(database, specs)


def test_values_of_every_type_replay(tmp_path: Path) -> None:
    from hypothesis import Phase, given, settings
    from hypothesis import strategies as st

    folders = iter(range(1_000))

    @settings(max_examples=25, phases=[Phase.generate, Phase.shrink])
    @given(st.lists(listings_of(EVERY_TYPE, max_size=6), min_size=2, max_size=4))
    def replays(listings: list[list[dict[str, Any]]]) -> None:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        store = new_store(f"sqlite:///{folder / 'state.db'}", EVERY_TYPE)
        for position, rows in enumerate(listings):
            commit(store, EVERY_TYPE, FIRST.shift(position), rows)
        export_bundles(store, [EVERY_TYPE], folder / "out", with_table=True)
        store.close()

        assert problems(folder / "out") == []

    replays()


def test_added_and_changed_columns_replay(tmp_path: Path) -> None:
    old = TableSpec("raw/things", (text("name"),), (integer("size"), text("colour")), "one thing")
    added = TableSpec("raw/things", (text("name"),), (integer("size"), text("colour"), text("note")), "one thing")
    dropped = TableSpec("raw/things", (text("name"),), (integer("size"), text("note")), "one thing")
    url = f"sqlite:///{tmp_path / 'state.db'}"
    store = new_store(url, old)
    commit(store, old, FIRST, [{"name": "a", "size": 1, "colour": "red"}, {"name": "b", "size": 2, "colour": None}])
    migrations = (
        (added, SECOND, "ADD COLUMN note TEXT", [{"name": "a", "size": 1, "colour": "red", "note": "new"}]),
        (dropped, THIRD, "DROP COLUMN colour", [{"name": "a", "size": 9, "note": "new"}]),
    )
    for spec, cycle, statement, rows in migrations:
        with store.database.write() as connection:
            connection.execute(sa.text(f"ALTER TABLE raw_things {statement}"))
        store.close()
        store = StateStore(Database(url), [spec])
        commit(store, spec, cycle, rows)
    export_bundles(store, [dropped], tmp_path / "out", with_table=True)
    store.close()

    report = verifier.verify_export(tmp_path / "out")

    assert (report.problems, report.bundles) == ([], 4)
