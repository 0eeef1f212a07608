"""Lives of what people keep for themselves: Google tasks, contacts and files."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.world import names
from ao_pipeline.sandbox.world.agency import Agency
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import DAY_MICROS, HOUR_MICROS

_LISTS: Final = ("My Tasks", "Follow up", "عائلة")
_LIST_SHARES: Final = (0, 0, 0, 1, 1, 2)
FILES: Final = "files"
PEOPLE: Final = "people"
TASK_LISTS: Final = "tasklists"
_KINDS: Final = (
    ("application/vnd.google-apps.document", ""),
    ("application/vnd.google-apps.spreadsheet", ""),
    ("application/pdf", ".pdf"),
    ("image/png", ".png"),
    ("video/mp4", ".mp4"),
)


def task_collection(list_id: str) -> str:
    """Return the name of the collection that holds a list's tasks."""
    return f"gtasks:{list_id}"


def task_lists(agency: Agency) -> list[Json]:
    """Return the task lists; they stand still."""
    return [
        {
            "kind": "tasks#taskList",
            "id": Draw(agency.seed, "tasklist", index).hexadecimal(22),
            "etag": f'"list-{index}"',
            "title": title,
            "updated": "2025-03-01T08:00:00.000Z",
            "selfLink": "",
        }
        for index, title in enumerate(_LISTS)
    ]


def stamp_task(data: Json, at: int, sequence: int) -> None:
    """Write `updated` and the etag."""
    data["updated"] = to_iso(from_micros(at))
    data["etag"] = f'"{sequence}"'


def stamp_person(data: Json, at: int, sequence: int) -> None:
    """Write the etag and when the contact changed."""
    data["etag"] = f"%{sequence}"
    metadata = data.get("metadata", {})
    source = {"type": "CONTACT", "id": data["resourceName"], "updateTime": f"{from_micros(at):%Y-%m-%dT%H:%M:%S.%fZ}"}
    data["metadata"] = {**metadata, "sources": [source], "objectType": "PERSON"}


def google_task_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one task: written down, reworded, done, cleared away, deleted."""
    draw = Draw(agency.seed, "gtask", number)
    lists = task_lists(agency)
    list_id = lists[draw.pick(_LIST_SHARES)]["id"]
    task = build_task(draw, draw.hexadecimal(22), birth)
    collection, key = task_collection(list_id), task["id"]
    changes = [Change(birth, collection, key, 0, "put", task)]
    if draw.chance(0.3):
        title = f"{draw.pick(names.TASK_VERBS)} {draw.pick(names.TASK_OBJECTS)} (2)"
        at = birth + HOUR_MICROS + draw.below(4 * DAY_MICROS)
        changes.append(Change(at, collection, key, 1, "patch", {"title": title}))
    done_at = birth + 2 * HOUR_MICROS + draw.below(20 * DAY_MICROS)
    done = {"status": "completed", "completed": to_iso(from_micros(done_at)), "hidden": draw.chance(0.5)}
    changes.append(Change(done_at, collection, key, 2, "patch", done))
    if draw.chance(0.15):
        changes.append(Change(done_at + DAY_MICROS, collection, key, 3, "drop", task_tombstone({**task, **done})))
    return changes


def build_task(draw: Draw, task_id: str, at: int) -> Json:
    """Return a task as the API shows it; empty fields are left out."""
    task: Json = {
        "kind": "tasks#task",
        "id": task_id,
        "etag": "",
        "title": f"{draw.pick(names.TASK_VERBS)} {draw.pick(names.TASK_OBJECTS)}",
        "updated": "",
        "selfLink": "",
        "position": f"{draw.below(10**18):020d}",
        "status": "needsAction",
        "links": [],
        "webViewLink": f"https://tasks.example/task/{task_id}",
    }
    if draw.chance(0.6):
        task["due"] = (from_micros(at).date() + timedelta(days=draw.between(1, 20))).isoformat() + "T00:00:00.000Z"
    if draw.chance(0.3):
        task["notes"] = "ask first. الرجاء التأكيد"
    return task


def task_tombstone(task: Json) -> Json:
    """Return what `showDeleted` shows of a deleted task."""
    return {**task, "deleted": True}


def person_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one contact: added, completed, deleted."""
    draw = Draw(agency.seed, "person", number)
    person = build_person(draw, f"people/c{draw.number()}")
    key = person["resourceName"]
    changes = [Change(birth, PEOPLE, key, 0, "put", person)]
    if draw.chance(0.3):
        phones = [{"value": f"+971 4 {draw.below(10**7):07d}", "type": "work", "metadata": {"primary": True}}]
        at = birth + HOUR_MICROS + draw.below(20 * DAY_MICROS)
        changes.append(Change(at, PEOPLE, key, 1, "patch", {"phoneNumbers": phones}))
    if draw.chance(0.1):
        at = birth + 2 * DAY_MICROS + draw.below(30 * DAY_MICROS)
        changes.append(Change(at, PEOPLE, key, 2, "drop", person_tombstone(person)))
    return changes


def build_person(draw: Draw, resource_name: str) -> Json:
    """Return a contact with name, address and organisation; one in ten has no name."""
    given, family, vendor = draw.pick(names.GIVEN), draw.pick(names.FAMILY), draw.pick(names.VENDORS)
    person: Json = {
        "resourceName": resource_name,
        "etag": "",
        "emailAddresses": [
            {"metadata": {"primary": True}, "value": f"{given}.{family}@{vendor}.example", "type": "work"}
        ],
        "organizations": [{"metadata": {"primary": True}, "name": vendor.title(), "title": "Account manager"}],
    }
    if draw.chance(0.9):
        shown = {"displayName": f"{given} {family}", "givenName": given, "familyName": family}
        person["names"] = [{"metadata": {"primary": True}, **shown}]
    return person


def person_tombstone(person: Json) -> Json:
    """Return what a sync shows of a deleted contact: its names, former ones too, and that it is gone."""
    former = person.get("metadata", {}).get("previousResourceNames")
    metadata = {"deleted": True, **({"previousResourceNames": former} if former else {})}
    return {"resourceName": person["resourceName"], "etag": "", "metadata": metadata}


def file_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one file: uploaded, renamed, edited, put into the bin, taken out, removed for good."""
    draw = Draw(agency.seed, "file", number)
    file = build_file(agency, draw, draw.hexadecimal(33), birth)
    key = file["id"]
    changes = [Change(birth, FILES, key, 0, "put", file)]

    def patch(step: int, at: int, fields: Json) -> None:
        changes.append(Change(at, FILES, key, step, "patch", fields))

    at = birth + HOUR_MICROS + draw.below(6 * DAY_MICROS)
    if draw.chance(0.4):
        patch(1, at, {"modifiedTime": to_iso(from_micros(at))})
    if draw.chance(0.15):
        patch(2, at + HOUR_MICROS, {"name": f"final – {file['name']}"})
    if draw.chance(0.12):
        at += 2 * DAY_MICROS
        patch(3, at, {"trashed": True})
        if draw.chance(0.3):
            patch(4, at + HOUR_MICROS, {"trashed": False})
        else:
            changes.append(Change(at + 5 * DAY_MICROS, FILES, key, 5, "drop", {"id": key}))
    return changes


def build_file(agency: Agency, draw: Draw, file_id: str, at: int) -> Json:
    """Return a file's metadata. Documents of Google's own have no size; sizes are text, as 64-bit numbers are."""
    kind, ending = draw.pick(_KINDS)
    owner = draw.skewed(agency.members)
    file: Json = {
        "kind": "drive#file",
        "id": file_id,
        "name": f"{draw.pick(names.TASK_OBJECTS)}{ending}",
        "mimeType": kind,
        "parents": [f"0A{draw.below(40):017d}"],
        "createdTime": to_iso(from_micros(at)),
        "modifiedTime": to_iso(from_micros(at)),
        "trashed": False,
        "shared": draw.chance(0.5),
        "starred": False,
        "owners": [{"kind": "drive#user", "displayName": owner.name, "emailAddress": owner.email}],
        "webViewLink": f"https://drive.example/file/{file_id}",
    }
    if ending:
        file |= {"size": str(draw.between(10_000, 5_000_000_000)), "md5Checksum": draw.hexadecimal(32)}
    return file
