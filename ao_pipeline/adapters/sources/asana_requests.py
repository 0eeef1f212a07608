"""The requests for tasks other than the search: a listing of them, a task's subtasks, one task. Errors name the culprit."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.asana import PAGE_SIZE
from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.walk import asana_records
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.errors import AoError, ContractError

REFUSALS: Final = frozenset({400, 403, 404})
"""What Asana answers about a project, a person or a task that went, or that the account may not see."""

Listing = dict[str, str]
"""The filter of a listing: a project, or an assignee and the workspace."""


def name_of(listing: Listing) -> str:
    """Return the gid of the listing's project or person."""
    return listing.get("project") or listing["assignee"]


def list_tasks(
    client: SourceClient, listing: Listing, *, fields: str, modified_since: str | None
) -> list[dict[str, Any]]:
    """Return the tasks of a project or a person, all of them or those that changed."""
    extra = {"modified_since": modified_since} if modified_since else {}
    params: Params = {**listing, **extra, "limit": PAGE_SIZE, "opt_fields": fields}
    try:
        return asana_records(client, contracts.TASKS_PAGE, "/tasks", params)
    except AoError as error:
        kind = "project" if "project" in listing else "assignee"
        raise name_culprit(error, f"{kind} {name_of(listing)}") from error


def list_subtasks(client: SourceClient, gid: str) -> list[dict[str, Any]]:
    """Return a task's subtasks with all their fields; none when the task went since it was listed, and they with it."""
    params: Params = {"limit": PAGE_SIZE, "opt_fields": contracts.TASK_FIELDS}
    try:
        return asana_records(client, contracts.SUBTASKS_PAGE, f"/tasks/{quote(gid, safe='')}/subtasks", params)
    except AoError as error:
        if error.details.get("status") == 404:
            return []
        raise name_culprit(error, f"task {gid}") from error


def read_task(client: SourceClient, gid: str, *, absent: frozenset[int]) -> dict[str, Any] | None:
    """Return one task with all its fields, None where Asana's status is one of `absent`.

    Raises:
        ContractError: The answer is another thing.
        AoError: The upstream failed otherwise.
    """
    params: Params = {"opt_fields": contracts.TASK_FIELDS}
    try:
        answer = client.get("asana.tasks.get", f"/tasks/{quote(gid, safe='')}", params)
    except AoError as error:
        if error.details.get("status") in absent:
            return None
        raise
    record = answer.body.get("data") if isinstance(answer.body, dict) else None
    if not isinstance(record, dict) or record.get("gid") != gid:
        raise ContractError("asana.tasks.get: the answer has a foreign shape")
    return record
