"""`ao accept-volume`: a person's word, with its reason, in the asset's own history."""

from __future__ import annotations

from ao_pipeline.adapters.state.acceptance import is_drop_accepted
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.cli.history import BILLS, Ao


def test_the_word_is_kept_with_its_reason(store: StateStore, ao: Ao) -> None:
    before = store.read(BILLS.asset)

    result = ao("accept-volume", BILLS.name, "--reason", "we closed half of them")

    assert result.exit_code == 0
    assert "once" in result.stdout
    assert is_drop_accepted(store, BILLS.asset)
    assert store.bundles(asset=BILLS.asset)[0].reason == "we closed half of them"
    assert store.read(BILLS.asset).equals(before)


def test_a_word_without_a_reason_is_none(store: StateStore, ao: Ao) -> None:
    result = ao("accept-volume", BILLS.asset)

    assert result.exit_code == 2
    assert not is_drop_accepted(store, BILLS.asset)
