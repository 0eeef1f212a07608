"""Chat spaces, members and messages to rows."""

from __future__ import annotations

from typing import Any

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.batch import Record, Row
from ao_pipeline.collect.values import as_instant, as_int, as_key, as_object, as_objects, as_text


def parse_space(record: Record) -> Row:
    """Return a row of `raw_chat_spaces`."""
    return {
        "space_name": as_key(record.get("name"), "name"),
        "display_name": as_text(record.get("displayName"), "displayName"),
        "space_type": as_text(record.get("spaceType"), "spaceType"),
        "threading_state": as_text(record.get("spaceThreadingState"), "spaceThreadingState"),
        "created_at": as_instant(record.get("createTime"), "createTime"),
    }


def parse_member(record: Record) -> Row:
    """Return a row of `raw_chat_members`. A group stands in its own field and has no type."""
    name = as_key(record.get("name"), "name")
    group = as_text(as_object(record.get("groupMember"), "groupMember").get("name"), "groupMember.name")
    member = as_object(record.get("member"), "member")
    return {
        "membership_name": name,
        "space_name": name.partition("/members/")[0],
        "member_name": group or as_text(member.get("name"), "member.name"),
        "member_type": "GROUP" if group else as_text(member.get("type"), "member.type"),
        "role": as_text(record.get("role"), "role"),
        "state": as_text(record.get("state"), "state"),
        "created_at": as_instant(record.get("createTime"), "createTime"),
    }


def parse_message(record: Record) -> Row:
    """Return a row of `raw_chat_messages`. The space is in the name when the answer leaves it out."""
    name = as_key(record.get("name"), "name")
    space = as_text(as_object(record.get("space"), "space").get("name"), "space.name")
    return {
        "message_name": name,
        "space_name": space or name.partition("/messages/")[0],
        "thread_name": as_text(as_object(record.get("thread"), "thread").get("name"), "thread.name"),
        "sender_name": as_text(as_object(record.get("sender"), "sender").get("name"), "sender.name"),
        "text": as_text(record.get("text"), "text"),
        "created_at": as_instant(record.get("createTime"), "createTime"),
        "edited_at": as_instant(record.get("lastUpdateTime"), "lastUpdateTime"),
        "is_deleted": bool(record.get("deleteTime") or record.get("deletionMetadata")),
        "attachments_json": canonical_json(_attachments(record)),
        "reactions_json": canonical_json(_reactions(record)),
    }


def _attachments(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "name": as_text(item.get("name"), "attachment.name"),
            "content_name": as_text(item.get("contentName"), "attachment.contentName"),
            "content_type": as_text(item.get("contentType"), "attachment.contentType"),
        }
        for item in as_objects(record.get("attachment"), "attachment")
    ]


def _reactions(record: Record) -> list[dict[str, Any]]:
    found = []
    for item in as_objects(record.get("emojiReactionSummaries"), "emojiReactionSummaries"):
        emoji = as_object(item.get("emoji"), "emoji")
        custom = as_object(emoji.get("customEmoji"), "emoji.customEmoji")
        label = as_text(emoji.get("unicode"), "emoji.unicode") or as_text(
            custom.get("emojiName") or custom.get("name"), "emoji"
        )
        found.append({"emoji": label, "count": as_int(item.get("reactionCount"), "reactionCount")})
    return sorted(found, key=lambda item: str(item["emoji"] or ""))
