"""Asana tasks: listed by project and by assignee, subtasks through their parents, deletions by a daily key check.

1. A key vanishes only after a complete listing of keys (`test_a_failed_project_deletes_nothing`).
2. A task in two projects is one row (`test_the_first_collection_equals_the_truth`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.asana import PAGE_SIZE, list_projects, list_users
from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import absent_keys, collected, full_listing, key_table, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import asana_records
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.overlap import drop_seen, remember
from ao_pipeline.collect.parse.asana import parse_task
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_ASANA_TASKS
from ao_pipeline.errors import AoError, ContractError

RECONCILE_EVERY: Final = timedelta(hours=24)
"""How long a deleted task may stay: Asana's change filter does not show deletions, so all keys are listed again."""

MAX_SUBTASK_DEPTH: Final = 6
"""Asana nests subtasks five deep; deeper is a loop."""

_KEY_FIELDS: Final = "num_subtasks,assignee"
_UNREADABLE: Final = frozenset({400, 403, 404})

Listing = dict[str, str]


@dataclass
class _Reading:
    """One collection under way."""

    client: SourceClient
    request: CollectionRequest
    batch: Batch
    listed: set[str] = field(default_factory=set)
    """Every gid that was seen, quarantined ones included."""
    users: set[str] = field(default_factory=set)
    former: set[str] = field(default_factory=set)
    """Assignees who are no users of the workspace any more; tasks without a project are found by gid only."""


def collect_tasks(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_tasks`: in full without a cursor, else what changed since its watermark."""
    drift = Drift()
    batch = Batch(RAW_ASANA_TASKS, contracts.TASK, parse_task, drift)
    with request.open("asana") as client:
        reading = _Reading(client, request, batch)
        listings = _listings(reading)
        cursor = request.cursor
        if not cursor or "watermark" not in cursor:
            return _collect_all(reading, listings, drift)
        changed = _list_tasks(reading, listings, contracts.TASK_FIELDS, modified_since=str(cursor["watermark"]))
        _walk_subtasks(reading, _parents(changed))
        deleted = None
        reconciled_at = str(cursor["reconciled_at"])
        if request.now - datetime.fromisoformat(reconciled_at) >= RECONCILE_EVERY:
            deleted = _reconcile(reading, listings)
            reconciled_at = to_iso(request.now)
        rows = batch.table()
        fresh = drop_seen(rows, key="task_gid", seen=cursor.get("seen", {}))
        return collected(
            client,
            RAW_ASANA_TASKS,
            fresh,
            cursor=_cursor(reading, rows, generation=request.generation(), reconciled_at=reconciled_at),
            drift=drift,
            deleted=deleted,
            quarantined=batch.quarantined,
        )


def _collect_all(reading: _Reading, listings: list[Listing], drift: Drift) -> Collected:
    found = _list_tasks(reading, listings, contracts.TASK_FIELDS, modified_since=None)
    _walk_subtasks(reading, _parents(found))
    request = reading.request
    cursor = _cursor(
        reading, reading.batch.table(), generation=request.generation() + 1, reconciled_at=to_iso(request.now)
    )
    return full_listing(request, reading.client, RAW_ASANA_TASKS, reading.batch, cursor=cursor, drift=drift)


def _cursor(reading: _Reading, rows: Any, *, generation: int, reconciled_at: str) -> Cursor:
    watermark = reading.request.watermark(reading.client.first_server_time)
    cursor = {
        "generation": generation,
        "watermark": to_iso(watermark),
        "reconciled_at": reconciled_at,
        "former_assignees": sorted(reading.former),
        "seen": remember(rows, key="task_gid", changed_at="modified_at", since=watermark),
    }
    return next_cursor(reading.request, reading.batch, cursor, empty={"generation": 0})


def _listings(reading: _Reading) -> list[Listing]:
    """Return the filters that together reach every task that is in a project or has an assignee."""
    projects = list_projects(reading.client, reading.request, fields=contracts.KEY_FIELDS)
    users = list_users(reading.client, reading.request, fields=contracts.KEY_FIELDS)
    reading.users = {user["gid"] for user in users}
    reading.former = set((reading.request.cursor or {}).get("former_assignees", ())) - reading.users
    return [
        *({"project": project["gid"]} for project in projects),
        *(_by_assignee(reading, gid) for gid in sorted(reading.users | reading.former)),
    ]


def _by_assignee(reading: _Reading, gid: str) -> Listing:
    return {"assignee": gid, "workspace": reading.request.settings.asana_workspace_gid}


def _list_tasks(
    reading: _Reading, listings: list[Listing], fields: str, *, modified_since: str | None
) -> list[dict[str, Any]]:
    """Read all listings on several threads, and those of former users that turn up; add full records to the batch."""
    found: dict[str, dict[str, Any]] = {}
    while listings:
        call = partial(_read_listing, reading, fields=fields, modified_since=modified_since)
        for records in reading.client.each(call, listings):
            found.update((record["gid"], record) for record in records)
        strangers = _assignees(found.values()) - reading.users - reading.former
        reading.former |= strangers
        # Without a time: none of their tasks was ever listed.
        listings, modified_since = [_by_assignee(reading, gid) for gid in sorted(strangers)], None
    if fields == contracts.TASK_FIELDS:
        _add(reading, found.values())
    reading.listed.update(found)
    return list(found.values())


def _read_listing(
    reading: _Reading, listing: Listing, *, fields: str, modified_since: str | None
) -> list[dict[str, Any]]:
    extra = {"modified_since": modified_since} if modified_since else {}
    params: Params = {**listing, **extra, "limit": PAGE_SIZE, "opt_fields": fields}
    try:
        return asana_records(reading.client, contracts.TASKS_PAGE, "/tasks", params)
    except AoError as error:
        if listing.get("assignee") in reading.former and error.details.get("status") in _UNREADABLE:
            return []  # Asana may refuse to list a person who left; what is in projects was listed there.
        culprit = f"project {listing['project']}" if "project" in listing else f"assignee {listing['assignee']}"
        raise name_culprit(error, culprit) from error


def _assignees(records: Iterable[dict[str, Any]]) -> set[str]:
    people = (record.get("assignee") for record in records)
    gids = (person.get("gid") for person in people if isinstance(person, dict))
    return {gid for gid in gids if isinstance(gid, str) and gid}


def _walk_subtasks(reading: _Reading, parents: list[str]) -> None:
    """Read the subtasks of `parents`, level by level, with all their fields."""
    walked: set[str] = set()
    for _ in range(MAX_SUBTASK_DEPTH):
        parents = [gid for gid in parents if gid not in walked]
        if not parents:
            return
        walked.update(parents)
        found: list[dict[str, Any]] = []
        for records in reading.client.each(lambda gid: _read_subtasks(reading, gid), parents):
            found.extend(records)
        _add(reading, found)
        reading.listed.update(record["gid"] for record in found)
        parents = _parents(found)
    if parents:
        raise ContractError(f"asana.subtasks.list: subtasks nest deeper than {MAX_SUBTASK_DEPTH} levels; refused")


def _read_subtasks(reading: _Reading, gid: str) -> list[dict[str, Any]]:
    params: Params = {"limit": PAGE_SIZE, "opt_fields": contracts.TASK_FIELDS}
    try:
        return asana_records(reading.client, contracts.SUBTASKS_PAGE, f"/tasks/{quote(gid, safe='')}/subtasks", params)
    except AoError as error:
        if error.details.get("status") == 404:
            return []  # Deleted since it was listed; its subtasks went with it.
        raise name_culprit(error, f"task {gid}") from error


def _reconcile(reading: _Reading, listings: list[Listing]) -> Any:
    """List every key, fetch rows that the store lacks, and return the stored keys that are gone."""
    known = _list_tasks(reading, listings, _KEY_FIELDS, modified_since=None)
    _walk_subtasks(reading, _parents(known))
    stored = reading.request.stored_keys()
    reading.request.check_volume(stored.num_rows, len(reading.listed), what=RAW_ASANA_TASKS.name)
    stored_gids = set(stored.column("task_gid").to_pylist())
    have = stored_gids | {key[0] for key in reading.batch.keys | reading.batch.quarantined_keys}
    missed = sorted(reading.listed - have)
    _add(reading, [record for record in reading.client.each(lambda gid: _read_task(reading, gid), missed) if record])
    return absent_keys(RAW_ASANA_TASKS, stored, key_table(RAW_ASANA_TASKS, ((gid,) for gid in reading.listed)))


def _read_task(reading: _Reading, gid: str) -> dict[str, Any] | None:
    params = {"opt_fields": contracts.TASK_FIELDS}
    try:
        answer = reading.client.get("asana.tasks.get", f"/tasks/{quote(gid, safe='')}", params)
    except AoError as error:
        if error.details.get("status") == 404:
            return None
        raise
    record = answer.body.get("data") if isinstance(answer.body, dict) else None
    if not isinstance(record, dict) or record.get("gid") != gid:
        raise ContractError("asana.tasks.get: the answer has a foreign shape")
    return record


def _add(reading: _Reading, records: Iterable[dict[str, Any]]) -> None:
    for record in records:
        reading.batch.add(record)


def _parents(records: Iterable[dict[str, Any]]) -> list[str]:
    return [
        record["gid"]
        for record in records
        if isinstance(count := record.get("num_subtasks"), int) and not isinstance(count, bool) and count > 0
    ]
