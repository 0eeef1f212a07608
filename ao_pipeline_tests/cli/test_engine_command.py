"""`ao engine`: who acts on the store, and taking it over."""

from __future__ import annotations

import json

import pytest

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.cli.history import BILLS, Ao, refuse_one

OTHER = "other-machine:00000000"


def test_a_takeover_needs_a_yes_and_makes_the_other_engine_the_standby(ao: Ao, store: StateStore) -> None:
    store.leases.acquire(OTHER)

    asked = ao("engine", "take")
    shown = json.loads(ao("engine", "--json").stdout)
    done = ao("engine", "take", "--yes")

    assert (asked.exit_code, done.exit_code) == (0, 0)
    assert OTHER in asked.output
    assert (shown["role"], shown["lease"]["holder"]) == ("standby", OTHER)
    assert "under token 2" in done.output
    assert json.loads(ao("engine", "--json").stdout)["role"] == "active"
    assert store.leases.acquire(OTHER).holder != OTHER


def test_status_says_that_this_machine_stands_by(ao: Ao, store: StateStore) -> None:
    store.leases.acquire(OTHER)

    assert f"This machine stands by: engine {OTHER} acts on this store." in ao("status").output


def test_rows_are_not_taken_back_from_a_standby(ao: Ao, store: StateStore) -> None:
    bundle = store.bundles(limit=1)[0].bundle_id
    store.leases.acquire(OTHER)
    before = {asset: head.seq for asset, head in store.heads().items()}

    refused = ao("revert", "--bundle", bundle, "--yes")

    assert refused.exit_code == 1
    assert OTHER in refused.output
    assert {asset: head.seq for asset, head in store.heads().items()} == before


@pytest.mark.parametrize("words", [["--from-source"], []])
def test_a_refused_record_is_not_read_again_from_a_standby(ao: Ao, store: StateStore, words: list[str]) -> None:
    refuse_one(store)
    (record,) = store.quarantine()
    store.leases.acquire(OTHER)
    before = {asset: head.seq for asset, head in store.heads().items()}

    refused = ao("quarantine", "retry", BILLS.asset, record["record_hash"], *words)

    assert refused.exit_code == 1
    assert OTHER in refused.output
    assert {asset: head.seq for asset, head in store.heads().items()} == before


def test_a_volume_is_not_accepted_from_a_standby(ao: Ao, store: StateStore) -> None:
    store.leases.acquire(OTHER)
    before = {asset: head.seq for asset, head in store.heads().items()}

    refused = ao("accept-volume", BILLS.asset, "--reason", "we closed half of them")

    assert refused.exit_code == 1
    assert OTHER in refused.output
    assert {asset: head.seq for asset, head in store.heads().items()} == before
