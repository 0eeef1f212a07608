"""`ao incidents`: what is wrong, what was, and what was told."""

from __future__ import annotations

import json

from ao_pipeline import clock
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.resilience.conditions import Condition, IncidentKind
from ao_pipeline_tests.cli.history import Ao

MINUTE = 60_000_000
NOW_US = 1_795_000_000_000_000
FAILED = Condition(IncidentKind.CYCLE_FAILED, "cycle", "it published nothing")


def test_nothing_wrong_is_said_and_is_empty_json(ao: Ao) -> None:
    assert ao("incidents").stderr == "There was no incident yet.\n"
    assert ao("incidents", "--open").stderr == "Nothing is wrong.\n"
    assert json.loads(ao("incidents", "--json").stdout) == {"incidents": [], "is_cut": False}


def test_incidents_are_listed_open_and_over(store: StateStore, ao: Ao) -> None:
    store.incidents.record([FAILED], now_us=NOW_US)
    for minute in range(1, 30):
        store.incidents.record([], now_us=NOW_US + minute * MINUTE)
    store.incidents.record([Condition(IncidentKind.STALE, "truth/totals", "old")], now_us=NOW_US + 60 * MINUTE)

    every = json.loads(ao("incidents", "--json").stdout)["incidents"]
    open_ones = json.loads(ao("incidents", "--open", "--json").stdout)["incidents"]

    assert [(item["kind"], item["resolved_at"] is None) for item in every] == [("stale", True), ("cycle_failed", False)]
    assert [item["kind"] for item in open_ones] == ["stale"]
    assert "it published nothing" in ao("incidents").stdout


def test_what_is_gone_but_open_is_said_to_settle(store: StateStore, ao: Ao) -> None:
    store.incidents.record([FAILED], now_us=NOW_US)

    assert "settling" in ao("incidents").stdout
    assert json.loads(ao("incidents", "--json").stdout)["incidents"][0]["is_settling"] is True
    store.incidents.record([FAILED], now_us=clock.to_micros(clock.utc_now()))
    assert "settling" not in ao("incidents").stdout


def test_alerts_that_were_given_up_are_sent_again_when_asked(store: StateStore, ao: Ao) -> None:
    store.incidents.record([FAILED], now_us=NOW_US)
    (alert,) = store.incidents.due_alerts(now_us=NOW_US)
    store.incidents.mark_tried(alert, now_us=NOW_US, error="PermanentError", is_permanent=True)

    before = json.loads(ao("incidents", "alerts", "--json").stdout)["alerts"][0]
    answer = ao("incidents", "resend")

    assert (before["status"], before["last_error"]) == ("dead", "PermanentError")
    assert answer.stderr == "1 alerts will be sent again.\n"
    assert [item.alert_id for item in store.incidents.due_alerts(now_us=NOW_US)] == [alert.alert_id]
