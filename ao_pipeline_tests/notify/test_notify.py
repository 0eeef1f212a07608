"""Few messages, each once, none in the night, none for ever."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError, TransientError
from ao_pipeline.notify.outbox import due_messages, expire_messages, mark_failed, mark_sent
from ao_pipeline.notify.plan import idempotency_key, plan_messages
from ao_pipeline.notify.policy import DEFAULT_NOTIFY_POLICY, NotifyPolicy
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.truth.tables import TRUTH_COMMITMENTS

ZONE = ZoneInfo("Asia/Dubai")
AS_OF = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAWN = datetime(2026, 11, 22, 3, 45, tzinfo=UTC)  # 07:45 in Dubai.
NIGHT = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)  # 23:00 in Dubai.


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def client(client_id: str, score: int = 55, tier: str = "A") -> dict[str, Any]:
    return {
        "client_id": client_id,
        "name": client_id.upper(),
        "score": score,
        "tier": tier,
        "is_at_risk": True,
        "overdue_task_count": 2,
        "missed_response_count": 0,
        "overdue_commitment_count": 0,
        "severe_invoice_count": 0,
    }


def snapshot(
    *,
    clients: list[dict[str, Any]] | None = None,
    stale: list[str] | None = None,
    level: str = "healthy",
    badge: str = "green",
    lanes: int = 0,
) -> list[dict[str, Any]]:
    bodies: dict[str, Any] = {
        "trust": {
            "confidence_level": level,
            "stale_sources": stale or [],
            "sources": {name: {"status": "stale", "as_of_cycle": "2026-11-21-04:00"} for name in stale or []},
        },
        "clients": {"at_risk_count": len(clients or []), "clients": clients or []},
        "cash": {
            "currencies": [
                {
                    "currency": "AED",
                    "owed_minor": 1000,
                    "severe_minor": 400,
                    "badge": badge,
                    "debtors": [{"name": "Palm", "severe_minor": 400, "oldest_days": 70}],
                }
            ]
        },
        "capacity": {
            "lanes": [
                {"lane_id": f"l{n}", "is_overloaded": True, "overloaded_days": 2, "debt_minutes": 5}
                for n in range(lanes)
            ]
        },
        "delivery": {"tasks": {"open": 1, "overdue": 0, "due_in_7_days": 0}},
        "commitments": {"our_overdue_count": 0},
        "exceptions": {"exceptions": []},
    }
    return [
        {"section": name, "position": n, "status": "fresh", "item_count": 0, "body_json": canonical_json(body)}
        for n, (name, body) in enumerate(bodies.items())
    ]


def plan(
    rows: list[dict[str, Any]],
    *,
    stored: list[dict[str, Any]] | None = None,
    commitments: list[dict[str, Any]] | None = None,
    now: datetime = DAWN,
    as_of: date = AS_OF,
    policy: NotifyPolicy = DEFAULT_NOTIFY_POLICY,
) -> list[dict[str, Any]]:
    planned = plan_messages(
        rows,
        commitments or [],
        stored or [],
        as_of=as_of,
        now=now,
        zone=ZONE,
        cycle_key="2026-11-22-07:45",
        policy=policy,
    )
    conform(NOTIFY_DELIVERIES, planned)
    return planned


def kinds(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((row["kind"], row["priority"]) for row in rows)


def delivery(key: str = "k", **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "kind": "client_at_risk",
        "priority": "high",
        "entity": key,
        "planned_on": AS_OF,
        "status": "pending",
        "attempts": 0,
    }
    return make(NOTIFY_DELIVERIES, idempotency_key=key, **(defaults | values))


def overdue(number: int, days_late: int, **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "status": "overdue",
        "is_ours": True,
        "text": "I will",
        "deadline_on": AS_OF - timedelta(days=days_late),
    }
    return make(TRUTH_COMMITMENTS, commitment_id=str(number), **(defaults | values))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (snapshot(), []),
        (snapshot(clients=[client("c1")]), [("client_at_risk", "high")]),
        (snapshot(clients=[client("c1", 9)]), [("client_at_risk", "high")]),
        (snapshot(stale=["gmail", "xero"]), [("data_degraded", "high")]),
        (snapshot(level="blocked"), [("data_degraded", "critical")]),
        (snapshot(badge="red"), [("cash_severe", "high")]),
        (snapshot(badge="yellow"), []),
        (snapshot(lanes=4), [("lanes_overloaded", "normal")]),
        ([], []),
    ],
)
def test_a_condition_implies_one_message(rows: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert kinds(plan(rows)) == expected


def test_the_brief_comes_once_a_day_from_eight_local_time() -> None:
    first = plan(snapshot(), now=datetime(2026, 11, 22, 4, 0, tzinfo=UTC))

    assert kinds(first) == [("morning_brief", "normal")]
    assert plan(snapshot(), now=NOON, stored=first) == []
    assert len(plan(snapshot(), now=NOON + timedelta(days=1), stored=first, as_of=AS_OF + timedelta(days=1))) == 1


def test_a_lasting_condition_is_told_again_only_after_a_week() -> None:
    rows = snapshot(clients=[client("c1")])
    first = plan(rows)

    assert [len(plan(rows, stored=first, as_of=AS_OF + timedelta(days=n))) for n in (0, 1, 6, 7)] == [0, 0, 0, 1]


def test_the_first_run_ever_does_not_storm() -> None:
    rows = snapshot(clients=[client(f"c{n:03}", 40) for n in range(100)], stale=["xero"], badge="red", lanes=30)

    planned = plan(rows, now=NOON, commitments=[overdue(n, 1) for n in range(50)])

    assert len(planned) <= 10
    assert [row["title"] for row in planned if row["kind"] == "overflow"] == ["More alerts today: 97"]


def test_digests_come_before_clients_and_clients_by_risk() -> None:
    rows = snapshot(clients=[client(name) for name in "zyxwvu"], stale=["xero"], badge="red")

    planned = plan(rows, commitments=[overdue(1, 1)])

    assert {row["entity"] for row in planned if row["kind"] == "client_at_risk"} == {"z", "y", "x"}
    assert {"data_degraded", "cash_severe", "commitments_overdue"} < {row["kind"] for row in planned}


def test_overdue_promises_are_one_digest_of_what_is_new() -> None:
    mixed = [overdue(1, 1), overdue(2, 30), overdue(3, 1, is_ours=False), overdue(4, 1, status="done")]

    first = plan(snapshot(), commitments=mixed)
    next_day = plan(snapshot(), commitments=[*mixed, overdue(5, 0)], stored=first, as_of=AS_OF + timedelta(days=1))

    assert [row["title"] for row in (*first, *next_day)] == ["Our promises that became overdue: 1"] * 2
    assert "2026-11-22" in next_day[0]["body"]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 99)), max_size=40, unique_by=lambda pair: pair[0]),
    st.booleans(),
    st.integers(0, 12),
)
def test_no_day_exceeds_its_caps(drawn: list[tuple[int, int]], is_stale: bool, lanes: int) -> None:
    rows = snapshot(
        clients=[client(f"c{n}", score) for n, score in drawn],
        stale=["asana"] if is_stale else [],
        lanes=lanes,
        badge="red",
    )

    stored = plan(rows, now=NOON)
    stored += plan(rows[:], now=NOON, stored=stored)

    for priority, cap in DEFAULT_NOTIFY_POLICY.daily_caps.items():
        beside = {"overflow", "morning_brief", "data_degraded"}
        counted = [row for row in stored if row["priority"] == priority and row["kind"] not in beside]
        assert len(counted) <= cap
    assert sum(row["kind"] == "data_degraded" for row in stored) <= DEFAULT_NOTIFY_POLICY.max_degraded
    assert len({row["idempotency_key"] for row in stored}) == len(stored)
    assert sum(row["kind"] == "overflow" for row in stored) <= 1


def test_a_day_full_of_alerts_still_says_that_data_is_stale() -> None:
    full = plan(snapshot(clients=[client(f"c{n}") for n in range(20)]), now=NOON)
    assert sum(row["priority"] == "high" for row in full) >= DEFAULT_NOTIFY_POLICY.daily_caps["high"]

    stale = plan(snapshot(stale=["xero"]), now=NOON, stored=full)

    assert [(row["kind"], row["entity"]) for row in stale] == [("data_degraded", "xero")]


def test_a_source_that_flaps_all_day_is_told_a_few_times_then_summed_up() -> None:
    stored: list[dict[str, Any]] = []
    for names in (["asana"], ["chat"], ["gmail"], ["xero"], ["asana", "chat"], ["asana", "gmail"], ["chat", "xero"]):
        stored += plan(snapshot(stale=names), now=NOON, stored=stored)

    kinds = [row["kind"] for row in stored]
    assert kinds.count("data_degraded") == DEFAULT_NOTIFY_POLICY.max_degraded
    assert kinds.count("overflow") == 1


def test_planning_twice_plans_nothing_new() -> None:
    rows = snapshot(clients=[client("c1"), client("c2")], stale=["xero"], lanes=2)
    first = plan(rows, now=NOON, commitments=[overdue(1, 1)])

    assert plan(rows, now=NOON, commitments=[overdue(1, 1)], stored=first) == []
    assert plan(rows, now=NOON, commitments=[overdue(1, 1)]) == first


def test_titles_and_bodies_are_bounded() -> None:
    long = client("c1") | {"name": "x" * 5000}

    row = plan(snapshot(clients=[long]))[0]

    assert len(row["title"]) == DEFAULT_NOTIFY_POLICY.max_title
    assert len(row["body"]) <= DEFAULT_NOTIFY_POLICY.max_body


def test_only_critical_messages_break_the_quiet_hours() -> None:
    rows = [delivery("a"), delivery("b", priority="critical"), delivery("c", priority="low")]

    assert [row["idempotency_key"] for row in due_messages(rows, now=NIGHT, zone=ZONE)] == ["b"]
    assert [row["idempotency_key"] for row in due_messages(rows, now=NOON, zone=ZONE)] == ["b", "a", "c"]


@pytest.mark.parametrize(("hour", "is_quiet"), [(22, False), (23, True), (0, True), (7, True), (8, False), (12, False)])
def test_quiet_hours_span_midnight(hour: int, is_quiet: bool) -> None:
    assert DEFAULT_NOTIFY_POLICY.is_quiet(hour) is is_quiet
    assert NotifyPolicy(quiet_from_hour=0, quiet_until_hour=0).is_quiet(hour) is False


def test_a_backlog_drains_over_cycles() -> None:
    rows = [delivery(f"k{n}") for n in range(DEFAULT_NOTIFY_POLICY.max_sends + 3)]

    assert len(due_messages(rows, now=NOON, zone=ZONE)) == DEFAULT_NOTIFY_POLICY.max_sends


@given(st.integers(1, 100))
def test_waits_double_up_to_their_limit(attempts: int) -> None:
    wait = DEFAULT_NOTIFY_POLICY.retry_wait(attempts)

    assert wait <= DEFAULT_NOTIFY_POLICY.longest_retry
    assert DEFAULT_NOTIFY_POLICY.retry_wait(attempts + 1) >= wait


def test_a_failed_message_waits_and_dies_after_its_last_try() -> None:
    row = delivery()
    error = TransientError("https://secret.example/?key=k")

    row = mark_failed(row, now=NOON, error=error, is_permanent=False)
    assert (row["status"], row["last_error"]) == ("pending", "TransientError")
    assert due_messages([row], now=NOON + timedelta(minutes=4), zone=ZONE) == []
    assert len(due_messages([row], now=NOON + timedelta(minutes=5), zone=ZONE)) == 1
    for _ in range(DEFAULT_NOTIFY_POLICY.max_attempts - 1):
        row = mark_failed(row, now=NOON, error=error, is_permanent=False)

    assert (row["status"], row["attempts"]) == ("dead", 8)
    conform(NOTIFY_DELIVERIES, [row])


def test_a_permanent_refusal_and_old_age_kill_a_message() -> None:
    assert mark_failed(delivery(), now=NOON, error=ValueError(), is_permanent=True)["status"] == "dead"
    dead = expire_messages([delivery("old"), delivery("sent", status="sent")], as_of=AS_OF + timedelta(days=3))
    assert [(row["idempotency_key"], row["last_error"]) for row in dead] == [("old", "Expired")]
    assert expire_messages([delivery("old")], as_of=AS_OF + timedelta(days=2)) == []


def test_a_sent_message_is_not_due_again() -> None:
    row = mark_sent(delivery(), now=NOON, cycle_key="2026-11-22-07:45")

    assert (row["status"], row["attempts"], row["sent_cycle"]) == ("sent", 1, "2026-11-22-07:45")
    assert due_messages([row], now=NOON + timedelta(days=1), zone=ZONE) == []


def test_identity_depends_on_each_of_its_facts() -> None:
    keys = {
        idempotency_key(kind, entity, AS_OF + timedelta(days=days), channel)
        for kind in "ab"
        for entity in "cd"
        for days in (0, 1)
        for channel in "ef"
    }

    assert len(keys) == 16


def test_a_snapshot_that_cannot_be_read_is_refused_by_name() -> None:
    rows = snapshot()
    rows[0]["body_json"] = json.dumps([1])

    with pytest.raises(ContractError, match="section trust holds a list"):
        plan(rows)
