"""Asana's search for tasks: the whole workspace in one question, at most a hundred answers, no pages, a little late."""

from __future__ import annotations

from itertools import islice
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.sandbox.replies import join_objects, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.asana import BASE, asana_error, check_token, instant, require_workspace
from ao_pipeline.sandbox.vendors.asana_fields import viewer
from ao_pipeline.sandbox.world.records import Record

_MOST: Final = 100
_KNOWN: Final = frozenset({"modified_at.after", "modified_at.before", "sort_by", "sort_ascending", "opt_fields"})


def _place(task: Record) -> list[tuple[str, str]]:
    return [("", f"{task.at:020d}")]


async def search_tasks(site: Site, request: Request) -> Response:
    """GET /workspaces/{gid}/tasks/search: by time of modification only, subtasks and finished tasks included."""
    check_token(site, request)
    require_workspace(site, request.path_params["gid"])
    if not site.options.asana_is_paid:
        raise asana_error(402, "Search is only available to premium users.")
    if foreign := sorted(set(request.query_params) - _KNOWN):
        raise asana_error(400, f"The sandbox does not search by {foreign[0]}.")
    if request.query_params.get("sort_by", "modified_at") != "modified_at":
        raise asana_error(400, "The sandbox sorts by modified_at only.")
    after, before = instant(request, "modified_at.after"), instant(request, "modified_at.before")
    # Times count in milliseconds, as the answers show them.
    low = -1 if after is None else after // 1000
    indexed = site.clock.micros() - int(site.options.asana_search_lag_seconds * 1_000_000)
    is_ascending = request.query_params.get("sort_ascending", "").lower() == "true"
    tasks = site.world()["tasks"].index("by_modified", _place)
    found = (
        task
        for task in tasks.walk(
            "", after=(f"{low * 1000 + 999:020d}", "") if is_ascending else None, is_descending=not is_ascending
        )
        if not task.is_dropped
        and task.at // 1000 > low
        and task.at <= indexed
        and (before is None or task.at // 1000 < before // 1000)
    )
    variant, view = viewer(request)
    return text_reply(f'{{"data":{join_objects(task.text(variant, view) for task in islice(found, _MOST))}}}')


ROUTES: Final = [Route(BASE + "/workspaces/{gid}/tasks/search", endpoint(search_tasks))]
