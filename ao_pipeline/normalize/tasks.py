"""Tasks, and the chain task → project → brand → client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENTS, REF_LANES, REF_TEAM
from ao_pipeline.collect.tables import RAW_ASANA_TASKS, RAW_ASANA_USERS
from ao_pipeline.normalize.lanes import LANE_RULES_VERSION, assign_lane, estimate_minutes, lane_rules
from ao_pipeline.normalize.rows import Frame, Row, fold_name, load_list, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_PROJECT_LINKS, NORM_PROJECTS, NORM_TASK_LINKS, NORM_TASKS

TASKS_VERSION: Final = f"1+lanes.{LANE_RULES_VERSION}"
TASK_LINKS_VERSION: Final = "1"

MAX_SUBTASK_DEPTH: Final = 8
"""How far up a subtask looks for a project. Asana allows five levels; the bound also ends a loop in damaged data."""


def normalize_tasks(
    tasks: Frame, *, projects: Frame, users: Frame, team: Frame, lanes: Frame, zone: ZoneInfo
) -> list[Row]:
    """Describe every task in our own words: one project, one lane, org-local days.

    A task in several projects belongs to the first that is known, not archived and not internal, in this order of
    importance, then by gid. A subtask without a project of its own belongs to its parent's.

    Args:
        tasks: `raw_asana_tasks`.
        projects: `norm_projects`.
        users: `raw_asana_users`; finds a team member by address when `ref_team` has no gid.
        team: `ref_team`.
        lanes: `ref_lanes`.
        zone: The organisation's time zone; a due instant falls on its day there.

    Returns:
        Rows of `norm_tasks`.
    """
    raw_tasks = {row["task_gid"]: row for row in read_rows(tasks, RAW_ASANA_TASKS)}
    known = {row["project_id"]: row for row in read_rows(projects, NORM_PROJECTS)}
    members = _members_by_gid(read_rows(users, RAW_ASANA_USERS), read_rows(team, REF_TEAM))
    rules = lane_rules(read_rows(lanes, REF_LANES))
    own = {gid: _own_project(raw["projects_json"], known) for gid, raw in raw_tasks.items()}
    rows = []
    for gid, raw in raw_tasks.items():
        project_id, project_rule = _project(gid, raw_tasks, own)
        project = known.get(project_id) if project_id is not None else None
        member = members.get(raw["assignee_gid"]) if raw["assignee_gid"] is not None else None
        folded = fold_name(raw["name"])
        tags = [fold_name(str(tag)) for tag in load_list(raw["tags_json"])]
        lane_id, lane_rule = assign_lane(
            rules,
            text=" ".join([folded, *tags]),
            project=project,
            member_lane=member["default_lane"] if member is not None else None,
        )
        minutes, estimate_rule = estimate_minutes(folded, load_list(raw["custom_fields_json"]))
        rows.append(
            {
                "task_id": gid,
                "name": raw["name"] or "",
                "name_normalized": folded,
                "status": "completed" if raw["is_completed"] else "open",
                "project_id": project_id,
                "project_rule": project_rule,
                "parent_id": raw["parent_gid"],
                "member_id": member["member_id"] if member is not None else None,
                "assignee_gid": raw["assignee_gid"],
                "lane_id": lane_id,
                "lane_rule": lane_rule,
                "due_on": raw["due_on"] if raw["due_at"] is None else _local_day(raw["due_at"], zone),
                "created_on": _local_day(raw["created_at"], zone),
                "completed_on": _local_day(raw["completed_at"], zone) if raw["is_completed"] else None,
                "estimated_minutes": minutes,
                "estimate_rule": estimate_rule,
                "is_urgent": "urgent" in tags,
            }
        )
    return sort_rows(rows, NORM_TASKS)


def link_tasks(tasks: Frame, *, projects: Frame, project_links: Frame, brands: Frame, clients: Frame) -> list[Row]:
    """Say for every task how far its chain to a client reaches.

    Args:
        tasks: `norm_tasks`.
        projects: `norm_projects`.
        project_links: `norm_project_links`.
        brands: `ref_brands`.
        clients: `ref_clients`.

    Returns:
        Rows of `norm_task_links`; the first broken joint of the chain is the rule.
    """
    known = {row["project_id"]: row for row in read_rows(projects, NORM_PROJECTS)}
    links = {row["project_id"]: row for row in read_rows(project_links, NORM_PROJECT_LINKS)}
    client_of_brand = {row["brand_id"]: row["client_id"] for row in read_rows(brands, REF_BRANDS)}
    client_ids = {row["client_id"] for row in read_rows(clients, REF_CLIENTS)}
    rows = []
    for task in read_rows(tasks, NORM_TASKS):
        project_id = task["project_id"]
        link = links.get(project_id)
        brand_id = link["brand_id"] if link is not None else None
        client_id = None
        statuses = ("partial", "unlinked")
        if project_id is None:
            statuses, rule = ("unlinked", "unlinked"), "no_project"
        elif project_id not in known or link is None:
            rule = "project_missing"
        elif known[project_id]["is_internal"]:
            statuses, rule = ("linked", "not_applicable"), "internal"
        elif brand_id is None:
            rule = "project_without_brand"
        elif brand_id not in client_of_brand:
            rule = "brand_missing"
        elif client_of_brand[brand_id] not in client_ids:
            rule = "client_missing"
        else:
            statuses, rule = ("linked", "linked"), "chain"
            client_id = client_of_brand[brand_id]
        rows.append(
            {
                "task_id": task["task_id"],
                "project_id": project_id,
                "brand_id": brand_id,
                "client_id": client_id,
                "project_link_status": statuses[0],
                "client_link_status": statuses[1],
                "rule": rule,
            }
        )
    return sort_rows(rows, NORM_TASK_LINKS)


def _local_day(instant: datetime | None, zone: ZoneInfo) -> date | None:
    return instant.astimezone(zone).date() if instant is not None else None


def _members_by_gid(users: list[Row], team: list[Row]) -> dict[str, Row]:
    by_email = {row["email"]: row for row in team}
    by_gid = {
        user["user_gid"]: by_email[user["email"].lower()]
        for user in users
        if user["email"] is not None and user["email"].lower() in by_email
    }
    by_gid.update({row["asana_gid"]: row for row in team if row["asana_gid"] is not None})
    return by_gid


def _own_project(projects_json: str | None, known: Mapping[str, Row]) -> str | None:
    gids = [str(item["project_gid"]) for item in load_list(projects_json)]

    def rank(gid: str) -> tuple[bool, bool, bool, str]:
        project = known.get(gid)
        if project is None:
            return True, True, True, gid
        return False, project["is_archived"], project["is_internal"], gid

    return min(gids, key=rank, default=None)


def _project(gid: str, tasks: Mapping[str, Row], own: Mapping[str, str | None]) -> tuple[str | None, str]:
    if own[gid] is not None:
        return own[gid], "own"
    parent = tasks[gid]["parent_gid"]
    for _ in range(MAX_SUBTASK_DEPTH):
        if parent not in tasks:
            break
        if own[parent] is not None:
            return own[parent], "parent"
        parent = tasks[parent]["parent_gid"]
    return None, "none"
