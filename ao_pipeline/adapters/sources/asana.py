"""Asana users and projects: small, without a filter for changes, so listed in full; many projects less often than few."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.outcome import collected, full_listing
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import asana_records
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.parse.asana import parse_project, parse_user
from ao_pipeline.collect.result import Collected, Drift
from ao_pipeline.collect.tables import RAW_ASANA_PROJECTS, RAW_ASANA_USERS
from ao_pipeline.cycle import CYCLE_MINUTES

PAGE_SIZE: Final = 100
"""Asana's largest page."""


PAGES_A_COLLECTION: Final = 5
"""Pages of projects that one collection lists, on average: up to 500 are listed each time, 1,000 every second time."""

SELDOMEST: Final = timedelta(hours=1)
"""How late at most a project's change is seen, however many there are."""


def collect_users(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_users`."""
    drift = Drift()
    batch = Batch(RAW_ASANA_USERS, contracts.USER, parse_user, drift)
    with request.open("asana") as client:
        for record in list_users(client, request, fields=contracts.USER_FIELDS):
            batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_ASANA_USERS, batch, cursor=cursor, drift=drift)


def collect_projects(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_projects`, archived ones included: all of them when they are due, else only whether Asana answers."""
    drift = Drift()
    batch = Batch(RAW_ASANA_PROJECTS, contracts.PROJECT, parse_project, drift)
    with request.open("asana") as client:
        if not _are_projects_due(request) and _has_projects(client, request):
            cursor = dict(request.cursor or {})
            return collected(client, RAW_ASANA_PROJECTS, RAW_ASANA_PROJECTS.empty(), cursor=cursor, drift=drift)
        projects = list_projects(client, request, fields=contracts.PROJECT_FIELDS)
        for record in projects:
            key = batch.add(record)
            color = (record.get("current_status") or {}).get("color") if key else None
            if isinstance(color, str) and color not in contracts.STATUS_COLORS:
                drift.add(f"asana.project.unknown_value:status_color={color[:64]}")
        cursor = {
            "generation": request.generation() + 1,
            "listed_at": to_iso(request.now),
            # As many as there are, not as were asked: a listing that had to start afresh asked for more.
            "pages": -(-len(projects) // PAGE_SIZE),
        }
        return full_listing(request, client, RAW_ASANA_PROJECTS, batch, cursor=cursor, drift=drift)


def _are_projects_due(request: CollectionRequest) -> bool:
    """Return whether as many collections went by since the last listing as its pages are worth."""
    cursor = request.cursor or {}
    if "listed_at" not in cursor or request.accepts_drop:
        return True
    interval = min(SELDOMEST, timedelta(minutes=CYCLE_MINUTES) * -(-int(cursor["pages"]) // PAGES_A_COLLECTION))
    # A cycle that is computed again is listed again.
    return not timedelta(0) < request.now - datetime.fromisoformat(str(cursor["listed_at"])) < interval


def _has_projects(client: SourceClient, request: CollectionRequest) -> bool:
    """Ask for one project: a source that is away, or says that there are none, must not pass for one without news."""
    params: Params = {"workspace": request.settings.asana_workspace_gid, "limit": 1}
    answer = client.get(contracts.PROJECTS_PAGE.operation, "/projects", params)
    return bool(contracts.PROJECTS_PAGE.records(answer.body))


def list_users(client: SourceClient, request: CollectionRequest, *, fields: str) -> list[dict[str, Any]]:
    """Return every user of the workspace."""
    params: Params = {"workspace": request.settings.asana_workspace_gid, "limit": PAGE_SIZE, "opt_fields": fields}
    return asana_records(client, contracts.USERS_PAGE, "/users", params)


def list_projects(client: SourceClient, request: CollectionRequest, *, fields: str) -> list[dict[str, Any]]:
    """Return every project of the workspace; without `archived` Asana lists both kinds."""
    params: Params = {"workspace": request.settings.asana_workspace_gid, "limit": PAGE_SIZE, "opt_fields": fields}
    return asana_records(client, contracts.PROJECTS_PAGE, "/projects", params)
