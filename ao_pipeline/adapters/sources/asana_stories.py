"""Stories of Asana tasks: those of tasks that the stored `raw/asana_tasks` shows as new or changed, a bounded number a time.

What changed is read from that table's bundles since the last collection; what was never read is walked through, the newest
first. Only where the bundles do not tell (`_compare`) are all tasks and stories looked at.

1. Without a changed task only the newest is asked for, which shows whether Asana answers (`test_a_quiet_collection_asks_for_one_task`).
2. A task that was not asked for yet is asked for later (`test_what_is_over_the_bound_is_collected_later`).
3. Stories go with their task, or when the task's own listing lacks them (`test_a_deleted_task_takes_its_stories_along`).
4. What changes or comes while older tasks are walked through is asked for at once (`test_a_walk_misses_no_change`).

Source: Asana API 1.0, `GET /tasks/{gid}/stories`, which has no filter by time; `Task.modified_at`, which a story that is
created or trashed moves, and an edited comment does not: an edit is seen with the task's next change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
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
from ao_pipeline.bundles.changes import ChangeSet
from ao_pipeline.clock import from_micros, to_iso, to_micros
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

_LATE: Final = timedelta(hours=48)
"""How much older than the newest row a change may be that comes into `raw/asana_tasks` later: what the search does not show
comes with the daily comparison, 24 hours and a collection after it, and what one comparison set aside with the next."""

Place = tuple[int, str]
"""A task's place in the walk: when it was modified, in microseconds, and its gid. The walk goes from high to low."""

_TOP: Final[Place] = (1 << 62, "")


@dataclass(frozen=True)
class _Plan:
    """Whom to ask for.

    Attributes:
        wanted: Gids of the tasks whose stories are not stored, or out of date, in order.
        gone: Gids of tasks that are not there any more.
        below: Where the walk through tasks that were never read goes on; None when it is done.
        walked: The next tasks of the walk, as many as fit, and their places.
        is_last: Whether no task is left behind `walked`.
    """

    wanted: list[str]
    gone: frozenset[str] = frozenset()
    below: Place | None = None
    walked: Mapping[str, Place] = field(default_factory=dict)
    is_last: bool = False


def collect_stories(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_stories` of tasks that are new or changed, and delete those of tasks that are gone."""
    spec, drift, cursor = RAW_ASANA_STORIES, Drift(), dict(request.cursor or {})
    # Before the tables are read, and before the mark: what changes after it is told again by the next collection.
    newest = _newest(request)
    since = request.changes_since(RAW_ASANA_TASKS.asset, str(cursor.get("mark", "")))
    plan = _with_walk(request, _compare(request) if since.changes is None else _follow(cursor, since.changes))
    if not plan.wanted and not plan.walked:
        plan = replace(plan, wanted=list(newest))
    batch = Batch(spec, contracts.STORY, parse_story, drift)
    with request.open("asana") as client:
        answers = _ask(client, list(dict.fromkeys([*plan.wanted, *plan.walked]))[:MAX_TASKS])
        for gid, records in answers.items():
            for record in records or ():
                batch.add(record, scope={"task_gid": gid})
        unknown = [gid for gid, records in answers.items() if records is None]
        for _ in unknown:
            drift.add("asana.stories.unknown_task")
        waiting = [*(gid for gid in plan.wanted if gid not in answers), *unknown]
        below = _next_place(plan, answers)
        if len(waiting) > MAX_REMEMBERED:  # More than a cursor should hold: they are found by walking all tasks again.
            waiting, below = [], _TOP
        new_cursor: Cursor = {
            "generation": request.generation() + (not cursor.get("mark")),
            "mark": since.mark,
            "pending": waiting,
            "below": below,
            "looked_at": _age(request, newest),
        }
        return collected(
            client,
            spec,
            batch.table(),
            cursor=next_cursor(request, batch, new_cursor, empty={"generation": 0}),
            drift=drift,
            deleted=_deleted(request, batch, plan, read=[gid for gid in answers if answers[gid] is not None]),
            quarantined=batch.quarantined,
        )


def _follow(cursor: Mapping[str, Any], changes: ChangeSet) -> _Plan:
    """Plan by what changed: first what waits, then tasks that came or were modified, the newest first."""
    before, after = (rows.table.column("modified_at") for rows in (changes.updated_before, changes.updated_after))
    moved = pc.fill_null(pc.not_equal(before, after), True)
    came = pa.concat_tables([changes.inserted.table, changes.updated_after.table.filter(moved)])
    gone = frozenset(changes.deleted.table.column("task_gid").to_pylist())
    wanted = [gid for gid in cursor.get("pending", ()) if gid not in gone]
    return _Plan(list(dict.fromkeys([*wanted, *_places(came)])), gone, _place_of(cursor))


def _compare(request: CollectionRequest) -> _Plan:
    """Plan without knowing what changed: all tasks are walked through, or those of an earlier collection are compared.

    Compared are the tasks that changed since shortly before the newest change known then, and those without any story.
    """
    cursor = request.cursor or {}
    looked_at = cursor.get("looked_at") or cursor.get("seen")
    if not looked_at:
        return _Plan([], below=_TOP)
    tasks = request.stored_table(RAW_ASANA_TASKS.asset, ("modified_at",))
    stored = request.stored_table(RAW_ASANA_STORIES.asset, ("task_gid",))
    places, owners = _places(tasks), set(stored.column("task_gid").unique().to_pylist())
    gone, since = frozenset(owners - places.keys()), to_micros(datetime.fromisoformat(str(looked_at)) - _LATE)
    wanted = [gid for gid in cursor.get("pending", ()) if gid in places]
    wanted += [gid for gid, (at, _) in places.items() if at >= since or gid not in owners]
    if _place_of(cursor) or len(wanted) > MAX_REMEMBERED:
        return _Plan([], gone, _TOP)
    return _Plan(list(dict.fromkeys(wanted)), gone)


def _newest(request: CollectionRequest) -> dict[str, Place]:
    """Return the task that was modified last, if there is one."""
    return _places(request.stored_table(RAW_ASANA_TASKS.asset, ("modified_at",), before=None, most=1))


def _age(request: CollectionRequest, newest: Mapping[str, Place]) -> str | None:
    """Return up to when the stored tasks tell changes. Our own clock moves on while their collections fail."""
    # A task of the future, which a file or a wrong clock may bring, tells nothing of the present.
    return to_iso(min(request.now, from_micros(max(newest.values())[0]))) if newest else None


def _with_walk(request: CollectionRequest, plan: _Plan) -> _Plan:
    """Fill what is left of a collection with the next tasks of the walk."""
    room = MAX_TASKS - len(plan.wanted)
    if plan.below is None or room <= 0:
        return plan
    before = None if plan.below == _TOP else (from_micros(plan.below[0]), plan.below[1])
    tasks = request.stored_table(RAW_ASANA_TASKS.asset, ("modified_at",), before=before, most=room)
    return replace(plan, walked=_places(tasks), is_last=tasks.num_rows < room)


def _next_place(plan: _Plan, answers: Mapping[str, Any]) -> Place | None:
    """Return where the walk goes on: after the last task before which all were asked for."""
    # Not after the last that was: a task that came late lies among them, and was asked for before them.
    asked = [place for _, place in takewhile(lambda one: one[0] in answers, plan.walked.items())]
    if plan.below is not None and plan.is_last and len(asked) == len(plan.walked):
        return None
    return asked[-1] if asked else plan.below


def _place_of(cursor: Mapping[str, Any]) -> Place | None:
    at, gid = cursor.get("below") or (None, "")
    return None if at is None else (int(at), str(gid))


def _places(tasks: pa.Table) -> dict[str, Place]:
    """Return the places of tasks, the newest first."""
    at = pc.fill_null(tasks.column("modified_at").cast(pa.int64()), 0).to_pylist()
    return {
        gid: (at, gid) for at, gid in sorted(zip(at, tasks.column("task_gid").to_pylist(), strict=True), reverse=True)
    }


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


def _deleted(request: CollectionRequest, batch: Batch, plan: _Plan, *, read: list[str]) -> pa.Table:
    """Return the stored stories whose task is gone, or whose task was read and has them no more."""
    spec = RAW_ASANA_STORIES
    stored = request.stored_table(spec.asset, ("task_gid",), only=None if plan.gone else read)
    owners = stored.column("task_gid")
    goes = pc.is_in(owners, value_set=pa.array([*read, *sorted(plan.gone)], owners.type))
    kept = key_table(spec, {key[-1:] for key in batch.keys | batch.quarantined_keys})
    deleted = absent_keys(spec, stored.filter(goes), kept)
    # The stories of a few tasks may halve: somebody tidied up. Where tasks went, all stories are counted.
    if plan.gone:
        request.check_volume(stored.num_rows, stored.num_rows - deleted.num_rows + len(batch), what=spec.name)
    return deleted
