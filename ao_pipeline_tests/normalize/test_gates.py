"""Each gate fails for its own reason, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENTS, REF_LANES
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.gates import GATES, evaluate_gates
from ao_pipeline.normalize.tables import (
    NORM_GATES,
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MESSAGES,
    NORM_PROJECT_LINKS,
    NORM_PROJECTS,
    NORM_TASK_LINKS,
    NORM_TASKS,
)


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def healthy() -> dict[str, list[dict[str, Any]]]:
    chain = {"project_id": "p1", "brand_id": "b1", "client_id": "c1"}
    return {
        "projects": [
            make(NORM_PROJECTS, project_id="p1", is_internal=False, is_archived=False),
            make(NORM_PROJECTS, project_id="p2", is_internal=True, is_archived=False),
        ],
        "project_links": [
            make(NORM_PROJECT_LINKS, link_status="linked", **chain),
            make(NORM_PROJECT_LINKS, project_id="p2", link_status="not_applicable"),
        ],
        "tasks": [make(NORM_TASKS, task_id="t1"), make(NORM_TASKS, task_id="t2")],
        "task_links": [
            make(NORM_TASK_LINKS, task_id="t1", project_link_status="linked", client_link_status="linked", **chain),
            make(
                NORM_TASK_LINKS,
                task_id="t2",
                project_id="p2",
                project_link_status="linked",
                client_link_status="not_applicable",
            ),
        ],
        "messages": [make(NORM_MESSAGES, mailbox="m", message_id="1", body="x" * 50)],
        "invoices": [make(NORM_INVOICES, invoice_id="i1", is_open_ar=True, is_valid_ar=True, due_on="2026-01-01")],
        "invoice_links": [make(NORM_INVOICE_LINKS, invoice_id="i1", client_id="c1", link_status="linked")],
        "brands": [make(REF_BRANDS, brand_id="b1", client_id="c1")],
        "clients": [make(REF_CLIENTS, client_id="c1")],
        "lanes": [make(REF_LANES, lane_id="ops", weekly_hours=40.0)],
    }


def failed(inputs: dict[str, list[dict[str, Any]]]) -> set[str]:
    rows = evaluate_gates(**inputs)
    conform(NORM_GATES, rows)
    assert [row["gate"] for row in rows] == sorted(GATES)
    return {row["gate"] for row in rows if not row["is_passed"]}


def test_all_gates_pass_on_healthy_and_on_empty_tables() -> None:
    assert failed(healthy()) == set()
    assert failed({name: [] for name in healthy()}) == set()


@pytest.mark.parametrize(
    ("table", "position", "change", "gates"),
    [
        ("task_links", 0, {"project_id": None}, {"data_integrity"}),
        ("task_links", 0, {"project_link_status": "partial"}, {"data_integrity"}),
        ("task_links", 0, {"project_link_status": "unlinked"}, {"data_integrity"}),
        ("task_links", 0, {"client_id": "gone"}, {"data_integrity"}),
        ("task_links", 1, {"client_link_status": "linked"}, {"data_integrity"}),
        ("task_links", 0, {"task_id": "t9"}, {"data_integrity"}),
        ("task_links", 1, {"client_link_status": "linked", "brand_id": "b1", "client_id": "c1"}, {"data_integrity"}),
        (
            "project_links",
            0,
            {"brand_id": None, "client_id": None},
            {"project_brand_required", "project_client_populated"},
        ),
        ("project_links", 0, {"client_id": "c2"}, {"project_brand_consistency"}),
        ("project_links", 0, {"client_id": None}, {"project_client_populated"}),
        ("project_links", 1, {"client_id": "c1"}, {"internal_project_client_null"}),
        ("messages", 0, {"body": "x" * 49}, {"commitment_ready"}),
        ("lanes", 0, {"weekly_hours": 0.0}, {"capacity_baseline"}),
        ("invoice_links", 0, {"client_id": None}, {"finance_ar_coverage", "finance_ar_clean"}),
        ("invoices", 0, {"is_valid_ar": False}, {"finance_ar_clean"}),
    ],
)
def test_one_broken_fact_fails_its_gate_alone(
    table: str, position: int, change: dict[str, Any], gates: set[str]
) -> None:
    inputs = healthy()
    inputs[table][position].update(change)

    assert failed(inputs) == gates


@given(st.integers(0, 20), st.integers(0, 20))
def test_client_coverage_needs_four_in_five(linked: int, unlinked: int) -> None:
    inputs = healthy()
    inputs["tasks"] = [make(NORM_TASKS, task_id=str(n)) for n in range(linked + unlinked)]
    full = healthy()["task_links"][0]
    bare = make(NORM_TASK_LINKS, project_link_status="unlinked", client_link_status="unlinked")
    inputs["task_links"] = [(full if n < linked else bare) | {"task_id": str(n)} for n in range(linked + unlinked)]

    assert ("client_coverage" in failed(inputs)) == (5 * linked < 4 * (linked + unlinked))


def test_a_table_without_a_column_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="ref_lanes lacks"):
        evaluate_gates(**(healthy() | {"lanes": [{"lane_id": "ops"}]}))
