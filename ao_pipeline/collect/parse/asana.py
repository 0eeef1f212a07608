"""Asana users, projects, sections, tasks and stories to rows."""

from __future__ import annotations

from typing import Any

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.values import (
    as_bool,
    as_day,
    as_instant,
    as_int,
    as_key,
    as_object,
    as_objects,
    as_text,
)


def parse_user(record: Record) -> Row:
    """Return a row of `raw_asana_users`."""
    email = as_text(record.get("email"), "email")
    return {
        "user_gid": as_key(record.get("gid"), "gid"),
        "name": as_text(record.get("name"), "name"),
        "email": email.strip().lower() or None if email is not None else None,
    }


def parse_project(record: Record) -> Row:
    """Return a row of `raw_asana_projects`."""
    return {
        "project_gid": as_key(record.get("gid"), "gid"),
        "name": as_text(record.get("name"), "name"),
        "is_archived": as_bool(record.get("archived"), "archived"),
        "owner_gid": _gid(record, "owner"),
        "due_on": as_day(record.get("due_on"), "due_on"),
        "status_color": as_text(as_object(record.get("current_status"), "current_status").get("color"), "color"),
        "created_at": as_instant(record.get("created_at"), "created_at"),
        "modified_at": as_instant(record.get("modified_at"), "modified_at"),
        "permalink_url": as_text(record.get("permalink_url"), "permalink_url"),
    }


def parse_section(record: Record) -> Row:
    """Return a row of `raw_asana_sections` without its project, which is the request's."""
    return {
        "section_gid": as_key(record.get("gid"), "gid"),
        "name": as_text(record.get("name"), "name"),
        "created_at": as_instant(record.get("created_at"), "created_at"),
    }


def parse_task(record: Record) -> Row:
    """Return a row of `raw_asana_tasks`."""
    tags = [as_text(tag.get("name"), "tags.name") for tag in as_objects(record.get("tags"), "tags")]
    return {
        "task_gid": as_key(record.get("gid"), "gid"),
        "name": as_text(record.get("name"), "name"),
        "notes": as_text(record.get("notes"), "notes"),
        "is_completed": as_bool(record.get("completed"), "completed"),
        "completed_at": as_instant(record.get("completed_at"), "completed_at"),
        "due_on": as_day(record.get("due_on"), "due_on"),
        "due_at": as_instant(record.get("due_at"), "due_at"),
        "assignee_gid": _gid(record, "assignee"),
        "parent_gid": _gid(record, "parent"),
        "subtask_count": as_int(record.get("num_subtasks"), "num_subtasks"),
        "projects_json": _projects(record),
        "tags_json": canonical_json(sorted(tag for tag in tags if tag is not None)),
        "custom_fields_json": _custom_fields(record),
        "created_at": as_instant(record.get("created_at"), "created_at"),
        "modified_at": as_instant(record.get("modified_at"), "modified_at"),
    }


def parse_story(record: Record) -> Row:
    """Return a row of `raw_asana_stories` without its task, which is the request's."""
    return {
        "story_gid": as_key(record.get("gid"), "gid"),
        "story_type": as_text(record.get("type"), "type"),
        "resource_subtype": as_text(record.get("resource_subtype"), "resource_subtype"),
        "text": as_text(record.get("text"), "text"),
        "created_by_gid": _gid(record, "created_by"),
        "created_at": as_instant(record.get("created_at"), "created_at"),
    }


def _gid(record: Record, field: str) -> str | None:
    return as_text(as_object(record.get(field), field).get("gid"), f"{field}.gid") or None


def _projects(record: Record) -> str:
    """A task may be in one project once only; the section says where."""
    found: list[dict[str, Any]] = []
    for membership in as_objects(record.get("memberships"), "memberships"):
        project = as_object(membership.get("project"), "memberships.project")
        section = as_object(membership.get("section"), "memberships.section")
        gid = as_text(project.get("gid"), "memberships.project.gid")
        if gid:
            found.append(
                {
                    "project_gid": gid,
                    "section_gid": as_text(section.get("gid"), "memberships.section.gid"),
                    "section_name": as_text(section.get("name"), "memberships.section.name"),
                }
            )
    return canonical_json(sorted(found, key=lambda item: (item["project_gid"], item["section_gid"] or "")))


def _custom_fields(record: Record) -> str:
    names = ("gid", "name", "type", "display_value")
    found = [
        {name: as_text(item.get(name), f"custom_fields.{name}") for name in names}
        for item in as_objects(record.get("custom_fields"), "custom_fields")
    ]
    return canonical_json(sorted(found, key=lambda item: (item["gid"] or "", item["name"] or "")))
