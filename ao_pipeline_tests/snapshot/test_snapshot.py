"""The snapshot adds up, says what is stale, and is never empty."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.gates import evaluate_gates
from ao_pipeline.normalize.invoices import aging_bucket
from ao_pipeline.normalize.tables import NORM_INVOICE_LINKS, NORM_INVOICES, NORM_PROJECTS, NORM_TASKS
from ao_pipeline.snapshot.build import SECTIONS, build_snapshot, read_bodies, validate_snapshot
from ao_pipeline.snapshot.render import money, render_text
from ao_pipeline.snapshot.sections import cash_badge, cash_section
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

AS_OF = date(2026, 11, 22)
FRESH = {
    name: {"status": "fresh", "as_of_cycle": "2026-11-22-10:15"}
    for name in ("asana", "calendar", "chat", "gmail", "xero")
}
NO_ROWS: dict[str, list[dict[str, Any]]] = {
    name: []
    for name in [
        "clients",
        "projects",
        "project_links",
        "tasks",
        "invoices",
        "invoice_links",
        "messages",
        "message_links",
        "client_health",
        "commitments",
        "capacity",
    ]
}
GATES = evaluate_gates(
    projects=[],
    project_links=[],
    tasks=[],
    task_links=[],
    messages=[],
    invoices=[],
    invoice_links=[],
    brands=[],
    clients=[],
    lanes=[],
)


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def build(
    sources: dict[str, Any] | None = None, gates: list[dict[str, Any]] | None = None, **tables: Any
) -> list[dict[str, Any]]:
    inputs: dict[str, Any] = NO_ROWS | tables
    rows = build_snapshot(gates=GATES if gates is None else gates, sources=sources or FRESH, as_of=AS_OF, **inputs)
    conform(SNAPSHOT_AGENCY, rows)
    return rows


def status(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["section"]: row["status"] for row in rows}


def invoice(number: int, days: int, amount: int, currency: str = "AED", contact: str = "Palm") -> dict[str, Any]:
    return make(
        NORM_INVOICES,
        invoice_id=str(number),
        contact_name=contact,
        currency=currency,
        is_open_ar=True,
        is_valid_ar=True,
        status="open",
        amount_due_minor=amount,
        days_overdue=days,
        aging_bucket=aging_bucket(days),
    )


def health(client_id: str, score: int | None, *, tier: str = "A", is_at_risk: bool | None = False) -> dict[str, Any]:
    return make(
        TRUTH_CLIENT_HEALTH,
        client_id=client_id,
        tier=tier,
        score=score,
        is_at_risk=is_at_risk,
        data_status="complete" if score is not None else "no_data",
    )


def rich() -> dict[str, Any]:
    return {
        "clients": [make(REF_CLIENTS, client_id="c1", name="Palm شاي")],
        "client_health": [health("c1", 40, is_at_risk=True), health("c2", None, is_at_risk=None)],
        "projects": [make(NORM_PROJECTS, project_id="p1", name="Launch", is_archived=False, health="unknown")],
        "tasks": [make(NORM_TASKS, task_id="t1", status="open", project_id="p1", due_on=AS_OF - timedelta(days=1))],
        "invoices": [invoice(1, 100, 500), invoice(2, 0, 500)],
        "invoice_links": [make(NORM_INVOICE_LINKS, invoice_id="1", client_id="c1")],
        "commitments": [
            make(
                TRUTH_COMMITMENTS,
                commitment_id="x",
                kind="promise",
                status="overdue",
                is_ours=True,
                text="I will",
                said_on=AS_OF,
                deadline_on=AS_OF - timedelta(days=1),
                client_id="c1",
            )
        ],
        "capacity": [
            make(
                TRUTH_CAPACITY,
                capacity_on=AS_OF,
                lane_id="ops",
                effective_minutes=100,
                scheduled_minutes=200,
                is_overloaded=True,
                debt_minutes=30,
                utilization_ratio=2.0,
            )
        ],
    }


def test_every_section_is_there_even_without_data() -> None:
    rows = sorted(build(), key=lambda row: row["position"])

    assert tuple(row["section"] for row in rows) == SECTIONS
    assert set(status(rows).values()) == {"fresh"}


def test_a_stale_source_degrades_its_sections_and_names_its_cycle() -> None:
    stale = FRESH | {"xero": {"status": "stale", "as_of_cycle": "2026-11-21-04:00"}}

    rows = build(stale)

    assert {name for name, value in status(rows).items() if value == "degraded"} == {
        "trust",
        "exceptions",
        "clients",
        "cash",
    }
    trust = read_bodies(rows)["trust"]
    assert (trust["confidence_level"], trust["sources"]["xero"]["as_of_cycle"]) == ("degraded", "2026-11-21-04:00")
    assert "xero is stale since 2026-11-21-04:00" in render_text(rows)


def test_nothing_changes_from_cycle_to_cycle_while_all_is_fresh() -> None:
    later = {name: {"status": "fresh", "as_of_cycle": "2026-11-22-10:30"} for name in FRESH}

    assert build(FRESH, **rich()) == build(later, **rich())


@pytest.mark.parametrize(
    ("gate", "level"),
    [
        ("data_integrity", "blocked"),
        ("client_coverage", "degraded"),
        ("capacity_baseline", "degraded"),
        ("finance_ar_clean", "healthy"),
    ],
)
def test_a_failed_gate_lowers_the_confidence(gate: str, level: str) -> None:
    gates = [row | {"is_passed": row["is_passed"] and row["gate"] != gate} for row in GATES]

    assert read_bodies(build(gates=gates))["trust"]["confidence_level"] == level


def test_exceptions_come_worst_first() -> None:
    items = read_bodies(build(**rich()))["exceptions"]["exceptions"]

    assert [item["kind"] for item in items] == [
        "client_at_risk",
        "cash_severe",
        "commitments_overdue",
        "lane_overloaded",
        "project_late",
    ]


@pytest.mark.parametrize(
    ("severe", "badge"), [(0, "green"), (14, "green"), (15, "yellow"), (24, "yellow"), (25, "red")]
)
def test_the_cash_badge_turns_at_15_and_25_percent(severe: int, badge: str) -> None:
    assert cash_badge(severe, 100) == badge


invoices_drawn = st.lists(
    st.tuples(st.integers(-50, 200), st.integers(1, 10**9), st.sampled_from(["AED", "USD"]), st.integers(0, 60)),
    max_size=80,
)


@given(invoices_drawn)
def test_what_is_owed_is_the_sum_of_debtors_and_of_buckets(drawn: list[tuple[int, int, str, int]]) -> None:
    rows = [
        invoice(n, days, amount, currency, f"c{debtor}") for n, (days, amount, currency, debtor) in enumerate(drawn)
    ]

    validate_snapshot(build(invoices=rows))

    tiles = {tile["currency"]: tile for tile in cash_section(rows, [], {})["currencies"]}
    for currency in {row["currency"] for row in rows}:
        expected = sum(row["amount_due_minor"] for row in rows if row["currency"] == currency)
        assert tiles[currency]["owed_minor"] == expected
        assert len(tiles[currency]["debtors"]) <= 25


def tampered(section: str, change: dict[str, Any]) -> list[dict[str, Any]]:
    rows = build(**rich())
    for row in rows:
        if row["section"] == section:
            row["body_json"] = canonical_json(json.loads(row["body_json"]) | change)
    return rows


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("clients", {"client_count": 3}, "clients: client_count is 3, but 2 are listed"),
        ("clients", {"at_risk_count": 0}, "at_risk_count is 0, but 1 are listed"),
        ("delivery", {"projects": []}, "delivery: project_count is 1, but 0"),
        ("trust", {"gates": {}}, "no gate was measured"),
        ("trust", {"stale_sources": ["xero"]}, "healthy although a source is stale"),
        ("cash", {"as_of": "2026-11-21"}, "different days"),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(section: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        validate_snapshot(tampered(section, change))


def test_debtors_that_do_not_add_up_are_refused() -> None:
    tiles = read_bodies(build(**rich()))["cash"]["currencies"]
    tiles[0]["debtors"][0]["owed_minor"] += 1

    with pytest.raises(ContractError, match="owed_minor in AED is 1000, its parts add up to 1001"):
        validate_snapshot(tampered("cash", {"currencies": tiles}))


def test_an_empty_snapshot_is_refused() -> None:
    with pytest.raises(ContractError, match="needs the sections"):
        validate_snapshot([])


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123456, "AED", "AED 1,234.56"),
        (123456, "KWD", "KWD 123.456"),
        (123456, "JPY", "JPY 123,456"),
        (-5, "AED", "AED -0.05"),
        (10**17 + 1, "USD", "USD 1,000,000,000,000,000.01"),
    ],
)
def test_money_has_the_decimals_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert money(minor, currency) == text


def test_the_text_names_clients_money_and_lanes() -> None:
    text = render_text(build(**rich()))

    for part in ("Palm شاي", "AED 10.00", "severe AED 5.00", "ops", "1 overdue (1 ours)"):
        assert part in text
