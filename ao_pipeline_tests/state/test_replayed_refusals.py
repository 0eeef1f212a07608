"""`ao quarantine retry`: what was kept of a refused record is read again and stored, unless something newer is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ao_pipeline.adapters.state.refused import find_refused, replay_refused, reread_refused
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.bundles.changes import Quarantined
from ao_pipeline.collect.tables import RAW_ASANA_STORIES, RAW_GMAIL_MESSAGES, RAW_XERO_INVOICES
from ao_pipeline.errors import ContractError, HoldError, PermanentError, UnknownNameError
from ao_pipeline_tests.stress.histories import FIRST, commit, open_empty
from ao_pipeline_tests.stress.tables import row

SPEC = RAW_XERO_INVOICES


@pytest.fixture
def ledger(database_url: str) -> Iterator[StateStore]:
    opened = open_empty(database_url, SPEC, RAW_GMAIL_MESSAGES, RAW_ASANA_STORIES)
    yield opened
    opened.close()


def invoice(**fields: Any) -> str:
    made = {
        "InvoiceID": "i-1",
        "CurrencyCode": "KWD",
        "Total": "12.345",
        "DateString": "2026-11-01T00:00:00",
        "UpdatedDateUTC": "/Date(1795165200000+0000)/",
        "Contact": {"Name": "Oasis & Sons"},
    }
    return canonical_json(made | fields)


def refuse(store: StateStore, payload: str, *, key: str = "i-1", spec: Any = SPEC) -> dict[str, Any]:
    refused = (Quarantined(key, "xero.invoice: an earlier version did not read it", payload),)
    commit(store, spec, FIRST, [], is_full=False, quarantined=refused, cursor={"page": 1})
    return find_refused(store.database, store.quarantine(asset=spec.asset)[0]["record_hash"])


def stored_and_open(
    store: StateStore, payload: str, stored: dict[str, Any], *, key: str = "i-1", spec: Any = SPEC
) -> dict[str, Any]:
    """Store a row first, then refuse a record with its key."""
    commit(store, spec, FIRST, [stored], name="before", is_full=False)
    return refuse(store, payload, key=key, spec=spec)


def test_a_record_that_is_good_now_is_stored_and_resolved(ledger: StateStore) -> None:
    record = refuse(ledger, invoice())

    done = replay_refused(ledger, record, actor="test")

    (stored,) = ledger.read(SPEC.asset).to_pylist()
    assert (stored["invoice_id"], stored["total_minor"], stored["contact_name"]) == ("i-1", 12345, "Oasis & Sons")
    assert done.outcome == "stored"
    assert ledger.bundle(done.bundle_id).rows_inserted == 1
    assert ledger.quarantine(asset=SPEC.asset) == []
    assert ledger.cursor(SPEC.asset) == {"page": 1}
    assert ledger.verify(SPEC.asset) == []


def test_an_older_stored_version_is_replaced(ledger: StateStore) -> None:
    older = row(SPEC, "i-1", total_minor=1, updated_at=datetime(2020, 1, 1, tzinfo=UTC))
    record = stored_and_open(ledger, invoice(), older)

    done = replay_refused(ledger, record, actor="test")

    assert done.outcome == "stored"
    assert ledger.read(SPEC.asset).column("total_minor").to_pylist() == [12345]


def test_a_newer_stored_version_is_left_alone(ledger: StateStore) -> None:
    newer = row(SPEC, "i-1", updated_at=datetime(2027, 1, 1, tzinfo=UTC))
    record = stored_and_open(ledger, invoice(), newer)

    done = replay_refused(ledger, record, actor="test")

    assert done.outcome == "outdated"
    assert ledger.read(SPEC.asset).column("total_minor").to_pylist() == [None]
    assert ledger.quarantine(asset=SPEC.asset) == []


def test_a_record_that_is_refused_again_stays_with_its_new_reason(ledger: StateStore) -> None:
    record = refuse(ledger, invoice(Total={"amount": 1}))

    done = replay_refused(ledger, record, actor="test")

    (kept,) = ledger.quarantine(asset=SPEC.asset)
    assert done.outcome == "refused"
    assert kept["reason"] == done.reason != record["reason"]
    assert "Total" in kept["reason"]
    assert ledger.read(SPEC.asset).num_rows == 0


def test_a_second_retry_finds_it_resolved(ledger: StateStore) -> None:
    record = refuse(ledger, invoice())
    replay_refused(ledger, record, actor="test")

    with pytest.raises(PermanentError, match="resolved already"):
        replay_refused(ledger, find_refused(ledger.database, record["record_hash"]), actor="test")


@pytest.mark.parametrize("payload", ['{"InvoiceID":"i-1","Refe', '{"unreadable":"nested too deeply"}', "", "[]"])
def test_a_payload_that_was_cut_is_read_from_its_source_only(ledger: StateStore, payload: str) -> None:
    record = refuse(ledger, payload)

    with pytest.raises(ContractError, match="--from-source"):
        replay_refused(ledger, record, actor="test")
    reread_refused(ledger, record, actor="test")

    assert ledger.cursor(SPEC.asset) is None


def test_the_mailbox_comes_from_the_label(ledger: StateStore) -> None:
    mail = canonical_json({"id": "m/1", "internalDate": "1795165200000", "historyId": 7})
    record = refuse(ledger, mail, key="ops@agency.example/m/1", spec=RAW_GMAIL_MESSAGES)

    replay_refused(ledger, record, actor="test")

    (stored,) = ledger.read(RAW_GMAIL_MESSAGES.asset).to_pylist()
    assert (stored["mailbox"], stored["message_id"], stored["history_id"]) == ("ops@agency.example", "m/1", "7")


def test_history_ids_are_numbers(ledger: StateStore) -> None:
    newer = row(RAW_GMAIL_MESSAGES, "a@b.example", "1", history_id="100")
    mail = canonical_json({"id": "1", "historyId": "99"})
    record = stored_and_open(ledger, mail, newer, key="a@b.example/1", spec=RAW_GMAIL_MESSAGES)

    assert replay_refused(ledger, record, actor="test").outcome == "outdated"


def test_a_held_asset_is_not_written(ledger: StateStore) -> None:
    record = refuse(ledger, invoice())
    ledger.hold(SPEC.asset, reason="frozen", actor="test")

    with pytest.raises(HoldError):
        replay_refused(ledger, record, actor="test")

    assert len(ledger.quarantine(asset=SPEC.asset)) == 1


def test_a_record_of_a_file_is_not_replayed(ledger: StateStore) -> None:
    record = refuse(ledger, invoice())
    commit(ledger, SPEC, FIRST, [], name="files", is_full=False, cursor={"origin": "files", "files": []})

    with pytest.raises(PermanentError, match="from a file"):
        replay_refused(ledger, record, actor="test")


def test_a_story_keeps_its_task(ledger: StateStore) -> None:
    story = canonical_json({"gid": "9", "type": "comment", "text": "ok"})
    record = refuse(ledger, story, key="7/9", spec=RAW_ASANA_STORIES)

    replay_refused(ledger, record, actor="test")

    (stored,) = ledger.read(RAW_ASANA_STORIES.asset).to_pylist()
    assert (stored["story_gid"], stored["task_gid"]) == ("9", "7")
    assert ledger.quarantine(asset=RAW_ASANA_STORIES.asset) == []


def test_an_asset_that_was_never_computed_is_named(ledger: StateStore) -> None:
    record = refuse(ledger, invoice())

    with pytest.raises(UnknownNameError, match="never computed"):
        reread_refused(ledger, record | {"asset": RAW_GMAIL_MESSAGES.asset}, actor="test")
