"""The projects and people whose tasks are listed in turn: listed themselves once an hour, remembered in between.

The cursor keeps of the projects those alone whose turn comes before the next listing, so that it does not grow with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ao_pipeline.adapters.sources.asana import list_projects, list_users
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, widened
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.result import Cursor

LISTED_EVERY: Final = timedelta(hours=1)
"""How late a new project is noticed. Its tasks come by the search before that; without a search it is noticed at once."""

MOST_A_TURN: Final = 12
"""Projects and people whose tasks are listed in one collection, on average: more than 576 make a sweep of twelve hours longer."""


@dataclass(frozen=True)
class Places:
    """Projects and people of the workspace.

    Attributes:
        projects: Gids of the projects; of those whose turn comes within the hour, when they are remembered.
        users: Gids of the people.
        count: How many projects and people there are.
        listed_at: The collection that listed them.
        since: Changes before this instant were in that listing already.
        is_complete: Whether `projects` is all there are.
    """

    projects: tuple[str, ...] = ()
    users: frozenset[str] = frozenset()
    count: int = 0
    listed_at: str = ""
    since: str = ""
    is_complete: bool = False

    @classmethod
    def of(cls, cursor: Mapping[str, Any], request: CollectionRequest) -> Places | None:
        """Return what an earlier collection listed, None when that is an hour ago, or of a sweep of another length."""
        kept = cursor.get("places")
        if not kept or not timedelta(0) <= request.now - datetime.fromisoformat(kept["listed_at"]) < LISTED_EVERY:
            return None
        users = frozenset(map(str, kept["users"]))
        places = cls(tuple(kept["projects"]), users, int(kept["count"]), str(kept["listed_at"]), str(kept["since"]))
        # In other slots other projects have their turn, and those were not kept.
        return places if kept.get("slots") == places.slots(request) else None

    def slots(self, request: CollectionRequest) -> int:
        """Return the slots of the sweep."""
        slots = slot_count(timedelta(hours=request.settings.sweep_hours))
        return widened(slots, self.count, most=MOST_A_TURN)

    def as_cursor(self, request: CollectionRequest) -> Cursor:
        """Return what the collections of the next hour need of it."""
        slots, listed_at = self.slots(request), datetime.fromisoformat(self.listed_at)
        due = due_slots(listed_at, listed_at + LISTED_EVERY, slots)
        return {
            "projects": [gid for gid in self.projects if slot_of(gid, slots) in due],
            "users": sorted(self.users),
            "count": self.count,
            "slots": slots,
            "listed_at": self.listed_at,
            "since": self.since,
        }


def list_places(client: SourceClient, request: CollectionRequest) -> Places:
    """List the projects and people of the workspace."""
    projects = [project["gid"] for project in list_projects(client, request, fields=contracts.KEY_FIELDS)]
    users = frozenset(user["gid"] for user in list_users(client, request, fields=contracts.KEY_FIELDS))
    return Places(
        tuple(projects),
        users,
        len(projects) + len(users),
        to_iso(request.now),
        to_iso(request.watermark(client.first_server_time)),
        is_complete=True,
    )
