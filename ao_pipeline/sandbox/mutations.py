"""Explicit changes for tests: create, update or delete one object of a kind, at the world's present instant."""

from __future__ import annotations

from typing import Any, Final

from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.world import ledger, tasks, workspace
from ao_pipeline.sandbox.world.chats import build_chat_message, chat_collection, chat_time, deleted_message, membership
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.mails import Person, build_message, mail_collection
from ao_pipeline.sandbox.world.meetings import event_collection, event_tombstone
from ao_pipeline.sandbox.world.records import Json, Record
from ao_pipeline.sandbox.world.stories import COMMENTS, build_comment, comment_gid
from ao_pipeline.sandbox.world.world import World

KINDS: Final = (
    "task",
    "project",
    "user",
    "mail",
    "event",
    "message",
    "contact",
    "invoice",
    "payment",
    "calendar",
    "member",
    "gtask",
    "person",
    "file",
    "comment",
)
_COLLECTIONS: Final = {
    "task": "tasks",
    "project": "projects",
    "user": "users",
    "contact": "contacts",
    "invoice": "invoices",
    "payment": "payments",
    "calendar": "calendars",
    "member": "memberships",
    "person": workspace.PEOPLE,
    "file": workspace.FILES,
    "comment": COMMENTS,
}
_VENDOR_HAS_NO_DELETE: Final[dict[str, Json]] = {
    "invoice": {"Status": "DELETED", "AmountDue": 0.0},
    "payment": {"Status": "DELETED"},
    "contact": {"ContactStatus": "ARCHIVED"},
}


def mutate(world: World, wanted: dict[str, Any]) -> Json:
    """Make one change and return its key, place and object.

    Args:
        wanted: `kind`, `action` (create, update, delete), `key` unless created, `in` (mailbox, calendar or space;
            the first one by default) and `fields` in the vendor's words.

    Raises:
        ValueError: The kind, action, place or key is unknown. Nothing changed.
    """
    kind, action, fields = wanted.get("kind"), wanted.get("action"), dict(wanted.get("fields") or {})
    if kind not in KINDS or action not in ("create", "update", "delete"):
        raise ValueError(f"kind must be one of {KINDS} and action create, update or delete")
    place = _place(world, str(kind), wanted.get("in"))
    collection = world[_COLLECTIONS.get(str(kind), "") or place]
    key = str(wanted.get("key") or "")
    if action == "create":
        key, created = _create(
            world, str(kind), collection.name, fields, number=len(collection.records) + collection.version
        )
        if not world.mutate(collection.name, key, "put", created):
            raise ValueError(f"{kind} {key} exists already")
    elif key not in collection.records:
        raise ValueError(f"{kind} {key!r} is not in {collection.name}")
    elif action == "update":
        world.mutate(collection.name, key, "patch", _with_marks(world, str(kind), fields))
    else:
        _delete(world, str(kind), collection.records[key], collection.name)
    record = collection.records.get(key) or collection.tombstones[key]
    if kind == "comment" and action != "update":
        # A story that comes or goes moves its task's modified time; a comment that is edited does not.
        world.mutate("tasks", record.data["target"]["gid"], "patch", {})
    return {"key": key, "in": collection.name.partition(":")[2], "object": record.data}


def _place(world: World, kind: str, place: Any) -> str:
    agency = world.agency
    name = {
        "mail": mail_collection(str(place or agency.mailboxes[0])),
        "event": event_collection(str(place or agency.calendars[0][0])),
        "gtask": workspace.task_collection(str(place or workspace.task_lists(agency)[0]["id"])),
        "message": chat_collection(str(place or agency.spaces[0][0])),
    }.get(kind, "tasks")
    if name not in world.collections:
        raise ValueError(f"{place!r} is not a known mailbox, calendar, space or task list")
    return name


def _with_marks(world: World, kind: str, fields: Json) -> Json:
    if kind == "message" and "text" in fields and "lastUpdateTime" not in fields:
        return {**fields, "lastUpdateTime": chat_time(world.now)}
    if kind == "task" and "completed" in fields and "completed_at" not in fields:
        return {**fields, "completed_at": to_iso(from_micros(world.now)) if fields["completed"] else None}
    if kind == "task" and "memberships" in fields and "projects" not in fields:
        return {**fields, "projects": [item["project"] for item in fields["memberships"]]}
    return fields


def _delete(world: World, kind: str, record: Record, collection: str) -> None:
    if kind in _VENDOR_HAS_NO_DELETE:
        world.mutate(collection, record.key, "patch", _VENDOR_HAS_NO_DELETE[kind])
        return
    remains: Json = {}
    if kind == "event":
        remains = event_tombstone(record.data)
    elif kind == "message":
        remains = deleted_message(record.data, world.now)
    elif kind == "gtask":
        remains = workspace.task_tombstone(record.data)
    elif kind == "person":
        remains = workspace.person_tombstone(record.data)
    elif kind == "file":
        remains = {"id": record.key}
    elif kind == "comment":
        remains = {"gid": record.key, "target": record.data["target"]}
    world.mutate(collection, record.key, "drop", remains)


def _create(world: World, kind: str, collection: str, fields: Json, *, number: int) -> tuple[str, Json]:
    draw, place = Draw(world.agency.seed, "mutation", kind, number), collection.partition(":")[2]
    agency, now = world.agency, world.now
    if kind == "task":
        gid = str(fields.pop("gid", 1390000000000000 + number))
        made = tasks.task_life(agency, number, now)[0].fields
        return gid, {**made, "gid": gid, "parent": None, **_with_marks(world, kind, fields)}
    if kind == "comment":
        target, author = str(fields.pop("task", min(world["tasks"].records))), tasks.person(agency.assignees[0])
        gid = comment_gid(target, 1000 + number)
        return gid, {**build_comment(gid, target, to_iso(from_micros(now)), "Looks good", author), **fields}
    if kind == "mail":
        message_id = str(fields.pop("id", f"{(now // 1000) << 20 | draw.below(1 << 20):016x}"))
        sentences = fields.pop("sentences", None)
        sender = Person(
            str(fields.pop("from_name", "Test Sender")), str(fields.pop("from_email", "sender@client.example"))
        )
        made = build_message(
            draw,
            at=now,
            message_id=message_id,
            thread_id=str(fields.pop("threadId", message_id)),
            sender=sender,
            receiver=Person("Operations", place),
            subject=str(fields.pop("subject", "Test")),
            sentences=sentences,
        )
        return message_id, {**made, "labelIds": ["INBOX", "UNREAD"], **fields}
    if kind == "message":
        name = str(fields.pop("name", f"{place}/messages/{draw.hexadecimal(11)}.{draw.hexadecimal(11)}"))
        return name, {
            **build_chat_message(name, place, agency.chatters[0], str(fields.get("text", "test")), now),
            **fields,
        }
    if kind in ("gtask", "person", "file"):
        return _create_own(world, draw, kind, fields)
    if kind == "calendar":
        raise ValueError("a calendar cannot be created here: it has events of its own from the beginning")
    if kind == "member":
        made = membership(str(fields.pop("space", agency.spaces[0][0])), f"users/{105 * 10**18 + number}")
        return made["name"], {**made, "createTime": chat_time(now), **fields}
    if kind == "event":
        return _create_event(world, draw, fields)
    return _create_document(world, draw, kind, fields, number)


def _create_own(world: World, draw: Draw, kind: str, fields: Json) -> tuple[str, Json]:
    if kind == "person":
        key = str(fields.pop("resourceName", f"people/c{draw.number()}"))
        return key, {**workspace.build_person(draw, key), **fields}
    key = str(fields.pop("id", draw.hexadecimal(22)))
    if kind == "gtask":
        return key, {**workspace.build_task(draw, key, world.now), **fields}
    return key, {**workspace.build_file(world.agency, draw, key, world.now), **fields}


def _create_event(world: World, draw: Draw, fields: Json) -> tuple[str, Json]:
    key, day = str(fields.pop("id", draw.hexadecimal(26))), from_micros(world.now).date().isoformat()
    made: Json = {
        "kind": "calendar#event",
        "id": key,
        "status": "confirmed",
        "created": to_iso(from_micros(world.now)),
        "summary": "Test event",
        "organizer": {"email": world.agency.calendars[0][0]},
        "start": {"dateTime": f"{day}T10:00:00+04:00", "timeZone": "Asia/Dubai"},
        "end": {"dateTime": f"{day}T11:00:00+04:00", "timeZone": "Asia/Dubai"},
        "eventType": "default",
        "sequence": 0,
    }
    return key, {**made, **fields}


def _create_document(world: World, draw: Draw, kind: str, fields: Json, number: int) -> tuple[str, Json]:
    agency = world.agency
    if kind == "invoice":
        made: Json = dict(ledger.invoice_life(agency, number, world.now)[0].fields)
        key = str(fields.pop("InvoiceID", draw.uuid()))
        return key, {**made, "InvoiceID": key, "InvoiceNumber": f"INV-T{number}", "Status": "AUTHORISED", **fields}
    if kind == "payment":
        key, amount = str(fields.pop("PaymentID", draw.uuid())), float(fields.pop("Amount", 1.0))
        invoice = next(iter(world["invoices"].records.values())).data
        return key, {**ledger.build_payment(key, invoice, amount, world.now), **fields}
    if kind == "contact":
        key = str(fields.pop("ContactID", draw.uuid()))
        contact: Json = dict(ledger.contacts(agency)[0])
        return key, {**contact, "ContactID": key, "Name": f"Test contact {number}", **fields}
    collection = world[_COLLECTIONS[kind]]
    key = str(fields.pop("gid", 1290000000000000 + number))
    example = next(iter(collection.records.values())).data
    return key, {**example, "gid": key, "name": f"Test {kind} {number}", **fields}
