"""What people do at each upstream, drawn at random: create, edit, move, delete, restore. One function a kind of change."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from ao_pipeline_tests.sources.source_engine import SPECS, Engine

Json = dict[str, Any]
Act = Callable[["Hand"], bool]
"""One change; tells whether there was something to do it to."""

_KEYS: Final = ("gid", "InvoiceID", "resourceName", "id", "name")
_MARKS: Final = ("etag", "updated", "historyId", "modified_at", "kind")
"""What the sandbox writes itself."""


@dataclass
class Hand:
    """Somebody at work at one upstream."""

    engine: Engine
    asset: str
    kind: str
    draw: random.Random

    def alive(self) -> list[tuple[str, Json]]:
        """Return place and object of everything that can be changed."""
        # Chat tells neither edits nor deletions of older messages; the collector states its window.
        oldest = (self.engine.now - timedelta(days=5)).isoformat() if self.kind == "message" else ""
        return [
            (row["in"], row["object"])
            for row in self.engine.box.truth(SPECS[self.asset].name)
            if row["object"].get("status") != "cancelled"
            and "deleteTime" not in row["object"]
            and row["object"].get("createTime", "9") >= oldest
        ]

    def pick(self, fits: Callable[[Json], bool] = lambda _found: True) -> tuple[str, Json] | None:
        """Return one of them."""
        found = [item for item in self.alive() if fits(item[1])]
        return self.draw.choice(found) if found else None

    def do(self, action: str, place: str = "", key: str = "", **fields: Any) -> Json:
        """Make one change."""
        return self.engine.box.mutate(self.kind, action, key=key, place=place, **fields)

    def pause(self) -> None:
        """Let some time go by, or a collection come between."""
        if self.draw.random() < 0.5:
            self.engine.run(self.asset)
        if self.draw.random() < 0.5:
            self.engine.advance(minutes=self.draw.choice([1, 20]))

    def create(self, place: str, found: Json) -> None:
        """Bring an object back as it was, under its old key; the world may have brought it back by itself meanwhile."""
        with suppress(ValueError):
            self.do("create", place, **{name: value for name, value in found.items() if name not in _MARKS})


def key_of(found: Json) -> str:
    """Return the vendor's key of an object."""
    return next(str(found[name]) for name in _KEYS if name in found)


def _create(hand: Hand) -> bool:
    places = sorted({place for place, _ in hand.alive()})
    try:
        hand.do("create", hand.draw.choice(places) if places else "")
    except ValueError:  # The sandbox drew the id of something that was moved here.
        return False
    return True


def _edit(*changes: Callable[[random.Random], Json]) -> Act:
    def edit(hand: Hand) -> bool:
        picked = hand.pick()
        if picked is not None:
            hand.do("update", picked[0], key_of(picked[1]), **hand.draw.choice(changes)(hand.draw))
        return picked is not None

    return edit


def _delete(hand: Hand) -> bool:
    picked = hand.pick()
    if picked is not None:
        hand.do("delete", picked[0], key_of(picked[1]))
    return picked is not None


def _restore(hand: Hand) -> bool:
    """Take a deletion back, at once or after a collection has seen it."""
    picked = hand.pick()
    if picked is not None:
        hand.do("delete", picked[0], key_of(picked[1]))
        hand.pause()
        hand.create(*picked)
    return picked is not None


def _hide_and_show(hidden: Json, shown: Json) -> Act:
    """Put something into the bin and take it out again."""

    def act(hand: Hand) -> bool:
        picked = hand.pick()
        if picked is not None:
            hand.do("update", picked[0], key_of(picked[1]), **hidden)
            hand.pause()
            hand.do("update", picked[0], key_of(picked[1]), **shown)
        return picked is not None

    return act


def _move_to_another_place(*, leaves_tombstone: bool) -> Act:
    """Move an object to another calendar or list, where it keeps its id."""

    def move(hand: Hand) -> bool:
        places = sorted({place for place, _ in hand.alive()})
        picked = hand.pick()
        if picked is None:
            return False
        place, found = picked
        # A meeting may stand in several calendars under one id.
        taken = {other for other, item in hand.alive() if key_of(item) == key_of(found)}
        free = [other for other in places if other not in taken]
        if not free:
            return False
        target = hand.draw.choice(free)
        hand.do("delete", place, key_of(found))
        if not leaves_tombstone:
            for collection in hand.engine.box.site.world().collections.values():
                if collection.name.endswith(f":{place}"):
                    collection.tombstones.pop(key_of(found))
        hand.create(target, found)
        return True

    return move


def _rename_person(hand: Hand) -> bool:
    """Let a contact go on under another name, as Google does when its address changes: the new one names the old one."""
    picked = hand.pick()
    if picked is None:
        return False
    _, found = picked
    old = key_of(found)
    hand.do("delete", "", old)
    hand.engine.box.site.world()["people"].tombstones.pop(old)
    metadata = found.get("metadata", {})
    metadata = {**metadata, "previousResourceNames": [*metadata.get("previousResourceNames", []), old]}
    hand.create("", {**found, "resourceName": f"{old}x{hand.draw.randrange(10**6)}", "metadata": metadata})
    return True


def _create_task(hand: Hand) -> bool:
    """Write a task down, or a subtask of one."""
    parent = hand.pick(lambda found: found["parent"] is None) if hand.draw.random() < 0.4 else None
    if parent is None:
        hand.do("create")
        return True
    gid, count = parent[1]["gid"], parent[1]["num_subtasks"]
    hand.do("create", parent={"gid": gid, "resource_type": "task"}, memberships=[], num_subtasks=0)
    hand.do("update", "", gid, num_subtasks=count + 1)
    return True


def _move_task(hand: Hand) -> bool:
    """Put a task into the project and section of another one, out of all, or into another person's hands."""
    picked, other = hand.pick(lambda found: found["parent"] is None), hand.pick(lambda found: found["memberships"])
    if picked is None or other is None:
        return False
    assignee = hand.draw.choice([picked[1]["assignee"], other[1]["assignee"]])
    # Without project and assignee no listing reaches a task: Asana shows it to its author only.
    memberships = other[1]["memberships"] if hand.draw.random() < 0.7 or not assignee else []
    hand.do("update", "", picked[1]["gid"], memberships=memberships, assignee=assignee)
    return True


def _family(hand: Hand, gid: str) -> list[Json]:
    everybody = {found["gid"]: found for _, found in hand.alive()}
    members = [everybody[gid]]
    for member in members:
        members += [found for found in everybody.values() if (found["parent"] or {}).get("gid") == member["gid"]]
    return members


def _delete_task(hand: Hand, *, restore: bool = False) -> bool:
    """Delete a task; its subtasks go with it."""
    picked = hand.pick()
    if picked is None:
        return False
    family = _family(hand, picked[1]["gid"])
    for member in reversed(family):
        hand.do("delete", "", member["gid"])
    if restore:
        hand.pause()
        for member in family:
            hand.create("", member)
    return True


def _parents(draw: random.Random) -> Json:
    return {"parents": [f"0A{draw.randrange(40):017d}"]}


def _labels(*labels: str) -> Callable[[random.Random], Json]:
    return lambda draw: {"labelIds": [*labels, f"Label_{draw.random()}"]}


@dataclass(frozen=True)
class Subject:
    """A source under test: the asset that is compared, and what may happen to its objects."""

    asset: str
    kind: str
    acts: Mapping[str, Act]
    expires: bool = False
    settle_hours: int = 1
    """After this long, a collection must have seen everything: what nothing tells waits for its turn, or for a comparison."""

    @property
    def is_exact(self) -> bool:
        """Whether every collection that nothing disturbs equals the upstream, not only one after the comparison."""
        return self.settle_hours == 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of change that a history may draw."""
        return (*self.acts, *(("expire",) if self.expires else ()), "fault", "crash")


SUBJECTS: Final = {
    "asana": Subject(
        "raw/asana_tasks",
        "task",
        {
            "create": _create_task,
            "edit": _edit(
                lambda r: {"name": f"renamed {r.random()}"}, lambda r: {"completed": r.random() < 0.5, "notes": "✓"}
            ),
            "move": _move_task,
            "delete": _delete_task,
            "restore": lambda hand: _delete_task(hand, restore=True),
        },
        settle_hours=25,
    ),
    "gmail": Subject(
        "raw/gmail_messages",
        "mail",
        {
            "create": _create,
            "edit": _edit(_labels("INBOX"), _labels("INBOX", "UNREAD")),
            "move": _edit(_labels("TRASH"), _labels("SPAM"), _labels()),
            "delete": _delete,  # For good; the bin is a label.
            "restore": _hide_and_show({"labelIds": ["TRASH"]}, {"labelIds": ["INBOX"]}),
        },
        expires=True,
    ),
    "calendar": Subject(
        "raw/calendar_events",
        "event",
        {
            "create": _create,
            "edit": _edit(lambda r: {"summary": f"moved {r.random()}"}, lambda _: {"status": "tentative"}),
            "move": _move_to_another_place(leaves_tombstone=True),
            "delete": _delete,
            "restore": _restore,
        },
        expires=True,
    ),
    "chat": Subject(
        "raw/chat_messages",
        "message",
        # A message stays in its space, and one that is deleted stays so.
        {"create": _create, "edit": _edit(lambda r: {"text": f"edited {r.random()}"}), "delete": _delete},
        settle_hours=25,
    ),
    "gtasks": Subject(
        "raw/gtasks_tasks",
        "gtask",
        {
            "create": _create,
            "edit": _edit(lambda r: {"title": f"reworded {r.random()}"}, lambda _: {"hidden": True}),
            "move": _move_to_another_place(leaves_tombstone=False),
            "delete": _delete,
            "restore": _restore,
        },
        settle_hours=25,
    ),
    "people": Subject(
        "raw/people_contacts",
        "person",
        {
            "create": _create,
            "edit": _edit(lambda r: {"phoneNumbers": [{"value": str(r.random()), "type": "work"}]}),
            "move": _rename_person,
            "delete": _delete,
            "restore": _restore,
        },
        expires=True,
    ),
    "drive": Subject(
        "raw/drive_files",
        "file",
        {
            "create": _create,
            "edit": _edit(lambda r: {"name": f"n{r.random()}"}, lambda _: {"trashed": True}),
            "move": _edit(_parents),
            "delete": _delete,
            "restore": _hide_and_show({"trashed": True}, {"trashed": False}),
        },
        expires=True,
    ),
    "xero": Subject(
        "raw/xero_invoices",
        "invoice",
        # A document is deleted by its state, for good, and stays in its organisation.
        {"create": _create, "edit": _edit(lambda r: {"Reference": f"PO {r.random()}"}), "delete": _delete},
    ),
}
"""What each vendor lets people do. Asana, Chat, Tasks and Xero give no cursor that could expire: they are asked by time."""
