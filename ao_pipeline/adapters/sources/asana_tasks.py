"""Asana tasks: what a search shows as changed, all projects and people in turn, subtasks through their parents.

1. A key vanishes only after a complete listing of keys (`test_a_failed_project_deletes_nothing`).
2. A task in two projects is one row (`test_the_first_collection_equals_the_truth`).
3. Every project and every person is listed once a sweep with what changed since it was listed last, whatever the search
   showed; without a search all of them are, each time (`test_what_the_search_does_not_show_is_seen_within_a_sweep`).
4. Deletions are told by nothing but a daily comparison of all keys. It compares modified times too, so that a sweep which
   many projects make longer than a day keeps nobody waiting (`test_a_daily_comparison_sees_what_no_search_and_no_sweep_showed`).
5. A slot counts as swept when each of its places was listed or is gone
   (`test_a_project_that_is_there_and_refused_is_an_error_and_passes_nothing_over`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from ao_pipeline.adapters.sources.asana_compare import MAX_CHANGED, otherwise_modified
from ao_pipeline.adapters.sources.asana_places import Places, list_places
from ao_pipeline.adapters.sources.asana_requests import (
    REFUSALS,
    Listing,
    list_subtasks,
    list_tasks,
    name_of,
    read_task,
)
from ao_pipeline.adapters.sources.asana_search import SearchUnusableError, changed_tasks
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.outcome import absent_keys, collected, full_listing, key_table, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import due_slots, slot_of, spread
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

_KEY_FIELDS: Final = "num_subtasks,assignee,modified_at"
_GONE: Final = frozenset({404})


@dataclass
class _Reading:
    """One collection under way."""

    client: SourceClient
    request: CollectionRequest
    batch: Batch
    listed: set[str] = field(default_factory=set)
    """Every gid that was seen, quarantined ones included."""
    modified: dict[str, Any] = field(default_factory=dict)
    """Modified times of what was listed by key alone, as Asana wrote them."""
    parents: list[str] = field(default_factory=list)
    """Tasks whose subtasks are still to be read."""
    places: Places = field(default_factory=Places)
    former: set[str] = field(default_factory=set)
    """Assignees who are no users of the workspace any more; tasks without a project are found by gid only."""
    strangers: set[str] = field(default_factory=set)
    """Assignees who turned up and are neither; their tasks are still to be listed."""
    refused: list[tuple[Listing, AoError]] = field(default_factory=list)
    """Listings of remembered places that Asana refused."""


def collect_tasks(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_tasks`: in full without a cursor, else what changed since it was asked last."""
    drift = Drift()
    batch = Batch(RAW_ASANA_TASKS, contracts.TASK, parse_task, drift)
    with request.open("asana") as client:
        reading = _Reading(client, request, batch)
        cursor = request.cursor
        if not cursor or "watermark" not in cursor:
            return _collect_all(reading, drift)
        reading.former = set(cursor.get("former_assignees", ()))
        swept = _collect_changes(reading, cursor, drift)
        deleted = None
        reconciled_at = str(cursor["reconciled_at"])
        if request.now - datetime.fromisoformat(reconciled_at) >= RECONCILE_EVERY:
            deleted = _reconcile(reading)
            reconciled_at = to_iso(request.now)
        rows = batch.table()
        fresh = drop_seen(rows, key="task_gid", seen=cursor.get("seen", {}))
        return collected(
            client,
            RAW_ASANA_TASKS,
            fresh,
            cursor=_cursor(reading, rows, swept, generation=request.generation(), reconciled_at=reconciled_at),
            drift=drift,
            deleted=deleted,
            quarantined=batch.quarantined,
        )


def _collect_changes(reading: _Reading, cursor: Mapping[str, Any], drift: Drift) -> list[str]:
    """Read what the search shows, and the listings whose turn has come; return since when each slot is swept."""
    request, watermark = reading.request, datetime.fromisoformat(str(cursor["watermark"]))
    _use(reading, Places.of(cursor, request) or list_places(reading.client, request))
    slots = reading.places.slots(request)
    known = [str(since) for since in cursor.get("swept", ())]
    due, swept = frozenset(range(slots)), spread(known, slots)
    if swept is None:  # The sweep's length was set otherwise, or nothing was swept yet.
        swept = [min([*known, to_iso(watermark)])] * slots
    else:
        try:
            workspace = request.settings.asana_workspace_gid
            for records in changed_tasks(reading.client, workspace, since=watermark, fields=contracts.TASK_FIELDS):
                _take(reading, records, is_whole=True)
            due = due_slots(datetime.fromisoformat(str(cursor["listed_at"])), request.now, slots)
        except SearchUnusableError:
            drift.add("asana.tasks.search_unusable")
    if len(due) == slots:
        _list_places(reading)
    listings, places_since = _listings(reading), reading.places.since
    for since in sorted({swept[slot] for slot in due}):
        asked = [one for one in listings if (slot := slot_of(name_of(one), slots)) in due and swept[slot] == since]
        _list_tasks(reading, asked, contracts.TASK_FIELDS, modified_since=since)
    _settle_refusals(reading, drift)
    _list_strangers(reading, contracts.TASK_FIELDS)
    _walk_subtasks(reading)
    _read_tasks(reading, set(cursor.get("unread", ())) - reading.listed, absent=REFUSALS)
    # A project that came after the projects were listed was not asked: its tasks are as old as that listing.
    now_swept = min(places_since, to_iso(request.watermark(reading.client.first_server_time)))
    return [now_swept if slot in due else since for slot, since in enumerate(swept)]


def _collect_all(reading: _Reading, drift: Drift) -> Collected:
    _list_places(reading)
    _list_tasks(reading, _listings(reading), contracts.TASK_FIELDS, modified_since=None)
    _list_strangers(reading, contracts.TASK_FIELDS)
    _walk_subtasks(reading)
    request = reading.request
    swept = [to_iso(request.watermark(reading.client.first_server_time))] * reading.places.slots(request)
    cursor = _cursor(
        reading,
        reading.batch.table(),
        swept,
        generation=request.generation() + 1,
        reconciled_at=to_iso(request.now),
    )
    return full_listing(request, reading.client, RAW_ASANA_TASKS, reading.batch, cursor=cursor, drift=drift)


def _cursor(reading: _Reading, rows: Any, swept: list[str], *, generation: int, reconciled_at: str) -> Cursor:
    watermark = reading.request.watermark(reading.client.first_server_time)
    cursor = {
        "generation": generation,
        "watermark": to_iso(watermark),
        "listed_at": to_iso(reading.request.now),
        "swept": swept,
        "reconciled_at": reconciled_at,
        "places": reading.places.as_cursor(reading.request),
        "former_assignees": sorted(reading.former),
        "seen": remember(rows, key="task_gid", changed_at="modified_at", since=watermark),
    }
    kept = next_cursor(reading.request, reading.batch, cursor, empty={"generation": 0})
    if kept is cursor or "reconciled_at" not in kept:
        return kept
    # A stretch that is read once more is none of all keys: what the comparison set aside is read by its gid instead.
    unread = sorted(gid for (gid,) in reading.batch.quarantined_keys)[:MAX_CHANGED]
    return {**kept, **{name: cursor[name] for name in ("reconciled_at", "former_assignees")}, "unread": unread}


def _use(reading: _Reading, places: Places) -> None:
    reading.places = places
    reading.former -= places.users


def _list_places(reading: _Reading) -> None:
    """List all projects and people, unless this collection has done so."""
    if not reading.places.is_complete:
        _use(reading, list_places(reading.client, reading.request))


def _listings(reading: _Reading) -> list[Listing]:
    """Return the filters that reach the tasks of the places: all tasks with a project or an assignee if it knows all."""
    return [
        *({"project": project} for project in reading.places.projects),
        *(_by_assignee(reading, gid) for gid in sorted(reading.places.users | reading.former)),
    ]


def _by_assignee(reading: _Reading, gid: str) -> Listing:
    return {"assignee": gid, "workspace": reading.request.settings.asana_workspace_gid}


def _list_tasks(reading: _Reading, listings: list[Listing], fields: str, *, modified_since: str | None) -> None:
    """Read listings on several threads; add full records to the batch."""
    call = partial(_read_listing, reading, fields=fields, modified_since=modified_since)
    for records in reading.client.in_turn(call, listings):
        _take(reading, records, is_whole=fields == contracts.TASK_FIELDS)


def _list_strangers(reading: _Reading, fields: str) -> None:
    """List the tasks of former users who turned up, without a time: none of their tasks was ever listed."""
    while reading.strangers:
        listings = [_by_assignee(reading, gid) for gid in sorted(reading.strangers)]
        reading.former |= reading.strangers
        reading.strangers = set()
        _list_tasks(reading, listings, fields, modified_since=None)


def _take(reading: _Reading, records: Iterable[dict[str, Any]], *, is_whole: bool) -> None:
    """Note what was listed; put whole records that were not there yet into the batch."""
    for record in records:
        person = record.get("assignee")
        gid = person.get("gid") if isinstance(person, dict) else None
        if isinstance(gid, str) and gid and gid not in reading.places.users and gid not in reading.former:
            reading.strangers.add(gid)
        if record["gid"] in reading.listed:
            continue
        reading.listed.add(record["gid"])
        count = record.get("num_subtasks")
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            reading.parents.append(record["gid"])
        if is_whole:
            reading.batch.add(record)
        else:
            reading.modified[record["gid"]] = record.get("modified_at")


def _read_listing(
    reading: _Reading, listing: Listing, *, fields: str, modified_since: str | None
) -> list[dict[str, Any]]:
    try:
        return list_tasks(reading.client, listing, fields=fields, modified_since=modified_since)
    except AoError as error:
        is_former = listing.get("assignee") in reading.former
        if error.details.get("status") not in REFUSALS or (reading.places.is_complete and not is_former):
            raise
        if not is_former:  # It may have gone within the hour.
            reading.refused.append((listing, error))
        return []  # Asana may refuse to list who left.


def _settle_refusals(reading: _Reading, drift: Drift) -> None:
    """Tell places that went since they were listed from those that are refused: a slot must not pass over their tasks.

    Raises:
        AoError: A place is still there, and its tasks cannot be listed.
    """
    if not reading.refused:
        return
    _list_places(reading)
    present = {name_of(one) for one in _listings(reading)}
    for listing, error in reading.refused:
        if name_of(listing) in present:
            raise error
        drift.add(f"asana.tasks.unknown_{'project' if 'project' in listing else 'user'}")


def _walk_subtasks(reading: _Reading) -> None:
    """Read the subtasks of the parents that were found, level by level, with all their fields."""
    for _ in range(MAX_SUBTASK_DEPTH):
        parents, reading.parents = reading.parents, []
        if not parents:
            return
        for records in reading.client.in_turn(partial(list_subtasks, reading.client), parents):
            _take(reading, records, is_whole=True)
    if reading.parents:
        raise ContractError(f"asana.subtasks.list: subtasks nest deeper than {MAX_SUBTASK_DEPTH} levels; refused")


def _reconcile(reading: _Reading) -> Any:
    """List every key, fetch rows that the store lacks or has otherwise, and return the stored keys that are gone."""
    _list_places(reading)
    _list_tasks(reading, _listings(reading), _KEY_FIELDS, modified_since=None)
    _list_strangers(reading, _KEY_FIELDS)
    _walk_subtasks(reading)
    stored = reading.request.stored_table(RAW_ASANA_TASKS.asset, ("modified_at",))
    reading.request.check_volume(stored.num_rows, len(reading.listed), what=RAW_ASANA_TASKS.name)
    stored_gids = set(stored.column("task_gid").to_pylist())
    taken = {key[0] for key in reading.batch.keys | reading.batch.quarantined_keys}
    changed = otherwise_modified(stored, reading.modified)
    missed = (reading.listed - stored_gids | changed) - taken
    _read_tasks(reading, missed, absent=_GONE)
    return absent_keys(RAW_ASANA_TASKS, stored, key_table(RAW_ASANA_TASKS, ((gid,) for gid in reading.listed)))


def _read_tasks(reading: _Reading, gids: set[str], *, absent: frozenset[int]) -> None:
    """Read tasks one by one; those that answer with a status of `absent` are left as they are."""
    for record in reading.client.in_turn(partial(read_task, reading.client, absent=absent), sorted(gids)):
        if record is not None:
            reading.batch.add(record)
