"""`ao quarantine retry`: a refused record is read again from the upstream."""

from __future__ import annotations

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.cli.history import BILLS, Ao, answer, refuse_one


def refused_hash(ao: Ao) -> str:
    return str(answer(ao("quarantine", "list", "--json"))["records"][0]["record_hash"])


def test_retry_clears_the_cursor_and_touches_no_row(store: StateStore, ao: Ao) -> None:
    refuse_one(store)
    before, rows = store.head(BILLS.asset), store.read(BILLS.asset)

    result = ao("quarantine", "retry", BILLS.asset, refused_hash(ao)[:12])

    after = store.head(BILLS.asset)
    assert result.exit_code == 0
    assert before is not None
    assert before.cursor
    assert after is not None
    assert (after.cursor, after.state_hash, after.state_cycle) == ("", before.state_hash, before.state_cycle)
    assert store.read(BILLS.asset).equals(rows)
    assert store.verify(BILLS.asset) == []
