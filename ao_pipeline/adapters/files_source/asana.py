"""Asana's users, projects and tasks out of CSV and JSON exports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from ao_pipeline.adapters.files_source.folder import Found, Kind
from ao_pipeline.adapters.files_source.intake import FilesRequest, Intake, collect_changed
from ao_pipeline.adapters.files_source.reading import chunks
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.files.asana import (
    GID,
    TASK_FIELDS,
    TaskTable,
    csv_projects,
    csv_task,
    flatten_tasks,
    json_projects,
    json_user,
    name_gid,
    user_of,
)
from ao_pipeline.collect.files.json_stream import stream_items
from ao_pipeline.collect.files.tabular import is_day_first, readable, rows
from ao_pipeline.collect.parse import asana as parse
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_ASANA_PROJECTS, RAW_ASANA_TASKS, RAW_ASANA_USERS
from ao_pipeline.collect.values import BadValueError, clean_text

KINDS: Final = (Kind.ASANA_CSV, Kind.ASANA_JSON)

_TASK: Final = RecordContract("asana.export", "gid", {}, contracts.TASK.known_fields | TASK_FIELDS | {"row"})
_DATES: Final = ("created at", "completed at", "last modified", "due date", "start date")

Taken = Iterator[Record]
FromRow = Callable[[dict[str, str], TaskTable], Taken]
FromTask = Callable[[dict[str, Any]], Taken]


def collect_tasks(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/asana_tasks` from files."""
    tables: list[TaskTable] = []

    def parse_task(record: Record) -> Row:
        # A row of a CSV file is read here, so that what is wrong with it is quarantined as it was written.
        row = record.get("row")
        return parse.parse_task(csv_task(row, tables[-1], zone=request.zone) if row is not None else record)

    intake = Intake(request, RAW_ASANA_TASKS, _TASK, parse_task)

    def from_row(row: dict[str, str], table: TaskTable) -> Taken:
        if not tables or tables[-1] is not table:
            tables[:] = [table]
        gid = row.get("task id", "")
        # Without an id of its own the row's number tells it from others in the quarantine.
        yield {"gid": gid if GID.fullmatch(gid) else f"{gid or '?'} in row {table.row}", "row": row}

    return _collect(request, units, intake, from_row, lambda task: iter([task]), needs_parents=True)


def collect_projects(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/asana_projects` from files: an export says of a project no more than its name."""
    intake = Intake(request, RAW_ASANA_PROJECTS, contracts.PROJECT, parse.parse_project)
    seen: set[str] = set()

    def fresh(project: dict[str, Any]) -> Taken:
        if project["gid"] not in seen:
            seen.add(project["gid"])
            yield {**project, "archived": False}

    def from_row(row: dict[str, str], table: TaskTable) -> Taken:
        for name in csv_projects(row, table):
            yield from fresh({"gid": name_gid(name), "name": name})

    def from_task(task: dict[str, Any]) -> Taken:
        for project in json_projects(task):
            yield from fresh(project)

    return _collect(request, units, intake, from_row, from_task)


def collect_users(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/asana_users` from files: the assignees."""
    intake = Intake(request, RAW_ASANA_USERS, contracts.USER, parse.parse_user)
    seen: set[str] = set()

    def fresh(user: dict[str, Any] | None) -> Taken:
        if user is not None and user["gid"] not in seen:
            seen.add(str(user["gid"]))
            yield user

    return _collect(
        request,
        units,
        intake,
        lambda row, _: fresh(user_of(row.get("assignee", ""), row.get("assignee email", ""))),
        lambda task: fresh(json_user(task)),
    )


def _collect(
    request: FilesRequest,
    units: list[Found],
    intake: Intake,
    from_row: FromRow,
    from_task: FromTask,
    *,
    needs_parents: bool = False,
) -> Collected:
    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        number = 0
        source = (
            _from_csv(unit, from_row, needs_parents) if unit.kind is Kind.ASANA_CSV else _from_json(unit, from_task)
        )
        try:
            for number, records in source:
                if number < begin:
                    if not isinstance(records, BadValueError):
                        # Taken in before; who and what it named counts as seen.
                        deque(records, maxlen=0)
                    continue
                if isinstance(records, BadValueError):
                    target.refuse(unit, number, str(records))
                else:
                    for record in records:
                        target.add(record, size=len(str(record)))
                yield number + 1
        except BadValueError as error:
            # The rest of the file cannot be read; what came before has been.
            target.refuse(unit, number + 1, str(error))

    return collect_changed(request, units, intake, read)


def _from_csv(unit: Found, from_row: FromRow, needs_parents: bool) -> Iterator[tuple[int, Taken | BadValueError]]:
    table = TaskTable(clean_text(unit.path.stem))
    if needs_parents:
        dates = (row.get(name, "") for _, row in readable(rows(chunks(unit.path))) for name in _DATES)
        table.is_day_first = is_day_first(dates) is not False
        table.learn_parents(row for _, row in readable(rows(chunks(unit.path))))
        if table.children:
            table.learn_names(row for _, row in readable(rows(chunks(unit.path))))
    for number, row in rows(chunks(unit.path)):
        table.row = number
        yield number, from_row(row, table)


def _from_json(unit: Found, from_task: FromTask) -> Iterator[tuple[int, Taken | BadValueError]]:
    for number, item in enumerate(stream_items(chunks(unit.path), "data")):
        try:
            tasks = list(flatten_tasks(item))
        except BadValueError as error:
            yield number, error
            continue
        yield number, (record for task in tasks for record in from_task(task))
