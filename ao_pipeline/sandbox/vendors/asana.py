"""Asana's API: compact records unless `opt_fields` asks, offset tokens that age, tasks by project or by assignee."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import from_micros, to_iso, to_micros
from ao_pipeline.sandbox.replies import RefusedError, decode_token, encode_token, join_objects, json_reply, text_reply
from ao_pipeline.sandbox.site import Site, bearer, endpoint
from ao_pipeline.sandbox.vendors.asana_fields import viewer
from ao_pipeline.sandbox.world.records import Collection, Json, Record
from ao_pipeline.sandbox.world.stories import COMMENTS, stories_of

BASE: Final = SANDBOX_PATHS["asana"]
_OFFSET_LASTS_MICROS: Final = 30 * 60 * 1_000_000
_UNPAGED_CAP: Final = 1000


def asana_error(status: int, message: str) -> RefusedError:
    """Return Asana's refusal; raise it."""
    error = {"message": message}
    if status != 401:
        error["help"] = "For more information on API status codes and how to handle them, read the docs on errors."
    return RefusedError(json_reply({"errors": [error]}, status=status))


def check_token(site: Site, request: Request) -> None:
    """Refuse a wrong token."""
    if bearer(request) != site.options.asana_token:
        raise asana_error(401, "Not Authorized")


def _listing(site: Site, request: Request, records: Sequence[Record], *, path: str, pages: bool = True) -> Response:
    """Answer one page of records sorted by key."""
    variant, view = viewer(request)
    raw_limit = request.query_params.get("limit")
    if raw_limit is None or not pages:
        rows = join_objects(record.text(variant, view) for record in records[:_UNPAGED_CAP])
        return text_reply(f'{{"data":{rows}}}')
    if not raw_limit.isdigit() or not 1 <= int(raw_limit) <= 100:
        raise asana_error(400, "limit: Must be between 1 and 100.")
    limit, now = int(raw_limit), site.clock.micros()
    start = _start(request, records, now)
    page = records[start : start + limit]
    rows = join_objects(record.text(variant, view) for record in page)
    if start + limit >= len(records):
        return text_reply(f'{{"data":{rows},"next_page":null}}')
    offset = encode_token("asana", page[-1].key, now)
    uri = f"{request.base_url}{BASE[1:]}{path}?limit={limit}&offset={offset}"
    return text_reply(
        f'{{"data":{rows},"next_page":{{"offset":"{offset}","path":"{path}?limit={limit}&offset={offset}","uri":"{uri}"}}}}'
    )


def _start(request: Request, records: Sequence[Record], now: int) -> int:
    offset = request.query_params.get("offset")
    if offset is None:
        return 0
    values = decode_token(offset, "asana", str, int)
    if values is None:
        raise asana_error(400, "offset: Your pagination token is invalid.")
    last, issued = values
    if now - issued > _OFFSET_LASTS_MICROS:
        raise asana_error(400, "offset: Your pagination token has expired.")
    return next((place for place, record in enumerate(records) if record.key > last), len(records))


def instant(request: Request, name: str) -> int | None:
    """Return a time of the query in microseconds."""
    raw = request.query_params.get(name)
    if not raw:
        return None
    if raw == "now":
        return to_micros(request.app.state.site.clock.now())
    try:
        moment = datetime.fromisoformat(raw.replace("Z", "+00:00"))
    except ValueError as error:
        raise asana_error(400, f"{name}: Not a valid ISO 8601 date or time: {raw}") from error
    return to_micros(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _in_projects(task: Record) -> list[tuple[str, str]]:
    return [(project["gid"], "") for project in task.data.get("projects", ()) if task.data["parent"] is None]


def _at_assignee(task: Record) -> list[tuple[str, str]]:
    return [(task.data["assignee"]["gid"], "")] if task.data.get("assignee") else []


def _below_parent(task: Record) -> list[tuple[str, str]]:
    return [(task.data["parent"]["gid"], "")] if task.data.get("parent") else []


def _of_project(section: Record) -> list[tuple[str, str]]:
    return [(section.data["project"]["gid"], "")] if "project" in section.data else []


def _filtered(request: Request, records: list[Record]) -> list[Record]:
    modified_since, completed_since = instant(request, "modified_since"), instant(request, "completed_since")
    if modified_since is not None:
        records = [record for record in records if record.at >= modified_since]
    if completed_since is not None:
        limit = to_iso(from_micros(completed_since))
        records = [
            record for record in records if not record.data["completed"] or str(record.data["completed_at"]) >= limit
        ]
    return records


def _require(collection: Collection, gid: str, kind: str) -> Record:
    record = collection.records.get(gid)
    if record is None:
        raise asana_error(404, f"{kind}: Unknown object: {gid}")
    return record


def require_workspace(site: Site, gid: str) -> None:
    """Refuse another workspace than the sandbox's own."""
    if gid != site.options.asana_workspace_gid:
        raise asana_error(404, f"workspace: Unknown object: {gid}")


async def list_workspaces(site: Site, request: Request) -> Response:
    """GET /workspaces."""
    check_token(site, request)
    data: Json = {
        "gid": site.options.asana_workspace_gid,
        "resource_type": "workspace",
        "name": "Agency",
        "is_organization": True,
    }
    return _listing(site, request, [Record(data["gid"], data, at=0, sequence=0)], path="/workspaces")


async def list_users(site: Site, request: Request) -> Response:
    """GET /users and /workspaces/{gid}/users; the latter has no `next_page`, even with a limit."""
    check_token(site, request)
    gid = request.path_params.get("gid")
    require_workspace(site, gid or request.query_params.get("workspace", site.options.asana_workspace_gid))
    path = "/users" if gid is None else f"/workspaces/{gid}/users"
    return _listing(site, request, site.world()["users"].in_order(), path=path, pages=gid is None)


async def list_projects(site: Site, request: Request) -> Response:
    """GET /projects and /workspaces/{gid}/projects."""
    check_token(site, request)
    gid = request.path_params.get("gid")
    require_workspace(site, gid or request.query_params.get("workspace", site.options.asana_workspace_gid))
    records = site.world()["projects"].in_order()
    archived = request.query_params.get("archived")
    if archived is not None:
        records = [record for record in records if record.data["archived"] == (archived.lower() == "true")]
    return _listing(site, request, records, path="/projects" if gid is None else f"/workspaces/{gid}/projects")


async def list_tasks(site: Site, request: Request) -> Response:
    """GET /tasks: by project, or by assignee and workspace."""
    check_token(site, request)
    query, tasks = request.query_params, site.world()["tasks"]
    if "project" in query:
        _require(site.world()["projects"], query["project"], "project")
        records = tasks.index("by_project", _in_projects).present(query["project"])
    elif "assignee" in query and "workspace" in query:
        require_workspace(site, query["workspace"])
        known = {member.asana_gid for member in site.agency.members}
        if query["assignee"] not in known:
            raise asana_error(400, f"assignee: Not a recognized ID: {query['assignee']}")
        records = tasks.index("by_assignee", _at_assignee).present(query["assignee"])
    else:
        raise asana_error(400, "You should specify one of workspace, project, tag, section, user_task_list.")
    return _listing(site, request, _filtered(request, records), path="/tasks")


async def list_project_tasks(site: Site, request: Request) -> Response:
    """GET /projects/{gid}/tasks."""
    check_token(site, request)
    gid, tasks = request.path_params["gid"], site.world()["tasks"]
    _require(site.world()["projects"], gid, "project")
    records = tasks.index("by_project", _in_projects).present(gid)
    return _listing(site, request, _filtered(request, records), path=f"/projects/{gid}/tasks")


async def list_subtasks(site: Site, request: Request) -> Response:
    """GET /tasks/{gid}/subtasks."""
    check_token(site, request)
    gid, tasks = request.path_params["gid"], site.world()["tasks"]
    _require(tasks, gid, "task")
    records = tasks.index("by_parent", _below_parent).present(gid)
    return _listing(site, request, records, path=f"/tasks/{gid}/subtasks")


async def list_sections(site: Site, request: Request) -> Response:
    """GET /projects/{gid}/sections."""
    check_token(site, request)
    gid = request.path_params["gid"]
    _require(site.world()["projects"], gid, "project")
    records = site.world()["sections"].index("by_project", _of_project).present(gid)
    return _listing(site, request, records, path=f"/projects/{gid}/sections")


async def list_stories(site: Site, request: Request) -> Response:
    """GET /tasks/{gid}/stories: what the system notes, without author at creation, and comments."""
    check_token(site, request)
    task = _require(site.world()["tasks"], request.path_params["gid"], "task").data
    return _listing(site, request, stories_of(task, site.world()[COMMENTS]), path=f"/tasks/{task['gid']}/stories")


async def get_object(site: Site, request: Request) -> Response:
    """GET /tasks/{gid}, /projects/{gid} or /users/{gid}: the full record."""
    check_token(site, request)
    kind = request.url.path.removeprefix(BASE).split("/")[1]
    record = _require(site.world()[kind], request.path_params["gid"], kind[:-1])
    variant, view = viewer(request, full=True)
    return text_reply(f'{{"data":{record.text(variant, view)}}}')


ROUTES: Final = [
    Route(BASE + path, endpoint(handler))
    for path, handler in (
        ("/tasks", list_tasks),
        ("/projects/{gid}/tasks", list_project_tasks),
        ("/tasks/{gid}", get_object),
        ("/tasks/{gid}/subtasks", list_subtasks),
        ("/tasks/{gid}/stories", list_stories),
        ("/projects", list_projects),
        ("/projects/{gid}", get_object),
        ("/projects/{gid}/sections", list_sections),
        ("/users", list_users),
        ("/users/{gid}", get_object),
        ("/workspaces", list_workspaces),
        ("/workspaces/{gid}/users", list_users),
        ("/workspaces/{gid}/projects", list_projects),
    )
]
