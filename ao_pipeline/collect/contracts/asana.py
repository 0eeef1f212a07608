"""Asana: users, projects, sections, tasks, stories. The fields asked for are exactly the fields answered, so anything else is drift.

Source: Asana API 1.0, `GET /users`, `/projects`, `/tasks`, `/tasks/{gid}/subtasks`,
`/projects/{gid}/sections`, `/tasks/{gid}/stories`; Apache-2.0 description.
"""

from __future__ import annotations

from typing import Final

from ao_pipeline.collect.contracts.contract import (
    BOOLEAN,
    INTEGER,
    TEXT,
    TOKEN,
    PageContract,
    RecordContract,
    list_of,
    object_of,
)

_REFERENCE: Final = object_of(gid=TEXT)
_COMPACT: Final = frozenset({"gid", "resource_type", "resource_subtype"})
_PAGE_KEYS: Final = frozenset({"data", "next_page"})
_NEXT_PAGE: Final = {"next_page": object_of(offset=TOKEN)}


def _page(operation: str) -> PageContract:
    return PageContract(operation, "data", "gid", is_empty_legal=False, known_keys=_PAGE_KEYS, extra=_NEXT_PAGE)


USERS_PAGE: Final = _page("asana.users.list")
PROJECTS_PAGE: Final = _page("asana.projects.list")
TASKS_PAGE: Final = _page("asana.tasks.list")
SEARCH_PAGE: Final = _page("asana.tasks.search")
SECTIONS_PAGE: Final = _page("asana.sections.list")
STORIES_PAGE: Final = _page("asana.stories.list")
SUBTASKS_PAGE: Final = _page("asana.subtasks.list")

USER: Final = RecordContract(
    name="asana.user", key_field="gid", properties={"name": TEXT, "email": TEXT}, known_fields=_COMPACT
)

PROJECT: Final = RecordContract(
    name="asana.project",
    key_field="gid",
    properties={
        "name": TEXT,
        "archived": BOOLEAN,
        "owner": _REFERENCE,
        "due_on": TEXT,
        "current_status": object_of(color=TEXT),
        "created_at": TEXT,
        "modified_at": TEXT,
        "permalink_url": TEXT,
    },
    known_fields=_COMPACT,
)
STATUS_COLORS: Final = frozenset({"green", "yellow", "red", "blue", "complete", "none"})
"""Known `current_status.color`; others are kept."""

SECTION: Final = RecordContract(
    name="asana.section", key_field="gid", properties={"name": TEXT, "created_at": TEXT}, known_fields=_COMPACT
)

TASK: Final = RecordContract(
    name="asana.task",
    key_field="gid",
    properties={
        "name": TEXT,
        "notes": TEXT,
        "completed": BOOLEAN,
        "completed_at": TEXT,
        "due_on": TEXT,
        "due_at": TEXT,
        "assignee": _REFERENCE,
        "parent": _REFERENCE,
        "num_subtasks": INTEGER,
        "memberships": list_of(object_of(project=_REFERENCE, section=object_of(gid=TEXT, name=TEXT))),
        "tags": list_of(object_of(name=TEXT)),
        "custom_fields": list_of(object_of(gid=TEXT, name=TEXT, type=TEXT, display_value=TEXT)),
        "created_at": TEXT,
        "modified_at": TEXT,
    },
    known_fields=_COMPACT,
    enums={
        "resource_subtype": frozenset({"default_task", "milestone", "section", "approval", "custom"}),
    },
)

STORY: Final = RecordContract(
    name="asana.story",
    key_field="gid",
    properties={"type": TEXT, "text": TEXT, "created_by": _REFERENCE, "created_at": TEXT},
    known_fields=_COMPACT,
    enums={"type": frozenset({"comment", "system"})},
)

STORY_FIELDS: Final = "type,resource_subtype,text,created_by,created_at"
SECTION_FIELDS: Final = "name,created_at"
USER_FIELDS: Final = "name,email"
KEY_FIELDS: Final = "name"
"""For listings that only serve to know what there is: `gid` comes along and is no name that the description has."""

PROJECT_FIELDS: Final = "name,archived,owner,due_on,current_status.color,created_at,modified_at,permalink_url"
TASK_FIELDS: Final = (
    "name,notes,completed,completed_at,due_on,due_at,assignee,parent,num_subtasks,"
    "memberships.project,memberships.section,memberships.section.name,tags.name,"
    "custom_fields,custom_fields.name,custom_fields.type,custom_fields.display_value,created_at,modified_at"
)
"""`opt_fields` of each listing: without it Asana answers with a name and an id only.

Objects are asked for whole, `owner` and not `owner.gid`: their `gid` always comes along, and Asana's description knows no other name.
"""
