"""Google Tasks: lists in full, tasks by time of change; deleted ones come as tombstones while Google keeps them.

Tombstones are not kept for ever and a task moved to another list leaves none, so once a day everything is listed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import collected, full_listing, key_table, left_scopes, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import workspace as contracts
from ao_pipeline.collect.overlap import drop_seen, remember
from ao_pipeline.collect.parse.workspace import parse_list, parse_task
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.values import BadValueError, as_instant
from ao_pipeline.collect.workspace_tables import RAW_GTASKS_LISTS, RAW_GTASKS_TASKS
from ao_pipeline.errors import AoError, ContractError

PAGE_SIZE: Final = 100
"""Google Tasks' largest page; the default is twenty."""

RELIST_EVERY: Final = timedelta(hours=24)
"""How long a task that left without a tombstone may stay."""

_SHOWN: Final[Params] = {
    "maxResults": PAGE_SIZE,
    "showAssigned": "true",
    "showCompleted": "true",
    "showDeleted": "true",
    "showHidden": "true",
}
"""Without `showHidden`, tasks that were completed in Google's own applications are missing."""


def collect_lists(request: CollectionRequest) -> Collected:
    """Collect `raw/gtasks_lists`."""
    drift = Drift()
    batch = Batch(RAW_GTASKS_LISTS, contracts.LIST, parse_list, drift)
    with request.open("gtasks") as client:
        for record in _list_lists(client):
            batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_GTASKS_LISTS, batch, cursor=cursor, drift=drift)


def collect_tasks(request: CollectionRequest) -> Collected:
    """Collect `raw/gtasks_tasks`."""
    spec, known = RAW_GTASKS_TASKS, _fresh_cursor(request)
    drift = Drift()
    batch = Batch(spec, contracts.TASK, parse_task, drift)
    with request.open("gtasks") as client:
        lists = [record["id"] for record in _list_lists(client)]
        watermark = request.watermark(client.first_server_time)
        gone: dict[Key, Any] = {}
        for list_id, records in zip(lists, client.each(lambda name: _read(client, name, known), lists), strict=True):
            for record in records:
                if record.get("deleted") is True:
                    gone[list_id, record["id"]] = record.get("updated")
                else:
                    batch.add(record, scope={"list_id": list_id})
        rows = batch.table()
        new_cursor: Cursor = {
            "generation": request.generation() + (not known),
            "watermark": to_iso(watermark),
            "listed_at": known["listed_at"] if known else to_iso(request.now),
            "lists": lists,
            "seen": remember(rows, key="task_id", changed_at="updated_at", since=watermark),
            "gone": sorted([*key] for key, updated in gone.items() if _is_after(updated, watermark)),
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        if not known:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        left = left_scopes(request, spec, known=known["lists"], present=lists, column="list_id")
        deleted = set(gone) - {(list_id, task_id) for list_id, task_id in known["gone"]}
        deleted.update(zip(*(column.to_pylist() for column in left.columns), strict=True))
        return collected(
            client,
            spec,
            drop_seen(rows, key="task_id", seen=known["seen"]),
            cursor=cursor,
            drift=drift,
            deleted=key_table(spec, deleted - batch.keys - batch.quarantined_keys),
            quarantined=batch.quarantined,
        )


def _fresh_cursor(request: CollectionRequest) -> Mapping[str, Any]:
    """Return the cursor, or nothing when the last full listing is too long ago."""
    cursor = request.cursor or {}
    if "watermark" not in cursor:
        return {}
    age = request.now - datetime.fromisoformat(str(cursor["listed_at"]))
    return cursor if age < RELIST_EVERY else {}


def _list_lists(client: SourceClient) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for page in google_pages(client, contracts.LISTS_PAGE, "/users/@me/lists", {"maxResults": PAGE_SIZE}):
        found.update((record["id"], record) for record in page.records)
    if not found:
        # Everybody has a default list, which cannot be deleted.
        raise ContractError("tasks.tasklists.list: no list at all; the listing was refused")
    return list(found.values())


def _read(client: SourceClient, list_id: str, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    is_known = list_id in known.get("lists", ())
    params: Params = {**_SHOWN, **({"updatedMin": str(known["watermark"])} if is_known else {})}
    path = f"/lists/{quote(list_id, safe='@')}/tasks"
    try:
        pages = google_pages(client, contracts.TASKS_PAGE, path, params)
        return [record for page in pages for record in page.records]
    except AoError as error:
        raise name_culprit(error, f"task list {list_id}") from error


def _is_after(updated: Any, watermark: datetime) -> bool:
    try:
        changed_at = as_instant(updated, "updated")
    except BadValueError:
        return True
    return changed_at is None or changed_at >= watermark
