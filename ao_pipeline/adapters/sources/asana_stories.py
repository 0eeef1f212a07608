"""Stories of Asana tasks: those of tasks that the stored `raw/asana_tasks` shows as new or changed, a bounded number a time.

1. Without a changed task nothing is asked (`test_a_quiet_collection_asks_nothing`).
2. A task that was not asked for yet is asked for later (`test_what_is_over_the_bound_is_collected_later`).
3. Stories go with their task, or when the task's own listing lacks them (`test_a_deleted_task_takes_its_stories_along`).

Source: Asana API 1.0, `GET /tasks/{gid}/stories`, which has no filter by time; `Task.modified_at`, which a story that is
created or trashed moves, and an edited comment does not: an edit is seen with the task's next change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.adapters.sources.asana import PAGE_SIZE
from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import absent_keys, collected, key_table, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import asana_records
from ao_pipeline.clock import to_iso, to_micros
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.overlap import MAX_REMEMBERED
from ao_pipeline.collect.parse.asana import parse_story
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_ASANA_STORIES, RAW_ASANA_TASKS
from ao_pipeline.errors import AoError

MAX_TASKS: Final = 500
"""Tasks asked for in one collection: twenty seconds at the limit of a paid plan, so 12,000 a day."""

_PORTION: Final = 50
"""Tasks asked for between two looks at the time: under half of it left, the rest waits, as a slow or small plan needs."""

_LATE: Final = timedelta(hours=24)
"""How much later than others a change may come into `raw/asana_tasks`; its collector sets records aside for less."""


_CHECKED_EVERY: Final = timedelta(hours=24)
"""How often all stored stories are compared with all tasks, whatever the numbers say."""


@dataclass(frozen=True)
class _Plan:
    """Whom to ask for, in order.

    Attributes:
        wanted: Gids of the tasks whose stories are not stored, or out of date.
        known: Gids of the tasks that were read before; the others are found again by not being among them.
        stored: Keys and tasks of the stored stories that may have to go.
        present: Gids of all tasks; None where no task can have gone.
    """

    wanted: list[str]
    known: set[str]
    stored: pa.Table
    present: set[str] | None


def collect_stories(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_stories` of tasks that are new or changed, and delete those of tasks that are gone."""
    spec, drift = RAW_ASANA_STORIES, Drift()
    tasks = request.stored_table(RAW_ASANA_TASKS.asset, ("modified_at",))
    cursor = dict(request.cursor or {})
    digest = _digest(tasks)
    if cursor.get("tasks") == digest:
        return Collected(spec.empty(), is_full=False, deleted=spec.key_schema.empty_table(), cursor=cursor)
    plan = _plan_few(request, tasks) or _plan_all(request, tasks)
    batch = Batch(spec, contracts.STORY, parse_story, drift)
    with request.open("asana") as client:
        answers = _ask(client, plan.wanted[:MAX_TASKS])
        read = [gid for gid, records in answers.items() if records is not None]
        for gid in read:
            for record in answers[gid] or ():
                batch.add(record, scope={"task_gid": gid})
        rows = batch.table()
        unknown = [gid for gid, records in answers.items() if records is None]
        left = [gid for gid in plan.wanted if gid not in answers]
        for _ in unknown:
            drift.add("asana.stories.unknown_task")
        new_cursor: Cursor = {
            "generation": request.generation() + ("seen" not in cursor),
            **_seen(tasks, request.now),
            "pending": [*(gid for gid in left if gid in plan.known), *unknown],
            "bare": _bare(cursor, read, with_rows=set(rows.column("task_gid").to_pylist()), plan=plan),
            "tasks": digest if not left and not unknown else "",
            # Nothing waits, so whatever is not among the changes was read.
            "task_count": tasks.num_rows if not left and not unknown else None,
            "checked_at": to_iso(request.now) if plan.present is not None else cursor.get("checked_at"),
        }
        return collected(
            client,
            spec,
            rows,
            cursor=next_cursor(request, batch, new_cursor, empty={"generation": 0}),
            drift=drift,
            deleted=_deleted(request, batch, plan, read=read),
            quarantined=batch.quarantined,
        )


def _plan_few(request: CollectionRequest, tasks: pa.Table) -> _Plan | None:
    """Plan by the tasks that changed lately alone, or return None because more than they may have come or gone.

    That is the case when something waits, when the number of tasks is not explained by the new ones among the changed
    ones, and once a day: a task may come late while another goes.
    """
    cursor = request.cursor or {}
    checked_at = cursor.get("checked_at")
    if cursor.get("task_count") is None or not cursor.get("seen") or not checked_at:
        return None
    if request.now - datetime.fromisoformat(str(checked_at)) >= _CHECKED_EVERY:
        return None
    times, recent = _times(_after(tasks, datetime.fromisoformat(str(cursor["seen"])))), cursor.get("recent", {})
    changed = _newest({gid: at for gid, at in times.items() if recent.get(gid) != to_iso(at)})
    if len(changed) > MAX_TASKS:
        return None
    stored = request.stored_table(RAW_ASANA_STORIES.asset, ("task_gid",), only=changed)
    known = {*stored.column("task_gid").to_pylist(), *cursor.get("bare", ())}
    if tasks.num_rows != cursor["task_count"] + len(set(changed) - known):
        return None
    return _Plan(changed, known, stored, None)


def _plan_all(request: CollectionRequest, tasks: pa.Table) -> _Plan:
    """Put what waits first, then what changed, then what was never read, the newest first."""
    cursor = request.cursor or {}
    stored = request.stored_table(RAW_ASANA_STORIES.asset, ("task_gid",))
    present = set(tasks.column("task_gid").to_pylist())
    recent = cursor.get("recent", {})
    known = {*stored.column("task_gid").unique().to_pylist(), *cursor.get("bare", ())}
    later = _after(tasks, datetime.fromisoformat(str(cursor["seen"]))) if cursor.get("seen") else tasks
    changed = {gid: at for gid, at in _times(later).items() if gid in known and recent.get(gid) != to_iso(at)}
    wanted = [gid for gid in cursor.get("pending", ()) if gid in present]
    wanted += _newest(changed)
    if not present <= known:
        unread = tasks.filter(pc.invert(pc.is_in(tasks.column("task_gid"), pa.array(sorted(known), pa.large_string()))))
        wanted += _newest(dict(zip(*(column.to_pylist() for column in unread.columns), strict=True)))
    return _Plan(list(dict.fromkeys(wanted)), known, stored, present)


def _after(tasks: pa.Table, instant: datetime) -> pa.Table:
    return tasks.filter(pc.greater(tasks.column("modified_at"), pa.scalar(instant, pa.timestamp("us", "UTC"))))


def _times(tasks: pa.Table) -> dict[str, datetime]:
    """Return the modified times of the tasks that have one."""
    pairs = zip(tasks.column("task_gid").to_pylist(), tasks.column("modified_at").to_pylist(), strict=True)
    return {gid: at for gid, at in pairs if at is not None}


def _newest(times: Mapping[str, datetime | None]) -> list[str]:
    return sorted(times, key=lambda gid: (_micros(times[gid]), gid), reverse=True)


def _ask(client: SourceClient, wanted: list[str]) -> dict[str, list[dict[str, Any]] | None]:
    """Return the stories by task of as many tasks as there is time for."""
    answers: dict[str, list[dict[str, Any]] | None] = {}
    for start in range(0, len(wanted), _PORTION):
        if start and client.budget.remaining_seconds() < client.budget.seconds / 2:
            break
        portion = wanted[start : start + _PORTION]
        answers.update(zip(portion, client.each(lambda gid: _list_stories(client, gid), portion), strict=True))
    return answers


def _list_stories(client: SourceClient, gid: str) -> list[dict[str, Any]] | None:
    """Return a task's stories, None when Asana does not know the task."""
    params: Params = {"limit": PAGE_SIZE, "opt_fields": contracts.STORY_FIELDS}
    try:
        return asana_records(client, contracts.STORIES_PAGE, f"/tasks/{quote(gid, safe='')}/stories", params)
    except AoError as error:
        if error.details.get("status") == 404:
            return None  # Probably deleted; its stories stay until the listing of all tasks says so, and it is asked again.
        raise name_culprit(error, f"task {gid}") from error


def _seen(tasks: pa.Table, now: datetime) -> Cursor:
    """Return the time up to which every change was seen, and the later changes one by one."""
    last: datetime | None = pc.max(tasks.column("modified_at")).as_py()
    if last is None:
        return {"seen": None, "recent": {}}
    # A modified time of the future must not hide the changes of the present.
    seen = min(last, now) - _LATE
    later = sorted(((at, gid) for gid, at in _times(_after(tasks, seen)).items()), reverse=True)
    if len(later) > MAX_REMEMBERED:
        seen = later[MAX_REMEMBERED][0]
    seen = datetime.fromisoformat(to_iso(seen))  # As the cursor keeps it: milliseconds.
    return {"seen": to_iso(seen), "recent": {gid: to_iso(at) for at, gid in later if at > seen}}


def _bare(cursor: Cursor, read: list[str], *, with_rows: set[str], plan: _Plan) -> list[str]:
    """Return the tasks that were read and have no row, which is rare: else they would look as if never read."""
    bare = (set(cursor.get("bare", ())) - set(read)) | (set(read) - with_rows)
    return sorted(bare if plan.present is None else bare & plan.present)


def _deleted(request: CollectionRequest, batch: Batch, plan: _Plan, *, read: list[str]) -> pa.Table:
    """Return the stored stories whose task is gone, or whose task was read and has them no more."""
    spec, stored = RAW_ASANA_STORIES, plan.stored
    owners = stored.column("task_gid")
    goes = pc.is_in(owners, value_set=pa.array(read, owners.type))
    if plan.present is not None:
        goes = pc.or_(goes, pc.invert(pc.is_in(owners, value_set=pa.array(sorted(plan.present), owners.type))))
    kept = key_table(spec, {key[-1:] for key in batch.keys | batch.quarantined_keys})
    deleted = absent_keys(spec, stored.filter(goes), kept)
    # The stories of a few tasks may halve: somebody tidied up.
    if plan.present is not None:
        request.check_volume(stored.num_rows, stored.num_rows - deleted.num_rows + len(batch), what=spec.name)
    return deleted


def _digest(tasks: pa.Table) -> str:
    """Return a digest of which tasks there are and when each changed."""
    ordered = tasks.select(["task_gid", "modified_at"]).sort_by("task_gid")
    times = ordered.column("modified_at").cast(pa.int64()).fill_null(0).to_numpy()
    digest = blake2b("\n".join(ordered.column("task_gid").to_pylist()).encode(), digest_size=16)
    digest.update(times.tobytes())
    return digest.hexdigest()


def _micros(at: datetime | None) -> int:
    return 0 if at is None else to_micros(at)
