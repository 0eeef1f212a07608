"""What records that something was sent is left out of every revert, in the open, and refused when it is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.cli.history import BILLS, FIRST, PLANS, SECOND, TOTALS, Ao, DirectReverts, answer


@pytest.fixture
def store(filled_file: Path, tmp_path: Path) -> Iterator[StateStore]:
    """The filled store, in which `truth/totals` cannot be taken back."""
    (tmp_path / "state.db").write_bytes(filled_file.read_bytes())
    opened = StateStore(
        Database(f"sqlite:///{tmp_path / 'state.db'}"), [PLANS, BILLS, replace(TOTALS, is_revertible=False)]
    )
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "words",
    [("--all", "--to", SECOND.key, "--skip", "ref/plans"), ("raw/bills", "--downstream", "--to", SECOND.key)],
    ids=["all", "downstream"],
)
def test_it_is_left_out_and_named_in_the_plan(ao: Ao, reverts: DirectReverts, words: tuple[str, ...]) -> None:
    shown, plan = ao("revert", *words), answer(ao("revert", *words, "--json"))

    done = ao("revert", *words, "--yes")

    assert "Left out, because what was sent cannot be taken back: truth/totals." in shown.stderr
    assert ([item["asset"] for item in plan["plans"]], plan["left_out"]) == (["raw/bills"], ["truth/totals"])
    assert (done.exit_code, [assets for assets, *_ in reverts.asked]) == (0, [("raw/bills",)])


def test_the_last_cycles_are_taken_back_without_it(ao: Ao, reverts: DirectReverts) -> None:
    result = ao("revert", "--last", "1", "--skip", "ref/plans", "--yes")

    assert (result.exit_code, [assets for assets, *_ in reverts.asked]) == (0, [("raw/bills",)])


def test_it_is_not_offered_as_downstream(ao: Ao) -> None:
    assert answer(ao("revert", "raw/bills", "--to", SECOND.key, "--json"))["downstream"] == []


def test_naming_it_is_refused_with_the_reason(store: StateStore, ao: Ao, reverts: DirectReverts) -> None:
    newest = store.bundles(asset=TOTALS.asset, limit=1)[0].bundle_id

    refused = [
        ao("revert", "truth/totals", "--to", FIRST.key, "--yes"),
        ao("revert", "truth/totals", "--last", "1"),
        ao("revert", "--bundle", newest, "--yes"),
    ]

    assert [result.exit_code for result in refused] == [1, 1, 1]
    assert all(result.stderr.startswith("ao: truth/totals cannot be reverted: ") for result in refused)
    assert (reverts.asked, store.bundles(asset=TOTALS.asset, limit=1)[0].bundle_id) == ([], newest)
