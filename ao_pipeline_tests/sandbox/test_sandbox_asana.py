"""The sandbox's Asana answers as the vendor does: fields, pages, filters, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Upstreams

WORKSPACE = "1200000000000001"


def all_pages(upstream: Any, path: str, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    page = upstream.get(path, limit=100, **params)
    rows += page["data"]
    while page["next_page"] is not None:
        page = upstream.get(path, limit=100, offset=page["next_page"]["offset"], **params)
        rows += page["data"]
    return rows


def test_projects_and_people_together_reach_every_task(still: Upstreams) -> None:
    asana = still.asana()
    found: set[str] = set()

    for project in all_pages(asana, "/projects", workspace=WORKSPACE):
        found |= {task["gid"] for task in all_pages(asana, f"/projects/{project['gid']}/tasks")}
    for user in all_pages(asana, "/users", workspace=WORKSPACE):
        found |= {task["gid"] for task in all_pages(asana, "/tasks", workspace=WORKSPACE, assignee=user["gid"])}
    truth = {row["object"]["gid"]: row["object"] for row in still.sandbox.truth("raw_asana_tasks")}

    assert found == truth.keys()


def test_subtasks_are_not_in_project_listings_but_under_their_parent(still: Upstreams) -> None:
    asana = still.asana()
    task = next(row["object"] for row in still.sandbox.truth("raw_asana_tasks") if row["object"]["parent"])

    children = asana.get(f"/tasks/{task['parent']['gid']}/subtasks", limit=100)["data"]

    assert task["gid"] in {child["gid"] for child in children}
    assert task["projects"] == []


def test_a_listing_is_compact_unless_fields_are_asked(still: Upstreams) -> None:
    asana = still.asana()

    compact = asana.get("/projects/1201000000000001/tasks", limit=1)["data"][0]
    asked = asana.get(
        "/projects/1201000000000001/tasks",
        limit=1,
        opt_fields="name,assignee.name,memberships.section.name,memberships.project",
    )["data"][0]

    assert set(compact) == {"gid", "resource_type", "name", "resource_subtype"}
    assert set(asked) == {"gid", "name", "assignee", "memberships"}
    assert set(asked["memberships"][0]) == {"project", "section"}
    assert set(asked["memberships"][0]["section"]) == {"gid", "name"}
    assert set(asked["memberships"][0]["project"]) == {"gid", "resource_type"}


def test_next_page_is_absent_without_a_limit_and_on_workspace_users(still: Upstreams) -> None:
    asana = still.asana()

    assert "next_page" not in asana.get("/projects", workspace=WORKSPACE)
    assert "next_page" not in asana.get(f"/workspaces/{WORKSPACE}/users", limit=2)
    assert asana.get("/projects", workspace=WORKSPACE, limit=100)["next_page"] is None


@pytest.mark.parametrize("limit", ["0", "101", "ten"])
def test_a_limit_outside_one_to_a_hundred_is_refused(still: Upstreams, limit: str) -> None:
    answer = still.asana().ask("/projects", limit=limit)

    assert answer.status_code == 400
    assert "limit" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("path", ["/tasks/1", "/projects/1/tasks", "/projects/1/sections", "/tasks/1/stories"])
def test_an_unknown_object_is_404_with_asanas_body(still: Upstreams, path: str) -> None:
    answer = still.asana().ask(path)

    assert answer.status_code == 404
    assert "Unknown object" in answer.json()["errors"][0]["message"]


def test_a_wrong_token_is_401(still: Upstreams) -> None:
    answer = still.asana().ask("/users", headers={"Authorization": "Bearer wrong"})

    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (401, "Not Authorized")


def test_tasks_need_a_project_or_an_assignee(still: Upstreams) -> None:
    assert still.asana().ask("/tasks", workspace=WORKSPACE).status_code == 400


def test_an_offset_token_dies_of_age(upstreams: Upstreams) -> None:
    asana = upstreams.asana()
    offset = asana.get("/projects", limit=10)["next_page"]["offset"]

    upstreams.sandbox.advance(31 * 60)

    answer = asana.ask("/projects", limit=10, offset=offset)
    assert answer.status_code == 400
    assert "expired" in answer.json()["errors"][0]["message"]


def test_modified_since_gives_what_changed_and_nothing_of_what_was_deleted(upstreams: Upstreams) -> None:
    sandbox, asana = upstreams.sandbox, upstreams.asana()
    tasks = asana.get("/projects/1201000000000001/tasks", limit=100)["data"]
    sandbox.advance(1)

    sandbox.mutate("task", "update", key=tasks[0]["gid"], name="renamed ✅", completed=True)
    sandbox.mutate("task", "delete", key=tasks[1]["gid"])
    changed = asana.get(
        "/tasks",
        project="1201000000000001",
        limit=100,
        modified_since="2026-11-22T10:00:01Z",
        opt_fields="name,completed_at",
    )["data"]

    assert [(task["gid"], task["name"]) for task in changed] == [(tasks[0]["gid"], "renamed ✅")]
    assert changed[0]["completed_at"] == "2026-11-22T10:00:01.000Z"
    assert asana.ask(f"/tasks/{tasks[1]['gid']}").status_code == 404


def test_completed_since_now_gives_open_tasks_only(still: Upstreams) -> None:
    tasks = still.asana().get(
        "/projects/1201000000000001/tasks", limit=100, completed_since="now", opt_fields="completed"
    )["data"]

    assert tasks
    assert not any(task["completed"] for task in tasks)


def test_a_renamed_project_has_its_new_name_in_every_task(upstreams: Upstreams) -> None:
    upstreams.sandbox.mutate("project", "update", key="1201000000000001", name="Renamed: all of it")

    tasks = upstreams.asana().get(
        "/projects/1201000000000001/tasks", limit=100, opt_fields="memberships.project.name,memberships.project.gid"
    )["data"]

    names = {m["project"]["name"] for t in tasks for m in t["memberships"] if m["project"]["gid"] == "1201000000000001"}
    assert names == {"Renamed: all of it"}
