"""The chain task → project → brand → client, lanes and estimates."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENTS, REF_LANES, REF_TEAM
from ao_pipeline.collect.tables import RAW_ASANA_PROJECTS, RAW_ASANA_TASKS, RAW_ASANA_USERS
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.projects import link_projects, normalize_projects
from ao_pipeline.normalize.tables import NORM_PROJECT_LINKS, NORM_PROJECTS, NORM_TASK_LINKS, NORM_TASKS
from ao_pipeline.normalize.tasks import link_tasks, normalize_tasks

ZONE = ZoneInfo("Asia/Dubai")


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def project(gid: str, name: str, **values: Any) -> dict[str, Any]:
    return make(RAW_ASANA_PROJECTS, project_gid=gid, name=name, is_archived=False, **values)


def task(gid: str, name: str = "x", *projects: str, **values: Any) -> dict[str, Any]:
    links = json.dumps([{"project_gid": p, "section_gid": None, "section_name": None} for p in projects])
    defaults = {"is_completed": False, "tags_json": "[]", "custom_fields_json": "[]"}
    return make(RAW_ASANA_TASKS, task_gid=gid, name=name, projects_json=links, **(defaults | values))


def brand(brand_id: str, client_id: str, name: str, *prefixes: str) -> dict[str, Any]:
    return make(
        REF_BRANDS, brand_id=brand_id, client_id=client_id, name=name, project_prefixes_json=json.dumps(prefixes)
    )


def lane(
    lane_id: str, priority: int, keywords: list[str] | None = None, project_keywords: list[str] | None = None
) -> dict[str, Any]:
    return make(
        REF_LANES,
        lane_id=lane_id,
        name=lane_id,
        weekly_hours=40.0,
        buffer_ratio=0.2,
        priority=priority,
        keywords_json=json.dumps(keywords or []),
        project_keywords_json=json.dumps(project_keywords or []),
    )


CLIENTS = [make(REF_CLIENTS, client_id=i, name=i, tier="B", is_active=True, aliases_json="[]") for i in ("c1", "c2")]
BRANDS = [
    brand("b1", "c1", "Palm", "PLM", "Palm Tea"),
    brand("b2", "c2", "Palm Oil", "PLM - Oil", "Twin"),
    brand("b3", "c2", "Other", "Twin"),
    brand("b4", "gone", "Ghost", "GHO"),
]
PROJECTS = [
    project("p1", "PLM | Website"),
    project("p2", "Internal: PLM tools"),
    project("p3", "PLM - Oil / launch"),
    project("p4", "TWIN spring"),
    project("p5", "GHO-stly"),
    project("p6", "GHO site"),
    project("p7", "Nobody's"),
    project("p8", "Palm Oil monthly"),
    project("p9", "PLMX not a prefix"),
]
LANES = [
    lane("finance", 1, ["invoice", "vat"], ["payroll"]),
    lane("client", 5),
    lane("ops", 9),
    lane("people", 3, ["hiring"]),
]
TEAM = [
    make(
        REF_TEAM,
        member_id="m1",
        name="Noor",
        email="noor@agency.example",
        default_lane="people",
        weekly_hours=40.0,
        is_active=True,
    )
]
USERS = [make(RAW_ASANA_USERS, user_gid="u1", name="Noor", email="Noor@agency.example")]


def norm_projects() -> list[dict[str, Any]]:
    return normalize_projects(PROJECTS, zone=ZONE)


def norm_tasks(*tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = normalize_tasks(list(tasks), projects=norm_projects(), users=USERS, team=TEAM, lanes=LANES, zone=ZONE)
    conform(NORM_TASKS, rows)
    return {row["task_id"]: row for row in rows}


@pytest.mark.parametrize(
    ("project_id", "brand_id", "client_id", "status", "rule"),
    [
        ("p1", "b1", "c1", "linked", "prefix"),
        ("p2", None, None, "not_applicable", "internal"),
        ("p3", "b2", "c2", "linked", "prefix"),
        ("p4", None, None, "unlinked", "ambiguous"),
        ("p5", "b4", None, "partial", "prefix"),
        ("p6", "b4", None, "partial", "prefix"),
        ("p7", None, None, "unlinked", "none"),
        ("p8", "b2", "c2", "linked", "brand_name"),
        ("p9", None, None, "unlinked", "none"),
    ],
)
def test_a_project_reaches_its_client_through_its_brand(
    project_id: str, brand_id: str | None, client_id: str | None, status: str, rule: str
) -> None:
    rows = {row["project_id"]: row for row in link_projects(norm_projects(), BRANDS, CLIENTS)}

    assert rows[project_id] == {
        "project_id": project_id,
        "brand_id": brand_id,
        "client_id": client_id,
        "link_status": status,
        "rule": rule,
    }


@pytest.mark.parametrize(
    ("project_id", "expected"),
    [
        (None, ("unlinked", "unlinked", "no_project", None)),
        ("missing", ("partial", "unlinked", "project_missing", None)),
        ("p2", ("linked", "not_applicable", "internal", None)),
        ("p7", ("partial", "unlinked", "project_without_brand", None)),
        ("p6", ("partial", "unlinked", "client_missing", None)),
        ("p1", ("linked", "linked", "chain", "c1")),
    ],
)
def test_a_task_link_names_the_first_broken_joint(project_id: str | None, expected: tuple[Any, ...]) -> None:
    tasks = list(norm_tasks(task("t1", "x", *([project_id] if project_id else []))).values())
    links = link_projects(norm_projects(), BRANDS, CLIENTS)

    rows = link_tasks(tasks, projects=norm_projects(), project_links=links, brands=BRANDS, clients=CLIENTS)

    conform(NORM_TASK_LINKS, rows)
    row = rows[0]
    assert (row["project_link_status"], row["client_link_status"], row["rule"], row["client_id"]) == expected


def test_a_task_in_two_projects_belongs_to_the_one_with_a_client() -> None:
    assert norm_tasks(task("t1", "x", "p2", "p7", "zz"))["t1"]["project_id"] == "p7"


def test_a_subtask_belongs_to_its_parents_project_and_a_loop_of_parents_ends() -> None:
    rows = norm_tasks(
        task("t1", "x", "p1"),
        task("t2", parent_gid="t1"),
        task("t3", parent_gid="t2"),
        task("a", parent_gid="b"),
        task("b", parent_gid="a"),
    )

    assert (rows["t3"]["project_id"], rows["t3"]["project_rule"]) == ("p1", "parent")
    assert rows["a"]["project_rule"] == "none"


def test_a_due_instant_falls_on_the_local_day() -> None:
    rows = norm_tasks(task("t1", due_on=date(2026, 11, 22), due_at=datetime(2026, 11, 22, 21, 0, tzinfo=UTC)))

    assert rows["t1"]["due_on"] == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("name", "projects", "values", "lane_id", "rule"),
    [
        ("Send the Invoices", ["p1"], {}, "finance", "keyword"),
        ("VAT return", [], {}, "finance", "keyword"),
        ("Renovate the office", [], {}, "ops", "default"),
        ("Anything", ["p1"], {}, "client", "client_project"),
        ("Anything", ["p2"], {"assignee_gid": "u1"}, "people", "member"),
        ("Anything", [], {"tags_json": '["Hiring"]'}, "people", "keyword"),
    ],
)
def test_the_first_lane_rule_that_fits_wins(
    name: str, projects: list[str], values: dict[str, Any], lane_id: str, rule: str
) -> None:
    row = norm_tasks(task("t1", name, *projects, **values))["t1"]

    assert (row["lane_id"], row["lane_rule"]) == (lane_id, rule)


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("Design poster", None, (120, "verb")),
        ("Something", None, (60, "default")),
        ("Design poster", "45", (45, "custom_field")),
        ("Design poster", "1e9", (120, "verb")),
        ("Design poster", "nan", (120, "verb")),
    ],
)
def test_an_estimate_is_believed_only_when_it_is_a_working_time(
    name: str, field: str | None, expected: tuple[int, str]
) -> None:
    fields = json.dumps([{"gid": "1", "name": "Estimated minutes", "type": "number", "display_value": field}])

    row = norm_tasks(task("t1", name, custom_fields_json=fields))["t1"]

    assert (row["estimated_minutes"], row["estimate_rule"]) == expected


def test_a_data_frame_gives_the_same_rows_as_an_arrow_table() -> None:
    table = pa.Table.from_pylist(PROJECTS, schema=RAW_ASANA_PROJECTS.arrow_schema)

    from_frame = normalize_projects(table.to_pandas(types_mapper=pd.ArrowDtype), zone=ZONE)

    assert from_frame == normalize_projects(table, zone=ZONE)
    conform(NORM_PROJECTS, from_frame)


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="raw_asana_projects lacks the column 'name'"):
        normalize_projects(pa.table({"project_gid": ["1"]}), zone=ZONE)


@given(st.lists(st.text(alphabet="PLMGHOTwin -:|äش", max_size=14), max_size=8))
def test_no_client_without_a_brand_and_none_for_internal_projects(names: list[str]) -> None:
    rows = normalize_projects([project(f"p{i}", name) for i, name in enumerate(names)], zone=ZONE)

    links = link_projects(rows, BRANDS, CLIENTS)

    conform(NORM_PROJECT_LINKS, links)
    for row, link in zip(rows, links, strict=True):
        assert link["client_id"] is None or link["brand_id"] is not None
        assert (link["link_status"] == "linked") == (link["client_id"] is not None)
        assert (link["link_status"] == "not_applicable") == row["is_internal"]
