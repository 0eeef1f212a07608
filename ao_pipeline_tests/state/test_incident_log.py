"""Incidents, alerts and healing requests as rows, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ao_pipeline.adapters.state import tries
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.opening import migrate
from ao_pipeline.adapters.state.operations import OperationsReader
from ao_pipeline.adapters.state.signs import read_signs
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.clock import to_micros
from ao_pipeline.cycle import Cycle
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.resilience.conditions import Condition, IncidentKind

NOW = datetime(2026, 11, 20, 10, 5, tzinfo=UTC)
NOW_US = to_micros(NOW)
CYCLE = Cycle.last_closed(NOW)
FAILED = Condition(IncidentKind.CYCLE_FAILED, "cycle", "it published nothing")
MINUTE = 60_000_000


@pytest.fixture
def full_store(database_url: str) -> Iterator[StateStore]:
    """A store with every table of the project."""
    database = Database(database_url)
    migrate(database)
    store = StateStore(database, ALL_SPECS)
    yield store
    store.close()


def test_an_alert_is_durable_before_it_is_sent_and_made_once(full_store: StateStore) -> None:
    for minute in range(3):
        full_store.incidents.record([FAILED], now_us=NOW_US + minute * MINUTE)

    (alert,) = full_store.incidents.alerts()
    (incident,) = full_store.incidents.open()
    assert (alert.status, incident.opened_alert) == ("pending", alert.alert_id)


def test_an_incident_and_its_end_are_kept(full_store: StateStore) -> None:
    full_store.incidents.record([FAILED], now_us=NOW_US)

    for minute in range(1, 40):
        full_store.incidents.record([], now_us=NOW_US + minute * MINUTE)

    (incident,) = full_store.incidents.recent()
    assert full_store.incidents.open() == []
    assert incident.resolved_at_us == NOW_US + 20 * MINUTE
    assert len(full_store.incidents.alerts()) == 2


def test_what_is_undelivered_counts_until_one_arrives(full_store: StateStore) -> None:
    log = full_store.incidents
    log.record([FAILED], now_us=NOW_US)
    (alert,) = log.due_alerts(now_us=NOW_US)
    for attempt in range(3):
        alert = log.mark_tried(alert, now_us=NOW_US + attempt, error="TransientError")
    before = log.undelivered(now_us=NOW_US + MINUTE)

    log.mark_tried(alert, now_us=NOW_US + 10, error=None)

    assert (before, log.undelivered(now_us=NOW_US + MINUTE), log.alert_counts()) == (1, 0, {"sent": 1})


def test_alerts_that_fail_after_the_clock_was_set_back_are_undelivered(full_store: StateStore) -> None:
    log = full_store.incidents
    log.record([FAILED], now_us=NOW_US + 1440 * MINUTE)
    (alert,) = log.due_alerts(now_us=NOW_US + 1440 * MINUTE)
    log.mark_tried(alert, now_us=NOW_US + 1440 * MINUTE, error=None)
    log.record([replace(FAILED, subject="another")], now_us=NOW_US)
    (alert,) = log.due_alerts(now_us=NOW_US)

    log.mark_tried(alert, now_us=NOW_US, error="PermanentError", is_permanent=True)

    assert log.undelivered(now_us=NOW_US + MINUTE) == 1


def test_the_exporter_reads_the_same_incidents(full_store: StateStore, database_url: str) -> None:
    full_store.incidents.record([FAILED], now_us=NOW_US)
    reader = OperationsReader(database_url)

    view = reader.view()

    reader.close()
    assert [(item.kind, item.subject) for item in view.incidents] == [("cycle_failed", "cycle")]
    assert view.alerts == {"pending": 1}


def test_signs_and_tries_are_read_on_both_databases(full_store: StateStore) -> None:
    rows = [delivery("a", "dead", NOW), delivery("b", "dead", NOW - timedelta(days=1)), delivery("c", "pending", None)]
    writer = full_store.begin(Intent(NOTIFY_DELIVERIES, cycle=CYCLE, first_cycle=CYCLE, name="planted"))
    full_store.commit(writer, Change(conform(NOTIFY_DELIVERIES, rows), is_full=False))
    full_store.cycles.open(CYCLE, first_cycle=CYCLE, run_id="r")
    full_store.cycles.close(CYCLE, status="degraded", report={"missing": ["raw/xero_invoices"]}, run_id="r")
    full_store.hold("truth/capacity", reason="check failed", actor="engine")
    full_store.healing.record(CYCLE, {"truth/capacity": "stale"}, attempt=1, now_us=NOW_US)

    signs = read_signs(full_store.database, NOW)

    assert (signs.dead_messages, signs.waiting_messages, signs.last_completed) == (1, 1, CYCLE.key)
    assert [(seen.status, seen.missing) for seen in signs.cycles] == [("degraded", ("raw/xero_invoices",))]
    assert [hold.actor for hold in signs.holds] == ["engine"]
    assert tries.pending_attempts(full_store.database) == {"notifications": 2, "alerts": 0}
    assert tries.vain_healings(full_store.database) == {"truth/capacity": 1}
    assert (
        tries.refused_cycles(full_store.database, since_us=0)
        == tries.step_attempts(full_store.database, since_us=0)
        == {}
    )
    assert full_store.healing.asked({"truth/capacity": 0}, cycle=CYCLE)["truth/capacity"].in_cycle == 1


def delivery(key: str, status: str, tried_at: datetime | None) -> dict[str, object]:
    """Return an outbox row."""
    return {
        "idempotency_key": key,
        "kind": "client_at_risk",
        "priority": "low",
        "entity": "e",
        "planned_on": NOW.date(),
        "title": "t",
        "body": "b",
        "channel": "chat_webhook",
        "status": status,
        "attempts": 2,
        "first_cycle": CYCLE.key,
        "last_attempt_at": tried_at,
        "sent_cycle": None,
        "last_error": None,
    }
