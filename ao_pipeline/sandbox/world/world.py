"""The world at an instant: every collection, moved forward by applying the changes that are due.

1. A world depends on nothing but agency, anchor and instant (`test_the_same_seed_and_instant_give_the_same_objects`).
2. Moving forward in one step or in many gives the same objects (`test_one_long_step_equals_many_short_ones`).
"""

from __future__ import annotations

import gc
import heapq
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.world import chats, ledger, mails, meetings, projects, tasks, workspace
from ao_pipeline.sandbox.world.agency import Agency
from ao_pipeline.sandbox.world.births import Births, schedule_births
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Action, Change, Collection, Json, Record
from ao_pipeline.sandbox.world.size import DAY_MICROS
from ao_pipeline.sandbox.world.stories import COMMENTS

_CHUNK: Final = DAY_MICROS
"""Births are planned a day ahead, so that few changes wait."""


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep the garbage collector from looking through millions of objects again and again: none of them is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _instant(change: Change) -> int:
    return change.at


def day_start(micros: int) -> int:
    """Return the UTC midnight at or before an instant."""
    return micros - micros % DAY_MICROS


class World:
    """All vendor objects of an agency at `now`."""

    def __init__(self, agency: Agency, *, anchor: int, now: int) -> None:
        """Build the world as it was at `anchor` and move it to `now`.

        Args:
            anchor: Microseconds of a UTC midnight; objects reach back one horizon of
                their kind from here, none vanishes later.
            now: Microseconds, not before `anchor`.
        """
        if now < anchor:
            raise ValueError(f"now {now} lies before the anchor {anchor}; anchor the world at an earlier midnight")
        self.agency = agency
        self.anchor = anchor
        self.now = anchor
        self.changes_applied = 0
        self.collections = {collection.name: collection for collection in _collections(agency)}
        self._kinds = _kinds(agency, anchor)
        # Day by day from the oldest horizon on: the whole history at once would need twice the memory.
        self._planned_until = anchor - max(kind.horizon_days for kind in self._kinds) * DAY_MICROS
        self._today: list[Change] = []
        self._later = sorted(_fixed(agency, anchor))  # A sorted list is a heap already.
        with _collector_at_rest():
            self.advance(now)

    def __getitem__(self, name: str) -> Collection:
        return self.collections[name]

    def advance(self, now: int) -> int:
        """Apply every change up to `now`; return how many there were."""
        before = self.changes_applied
        while self._planned_until <= now:
            self._drain(self._planned_until)
            self._planned_until += _CHUNK
            self._plan()
        self._drain(now)
        self.now = max(self.now, now)
        return self.changes_applied - before

    def mutate(self, collection: str, key: str, action: Action, fields: Json) -> bool:
        """Make an explicit change now; return false where the object does not allow it."""
        return self._apply(Change(self.now, collection, key, 0, action, fields))

    def _plan(self) -> None:
        """Put the day's changes in order: those of objects that are born today, and those that earlier ones have left."""
        for kind in self._kinds:
            for change in kind.until(self._planned_until):
                if change.at <= self._planned_until:
                    self._today.append(change)
                else:
                    heapq.heappush(self._later, change)
        while self._later and self._later[0].at <= self._planned_until:
            self._today.append(heapq.heappop(self._later))
        self._today.sort()

    def _drain(self, limit: int) -> None:
        cut = bisect_right(self._today, limit, key=_instant)
        for change in self._today[:cut]:
            self._apply(change)
        del self._today[:cut]

    def _apply(self, change: Change) -> bool:
        collection = self.collections[change.collection]
        done = collection.apply(change)
        self.changes_applied += done
        if done and change.collection == "projects" and "name" in change.fields:
            self._rename_in_tasks(change.key, change.fields["name"])
        return done

    def _rename_in_tasks(self, gid: str, name: str) -> None:
        for record in self.collections["tasks"].index("by_membership", _memberships_of).present(gid):
            for membership in record.data["memberships"]:
                if membership["project"]["gid"] == gid:
                    membership["project"]["name"] = name
                    record.forget_texts()

    def counts(self) -> dict[str, int]:
        """Return the number of present objects of each collection."""
        return {name: len(collection.records) for name, collection in sorted(self.collections.items())}


def _memberships_of(task: Record) -> list[tuple[str, str]]:
    return [(membership["project"]["gid"], "") for membership in task.data.get("memberships", ())]


def _collections(agency: Agency) -> list[Collection]:
    made = [Collection(name) for name in ("users", "sections", COMMENTS, "spaces", "memberships", "calendars")]
    made += [Collection(name, stamp=stamp_asana) for name in ("projects", "tasks")]
    made += [Collection(name, stamp=ledger.stamp_xero) for name in ("contacts", "invoices", "payments", "credit_notes")]
    made += [Collection(mails.mail_collection(box), stamp=stamp_gmail, keeps_history=True) for box in agency.mailboxes]
    made += [Collection(meetings.event_collection(item), stamp=stamp_event) for item, _ in agency.calendars]
    made += [Collection(chats.chat_collection(space)) for space, _ in agency.spaces]
    made += [
        Collection(workspace.TASK_LISTS),
        Collection(workspace.PEOPLE, stamp=workspace.stamp_person),
        Collection(workspace.FILES),
    ]
    lists = workspace.task_lists(agency)
    made += [Collection(workspace.task_collection(item["id"]), stamp=workspace.stamp_task) for item in lists]
    return made


def stamp_asana(data: Json, at: int, _sequence: int) -> None:
    """Write `modified_at`."""
    data["modified_at"] = to_iso(from_micros(at))


def stamp_gmail(data: Json, _at: int, sequence: int) -> None:
    """Write the message's history id."""
    data["historyId"] = str(sequence)


def stamp_event(data: Json, at: int, sequence: int) -> None:
    """Write `updated` and the etag."""
    data["etag"] = f'"{sequence}"'
    if data["status"] != "cancelled":
        data["updated"] = to_iso(from_micros(at))


def _kinds(agency: Agency, anchor: int) -> list[Births]:
    size = agency.size

    def kind(name: str, count: int, horizon_days: int, life: Any, family: int = 1) -> Births:
        return schedule_births(
            name,
            seed=agency.seed,
            count=count,
            horizon_days=horizon_days,
            anchor=anchor,
            life=lambda number, birth: life(agency, number, birth),
            family=family,
        )

    events = int(size.events / meetings.BIRTH_YIELD)
    return [
        kind("task", size.tasks, size.task_horizon_days, tasks.task_life, tasks.FAMILY),
        kind("project", *projects.RENAMES, projects.project_life),
        kind("section", *projects.SECTION_RENAMES, projects.section_life),
        kind("thread", size.mail_threads, size.mail_horizon_days, mails.thread_life),
        kind("chat", size.chat_messages, size.chat_horizon_days, chats.message_life),
        kind("membership", *chats.MEMBER_CHANGES, chats.membership_life),
        kind("event", events, size.event_horizon_days, meetings.event_life),
        kind("invoice", size.invoices, size.invoice_horizon_days, ledger.invoice_life),
        kind("gtask", size.google_tasks, size.google_task_horizon_days, workspace.google_task_life),
        kind("person", size.people, size.person_horizon_days, workspace.person_life),
        kind("file", size.files, size.file_horizon_days, workspace.file_life),
    ]


def _fixed(agency: Agency, anchor: int) -> list[Change]:
    """Return what is there from the beginning: people, projects, spaces, calendars, contacts."""
    changes: list[Change] = []

    def put(collection: str, key: str, data: Json) -> None:
        # Each has a day of its own in the year before the horizon, so that modified times differ.
        at = anchor - (400 + Draw(agency.seed, collection, key).below(300)) * DAY_MICROS
        at -= at % DAY_MICROS
        changes.append(Change(at, collection, key, 0, "put", data))

    for user in projects.users(agency):
        put("users", user["gid"], user)
    for project in projects.first_projects(agency):
        put("projects", project["gid"], project)
    for contact in ledger.contacts(agency):
        put("contacts", contact["ContactID"], contact)
    for name, title in agency.spaces:
        put("spaces", name, projects.space(name, title))
    for section in projects.sections(agency):
        put("sections", section["gid"], section)
    for item in workspace.task_lists(agency):
        put(workspace.TASK_LISTS, item["id"], item)
    for member in chats.first_memberships(agency):
        put("memberships", member["name"], member)
    for place, (calendar_id, summary) in enumerate(agency.calendars):
        put("calendars", calendar_id, projects.calendar(calendar_id, summary, is_primary=place == 0))
    return changes
