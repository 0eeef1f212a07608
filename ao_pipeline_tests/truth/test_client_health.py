"""The health model: what each fact costs, and that missing data is said, not guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.tables import (
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MESSAGE_LINKS,
    NORM_MESSAGES,
    NORM_TASK_LINKS,
    NORM_TASKS,
)
from ao_pipeline.truth.client_health import WEIGHTS, score_clients, weigh
from ao_pipeline.truth.tables import TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

AS_OF = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def score(
    *,
    tasks: list[dict[str, Any]] | None = None,
    invoices: list[dict[str, Any]] | None = None,
    messages: list[dict[str, Any]] | None = None,
    commitments: list[dict[str, Any]] | None = None,
    tier: str = "B",
) -> dict[str, Any]:
    rows = score_clients(
        [
            make(REF_CLIENTS, client_id="c1", tier=tier, is_active=True),
            make(REF_CLIENTS, client_id="c2", tier="A", is_active=False),
        ],
        tasks=tasks or [],
        task_links=[make(NORM_TASK_LINKS, task_id=t["task_id"], client_id="c1") for t in tasks or []],
        invoices=invoices or [],
        invoice_links=[make(NORM_INVOICE_LINKS, invoice_id=i["invoice_id"], client_id="c1") for i in invoices or []],
        messages=messages or [],
        message_links=[
            make(NORM_MESSAGE_LINKS, mailbox=m["mailbox"], message_id=m["message_id"], client_id="c1")
            for m in messages or []
        ],
        commitments=commitments or [],
        as_of=AS_OF,
        zone=ZoneInfo("Asia/Dubai"),
    )
    conform(TRUTH_CLIENT_HEALTH, rows)
    assert [row["client_id"] for row in rows] == ["c1"]
    return rows[0]


def task(task_id: str, days_late: int, project: str = "p1") -> dict[str, Any]:
    return make(
        NORM_TASKS, task_id=task_id, status="open", project_id=project, due_on=AS_OF - timedelta(days=days_late)
    )


def invoice(bucket: str, amount: int = 100, currency: str = "AED") -> dict[str, Any]:
    return make(
        NORM_INVOICES,
        invoice_id=f"{bucket}{currency}",
        status="open",
        is_open_ar=True,
        is_valid_ar=True,
        aging_bucket=bucket,
        amount_due_minor=amount,
        currency=currency,
    )


def inbound(message_id: str, days_ago: float, **values: Any) -> dict[str, Any]:
    sent_at = NOON - timedelta(days=days_ago)
    return make(
        NORM_MESSAGES,
        mailbox="m",
        message_id=message_id,
        thread_id=message_id,
        direction="inbound",
        sent_at=sent_at,
        sent_on=sent_at.date(),
        is_automated=False,
        requires_response=True,
        response_due_at=sent_at + timedelta(hours=48),
        **values,
    )


def answer(thread_id: str, days_ago: float) -> dict[str, Any]:
    return make(
        NORM_MESSAGES,
        mailbox="m",
        message_id=f"re-{thread_id}",
        thread_id=thread_id,
        direction="outbound",
        sent_at=NOON - timedelta(days=days_ago),
    )


def test_a_client_without_data_has_no_score() -> None:
    row = score()

    assert (row["score"], row["data_status"], row["is_at_risk"]) == (None, "no_data", None)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task("a", 0)], 100.0),
        ([task("a", 1)], 80.0),
        ([task("a", 1), task("b", 1), task("c", 1)], 45.0),
        ([task("a", 1, "p1"), task("b", 1, "p2"), task("c", 1, "p3")], 70.0),
        ([task(str(n), 1) for n in range(50)], 30.0),
    ],
)
def test_late_tasks_cost_delivery(tasks: list[dict[str, Any]], expected: float) -> None:
    row = score(tasks=tasks)

    assert (row["delivery_score"], row["score"], row["data_status"]) == (expected, int(expected), "partial")


@pytest.mark.parametrize(
    ("invoices", "expected"),
    [
        ([invoice("current")], 100.0),
        ([invoice("1-30")], 50.0),
        ([invoice("current", 300), invoice("90+", 100)], 75.0),
        ([invoice("current", 10**9), invoice("61-90", 1, "USD")], 0.0),
    ],
)
def test_old_debts_cost_cash_in_the_worst_currency(invoices: list[dict[str, Any]], expected: float) -> None:
    assert score(invoices=invoices)["cash_score"] == expected


@pytest.mark.parametrize(
    ("messages", "expected", "missed", "waiting"),
    [
        ([inbound("a", 1)], 100.0, 0, 0),
        ([inbound("a", 3)], 80.0, 1, 0),
        ([inbound("a", 5)], 70.0, 1, 1),
        ([inbound("a", 5), answer("a", 4)], 100.0, 0, 0),
        ([inbound("a", 5), answer("a", 1)], 80.0, 1, 0),
        ([inbound("a", 5), answer("a", 6)], 70.0, 1, 1),
    ],
)
def test_missed_answers_cost_responsiveness(
    messages: list[dict[str, Any]], expected: float, missed: int, waiting: int
) -> None:
    row = score(messages=messages)

    assert (row["responsiveness_score"], row["missed_response_count"], row["waiting_thread_count"]) == (
        expected,
        missed,
        waiting,
    )


def test_only_our_own_broken_promises_cost_commitments() -> None:
    rows = [
        make(
            TRUTH_COMMITMENTS,
            commitment_id="a",
            client_id="c1",
            is_ours=True,
            status="overdue",
            deadline_on=AS_OF - timedelta(days=30),
        ),
        make(TRUTH_COMMITMENTS, commitment_id="b", client_id="c1", is_ours=False, status="overdue"),
        make(
            TRUTH_COMMITMENTS,
            commitment_id="d",
            client_id="c1",
            is_ours=True,
            status="overdue",
            deadline_on=AS_OF - timedelta(days=31),
        ),
        make(TRUTH_COMMITMENTS, commitment_id="c", client_id="c1", is_ours=True, status="open", deadline_on=AS_OF),
    ]

    assert score(commitments=rows)["commitments_score"] == 85.0


@pytest.mark.parametrize(("tier", "is_at_risk"), [("A", False), ("B", False), ("C", False)])
def test_the_threshold_itself_is_not_at_risk(tier: str, is_at_risk: bool) -> None:
    assert score(tasks=[task("a", 1)], tier=tier)["is_at_risk"] is is_at_risk


def test_an_important_client_is_at_risk_earlier() -> None:
    late = [task("a", 1, "p1"), task("b", 1, "p2"), task("c", 1, "p3")]

    assert [score(tasks=late, tier=tier)["is_at_risk"] for tier in "ABC"] == [True, False, False]


@given(st.fixed_dictionaries({name: st.none() | st.floats(0, 100) for name in WEIGHTS}))
def test_the_score_lies_between_its_components(components: dict[str, float | None]) -> None:
    total, status = weigh(components)

    present = [value for value in components.values() if value is not None]
    if total is None:
        assert status == "no_data"
        assert not present
    else:
        assert min(present) - 0.51 <= total <= max(present) + 0.51
        assert (status == "complete") == (len(present) == 4)


def test_clients_without_a_column_are_refused_by_name() -> None:
    with pytest.raises(ContractError, match="ref_clients lacks"):
        score_clients(
            [{"client_id": "c1"}],
            tasks=[],
            task_links=[],
            invoices=[],
            invoice_links=[],
            messages=[],
            message_links=[],
            commitments=[],
            as_of=AS_OF,
            zone=ZoneInfo("Asia/Dubai"),
        )
