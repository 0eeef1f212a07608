"""`ao quarantine retry`: a refused record is read again, from what was kept of it or from the upstream."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ao_pipeline.adapters.state.refused import replay_refused
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Quarantined
from ao_pipeline.cli import main
from ao_pipeline.cli.session import Session
from ao_pipeline.collect.tables import RAW_XERO_INVOICES
from ao_pipeline.errors import UnknownNameError
from ao_pipeline_tests.cli.history import BILLS, FOURTH, Ao, answer, refuse_one
from ao_pipeline_tests.stress.histories import commit, open_empty


def refused_hash(ao: Ao) -> str:
    return str(answer(ao("quarantine", "list", "--json"))["records"][0]["record_hash"])


def test_reading_from_the_source_clears_the_cursor_and_touches_no_row(store: StateStore, ao: Ao) -> None:
    refuse_one(store)
    before, rows = store.head(BILLS.asset), store.read(BILLS.asset)

    result = ao("quarantine", "retry", BILLS.asset, refused_hash(ao)[:12], "--from-source")

    after = store.head(BILLS.asset)
    assert result.exit_code == 0
    assert before is not None
    assert before.cursor
    assert after is not None
    assert (after.cursor, after.state_hash, after.state_cycle) == ("", before.state_hash, before.state_cycle)
    assert store.read(BILLS.asset).equals(rows)
    assert store.verify(BILLS.asset) == []


def test_what_no_collector_reads_cannot_be_replayed(store: StateStore, ao: Ao) -> None:
    refuse_one(store)

    with pytest.raises(UnknownNameError, match="read again"):
        replay_refused(store, store.quarantine()[0], actor="test")


def test_a_record_that_is_refused_still_is_told_by_exit_code_1(database_url: str) -> None:
    invoices = open_empty(database_url, RAW_XERO_INVOICES)
    refused = (Quarantined("i-1", "Total is an object", '{"InvoiceID":"i-1","Total":{}}'),)
    commit(invoices, RAW_XERO_INVOICES, FOURTH, [], is_full=False, quarantined=refused)
    words = ["quarantine", "retry", RAW_XERO_INVOICES.asset, invoices.quarantine()[0]["record_hash"]]

    result = CliRunner().invoke(main, words, obj=Session(open_store=lambda: invoices), catch_exceptions=False)

    assert result.exit_code == 1
    assert "refused still: xero.invoice: Total" in result.stdout


def test_a_record_that_is_good_now_is_told_with_its_bundle(database_url: str) -> None:
    invoices = open_empty(database_url, RAW_XERO_INVOICES)
    refused = (Quarantined("i-1", "an earlier version did not read it", '{"InvoiceID":"i-1"}'),)
    commit(invoices, RAW_XERO_INVOICES, FOURTH, [], is_full=False, quarantined=refused)
    words = ["quarantine", "retry", RAW_XERO_INVOICES.asset, invoices.quarantine()[0]["record_hash"], "--json"]

    session = Session(open_store=lambda: invoices)
    result = CliRunner().invoke(main, words, obj=session, catch_exceptions=False)

    assert result.exit_code == 0
    assert answer(result)["outcome"] == "stored"
