"""Google Chat as Takeout writes it, to the spaces, members and messages that the API would answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.parse import chat as parse
from ao_pipeline.collect.values import as_object, as_objects, as_text

MESSAGE: Final = RecordContract(
    name="takeout.chat_message",
    key_field="message_id",
    properties={},
    known_fields=frozenset(
        [
            "creator",
            "created_date",
            "updated_date",
            "text",
            "topic_id",
            "attached_files",
            "annotations",
            "quoted_message_metadata",
            "reactions",
            "message_state",
            "deletion_metadata",
            "previous_message_versions",
            "is_ephemeral",
            "upgrade_info",
            "space",
        ]
    ),
)
SPACE: Final = RecordContract(
    name="takeout.chat_group",
    key_field="space",
    properties={},
    known_fields=frozenset({"name", "members", "kind", "emoji_id", "integration_settings"}),
)
MEMBER: Final = RecordContract(
    name="takeout.chat_member",
    key_field="email",
    properties={},
    known_fields=frozenset({"name", "user_type", "space"}),
)

_DATE: Final = re.compile(
    r"(?:[A-Za-z]+, )?([A-Z][a-z]+) (\d{1,2}), (\d{4})(?: at|,)? (\d{1,2}):(\d\d):(\d\d)(?: ([AP])M)? (?:UTC|GMT)"
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_FOLDER: Final = re.compile(r"(DM|Space|Group Chat|Group)\s+(\S.*)")
_TYPES: Final = {"dm": "DIRECT_MESSAGE", "space": "SPACE", "group chat": "GROUP_CHAT", "group": "GROUP_CHAT"}


def space_of_folder(folder: str) -> tuple[str, str | None]:
    """Return (`spaces/…`, type) of a folder such as `Space AAAA1234` or `DM bbbb`."""
    match = _FOLDER.fullmatch(folder.strip())
    if match is None:
        return f"spaces/{folder.strip()}", None
    return f"spaces/{match.group(2)}", _TYPES.get(match.group(1).lower())


def parse_group(record: Record) -> Row:
    """Return a row of `raw_chat_spaces`."""
    return parse.parse_space(
        {"name": record["space"], "displayName": record.get("name"), "spaceType": record.get("kind")}
    )


def parse_person(record: Record) -> Row:
    """Return a row of `raw_chat_members`."""
    email = str(record["email"]).strip().lower()
    row = parse.parse_member({"name": f"{record['space']}/members/{email}"})
    kind = str(record.get("user_type") or "").upper()
    row.update(
        space_name=record["space"], member_name=f"users/{email}", member_type=kind or None, role=None, state="JOINED"
    )
    return row


def parse_takeout_message(record: Record) -> Row:
    """Return a row of `raw_chat_messages`. People are `users/<address>`, which the API takes for their id.

    Raises:
        BadValueError: The message has no id, or a field is not what it should be.
    """
    space = str(record["space"])
    own_id = str(record["message_id"])
    parts = own_id.split("/")
    # Takeout writes space/topic/message, the API topic.message below the space.
    short = ".".join(parts[-2:]) if len(parts) >= 2 else own_id
    topic = as_text(record.get("topic_id"), "topic_id") or (parts[-2] if len(parts) >= 2 else None)
    creator = as_object(record.get("creator"), "creator")
    email = (as_text(creator.get("email"), "creator.email") or "").strip().lower()
    is_deleted = record.get("message_state") == "DELETED" or bool(record.get("deletion_metadata"))
    created = takeout_instant(record.get("created_date"))
    updated = takeout_instant(record.get("updated_date"))
    return parse.parse_message(
        {
            "name": f"{space}/messages/{short}",
            "space": {"name": space},
            "thread": {"name": f"{space}/threads/{topic}" if topic else None},
            "sender": {"name": f"users/{email}" if email else None},
            "text": record.get("text"),
            "createTime": created.isoformat() if created else None,
            "lastUpdateTime": updated.isoformat() if updated else None,
            "deletionMetadata": {"deletionType": "UNKNOWN"} if is_deleted else None,
            "attachment": [
                {"name": item.get("export_name"), "contentName": item.get("original_name") or item.get("export_name")}
                for item in as_objects(record.get("attached_files"), "attached_files")
            ],
            "emojiReactionSummaries": [_reaction(item) for item in as_objects(record.get("reactions"), "reactions")],
        }
    )


def content_id(item: Mapping[str, Any]) -> str:
    """Return the id that stands for a message's own: the digest of who said what, when, in which topic."""
    told = [str(item.get(name)) for name in ("creator", "created_date", "text", "topic_id", "attached_files")]
    return f"sha256:{hashlib.sha256(canonical_json(told).encode('utf-8', 'replace')).hexdigest()[:32]}"


def _reaction(item: Mapping[str, Any]) -> dict[str, Any]:
    people = item.get("reactor_emails")
    return {"emoji": item.get("emoji"), "reactionCount": len(people) if isinstance(people, list) else None}


def takeout_instant(value: Any) -> datetime | None:
    """Return the instant of `Thursday, November 3, 2016 at 11:59:50 AM UTC`; None of nothing and of other languages.

    The exporter's language decides the words; a date in another one is lost, the message is not.
    """
    if not isinstance(value, str):
        return None
    text = " ".join(value.replace("\u202f", " ").replace("\u00a0", " ").split())
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            if not _ISO.fullmatch(text):
                return None
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        name, day, year, hour, minute, second, half = match.groups()
        hours = int(hour) % 12 + (12 if half == "P" else 0) if half else int(hour)
        start = datetime(int(year), _MONTHS.index(name[:3].lower()) + 1, int(day), tzinfo=UTC)
        return start + timedelta(hours=hours, minutes=int(minute), seconds=int(second))
    except (ValueError, OverflowError):
        return None


def group_members(group: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the members of a group that have an address, and how many have none: apps, and people who are gone.

    Raises:
        BadValueError: The list of members is not one.
    """
    members = as_objects(group.get("members"), "members")
    found = [member for member in members if isinstance(member.get("email"), str) and "@" in member["email"]]
    return found, len(members) - len(found)
