"""Asana's CSV and JSON exports to the users, projects and tasks that its API would answer.

An export has names where the API has ids, so names become ids: `name:…` for projects and people without an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from typing import Any, Final

from ao_pipeline.collect.files.tabular import Row as Cells
from ao_pipeline.collect.files.tabular import read_day
from ao_pipeline.collect.values import BadValueError

MAX_SUBTASKS: Final = 5_000
"""Subtasks, nested ones included, taken out of one exported task."""

_OWN_COLUMNS: Final = frozenset(
    [
        "task id",
        "created at",
        "completed at",
        "last modified",
        "name",
        "section/column",
        "assignee",
        "assignee email",
        "due date",
        "tags",
        "notes",
        "projects",
        "parent task",
    ]
)
GID: Final = re.compile(r"\d{1,25}|[A-Za-z][\w-]{0,60}")
"""A task's id, or one that another tool gave it."""

TASK_FIELDS: Final = frozenset(
    [
        "gid",
        "name",
        "notes",
        "completed",
        "completed_at",
        "due_on",
        "due_at",
        "assignee",
        "parent",
        "num_subtasks",
        "memberships",
        "tags",
        "custom_fields",
        "created_at",
        "modified_at",
        "projects",
    ]
)
"""Fields of an exported task that are read."""


def name_gid(name: str) -> str:
    """Return the id that stands for a name."""
    return f"name:{' '.join(name.split())}"


def user_of(name: str, email: str) -> dict[str, str | None] | None:
    """Return the user of an assignee's cells, None of empty ones."""
    address = email.strip().lower()
    if not address and not name.strip():
        return None
    return {"gid": address or name_gid(name), "name": name.strip() or None, "email": address or None}


@dataclass
class TaskTable:
    """What the rows of one CSV export say of one another; gathered in a first reading.

    Attributes:
        project: Project of rows that name none: the file's own name.
        is_day_first: How dates with slashes are read.
        gids: Task ids by the names that other rows call their parent; None where two tasks share one.
        children: Number of subtasks by parent's name.
        row: Number of the row that is being read.
    """

    project: str
    is_day_first: bool = True
    gids: dict[str, str | None] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)
    row: int = 0

    def learn_parents(self, rows: Iterable[Cells]) -> None:
        """Note which names are parents."""
        for row in rows:
            parent = row.get("parent task", "")
            if parent:
                self.children[parent] = self.children.get(parent, 0) + 1

    def learn_names(self, rows: Iterable[Cells]) -> None:
        """Note the ids of the parents' names."""
        for row in rows:
            name = row.get("name", "")
            if name in self.children:
                self.gids[name] = None if name in self.gids else row.get("task id", "")


def csv_task(row: Mapping[str, Any], table: TaskTable, *, zone: tzinfo) -> dict[str, Any]:
    """Return one row of a CSV export as a task of the API.

    Args:
        row: Cells by column.
        table: What its file says.
        zone: The organisation's time zone: an exported day is a day there.

    Raises:
        BadValueError: The row has no id, or a day cannot be read.
    """
    gid = row.get("task id", "")
    if not GID.fullmatch(gid):
        raise BadValueError("Task ID is missing or was rounded by a spreadsheet; export again and do not save it there")
    completed = read_day(row.get("completed at"), "Completed At", day_first=table.is_day_first)
    parent = row.get("parent task", "")
    due = read_day(row.get("due date"), "Due Date", day_first=table.is_day_first)
    return {
        "gid": gid,
        "name": row.get("name") or None,
        "notes": row.get("notes") or None,
        "completed": completed is not None,
        "completed_at": _midnight(completed, zone),
        "due_on": due.isoformat() if due else None,
        "due_at": None,
        "assignee": user_of(row.get("assignee", ""), row.get("assignee email", "")),
        "parent": {"gid": table.gids.get(parent) or name_gid(parent)} if parent else None,
        "num_subtasks": table.children.get(row.get("name", ""), 0),
        "memberships": [
            {"project": {"gid": name_gid(name)}, "section": {"gid": None, "name": section}}
            for name, section in _memberships(row, table)
        ],
        "tags": [{"name": tag} for tag in split_names(row.get("tags", ""))],
        "custom_fields": [
            {"gid": name_gid(name), "name": name, "type": "text", "display_value": value}
            for name, value in row.items()
            if value and name not in _OWN_COLUMNS and name != "id"
        ],
        "created_at": _midnight(read_day(row.get("created at"), "Created At", day_first=table.is_day_first), zone),
        "modified_at": _midnight(
            read_day(row.get("last modified"), "Last Modified", day_first=table.is_day_first), zone
        ),
    }


def csv_projects(row: Mapping[str, Any], table: TaskTable) -> list[str]:
    """Return the names of a row's projects; a subtask without one has none."""
    names = split_names(row.get("projects", ""))
    return names or ([table.project] if not row.get("parent task") else [])


def _memberships(row: Mapping[str, Any], table: TaskTable) -> Iterator[tuple[str, str | None]]:
    section = row.get("section/column") or None
    for number, name in enumerate(dict.fromkeys(csv_projects(row, table))):
        # The section is the exported project's: the file's own when it is among the task's, else the first.
        is_own = name == table.project or (number == 0 and table.project not in csv_projects(row, table))
        yield name, section if is_own else None


def split_names(cell: str) -> list[str]:
    """Return the names of a cell that holds several, as Asana joins them."""
    return [name.strip() for name in cell.split(",") if name.strip()]


def _midnight(day: date | None, zone: tzinfo) -> str | None:
    return datetime.combine(day, time.min, zone).isoformat() if day is not None else None


def flatten_tasks(item: Any, parent: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield an exported task and its nested subtasks, parents first, each as the API would answer it alone.

    Raises:
        BadValueError: The item is no task.
    """
    stack: list[tuple[Any, str | None]] = [(item, parent)]
    for _ in range(MAX_SUBTASKS):
        if not stack:
            return
        task, above = stack.pop()
        if not isinstance(task, dict) or not task.get("gid"):
            raise BadValueError("an item of the export is no task: it has no gid")
        nested = task.get("subtasks")
        children = nested if isinstance(nested, list) else []
        single = {name: value for name, value in task.items() if name in TASK_FIELDS}
        if above is not None and not single.get("parent"):
            single["parent"] = {"gid": above}
        single.setdefault("num_subtasks", len(children))
        if not single.get("memberships"):
            projects = single.get("projects")
            single["memberships"] = [{"project": project} for project in projects or [] if isinstance(project, dict)]
        yield single
        stack.extend((child, str(task["gid"])) for child in reversed(children))


def json_projects(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the projects that an exported task names."""
    found = [task.get("projects"), [m.get("project") for m in _objects(task.get("memberships"))]]
    for group in found:
        for project in _objects(group):
            if project.get("gid"):
                yield {"gid": str(project["gid"]), "name": project.get("name")}


def json_user(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the assignee of an exported task."""
    assignee = task.get("assignee")
    if not isinstance(assignee, dict) or not assignee.get("gid"):
        return None
    return {"gid": str(assignee["gid"]), "name": assignee.get("name"), "email": assignee.get("email")}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
