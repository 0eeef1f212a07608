"""Lives of chat messages: posted, edited, reacted to, deleted."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ao_pipeline.clock import from_micros
from ao_pipeline.sandbox.world.agency import Agency
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.mail_texts import PROMISES, REQUESTS, TALK
from ao_pipeline.sandbox.world.records import Change, Json
from ao_pipeline.sandbox.world.size import HOUR_MICROS, MINUTE_MICROS

MEMBER_CHANGES: Final = (90, 30)
"""Changes of memberships per days: three a day, whatever the size."""
EMOJI: Final = ("👍", "🔥", "😂", "✅")
_LINES: Final = (
    *TALK,
    *PROMISES,
    *REQUESTS,
    "on it",
    "lunch?",
    "تمام 👌",
    "who has the drive link",
    "done ✅",
    "في الاجتماع الآن",
)


def chat_collection(space: str) -> str:
    """Return the name of the collection that holds a space's messages."""
    return f"chats:{space}"


def chat_time(micros: int) -> str:
    """Return an instant with six decimals, as Google Chat writes it."""
    return from_micros(micros).isoformat(timespec="microseconds").replace("+00:00", "Z")


def message_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return every change of one message. The last space never gets one."""
    draw = Draw(agency.seed, "chat", number)
    space = draw.skewed(agency.spaces[:-1])[0]
    sender = draw.skewed(agency.chatters)
    identity = draw.hexadecimal(11)
    name = f"{space}/messages/{identity}.{identity}"
    message = build_chat_message(name, space, sender, draw.pick(_LINES), birth)
    if draw.chance(0.04):
        message["attachment"] = [
            {
                "name": f"{name}/attachments/A1",
                "contentName": "visual.png",
                "contentType": "image/png",
                "source": "UPLOADED_CONTENT",
            }
        ]
    collection = chat_collection(space)
    changes = [Change(birth, collection, name, 0, "put", message)]
    wanted, delay = draw.chance(0.1), draw.below(HOUR_MICROS)
    if wanted:
        summary = [{"emoji": {"unicode": draw.pick(EMOJI)}, "reactionCount": draw.between(1, 5)}]
        changes.append(
            Change(birth + MINUTE_MICROS + delay, collection, name, 1, "patch", {"emojiReactionSummaries": summary})
        )
    wanted, delay = draw.chance(0.06), draw.below(2 * HOUR_MICROS)
    if wanted:
        at = birth + MINUTE_MICROS + delay
        edit = {"text": message["text"] + " (edited)", "lastUpdateTime": chat_time(at)}
        changes.append(Change(at, collection, name, 2, "patch", edit))
    wanted, delay = draw.chance(0.03), draw.below(24 * HOUR_MICROS)
    if wanted:
        at = birth + 3 * HOUR_MICROS + delay
        changes.append(Change(at, collection, name, 3, "drop", deleted_message(message, at)))
    return changes


def membership(space: str, user: str) -> Json:
    """Return a person's membership of a space."""
    return {
        "name": f"{space}/members/{user.partition('/')[2]}",
        "state": "JOINED",
        "role": "ROLE_MEMBER",
        "member": {"name": user, "type": "HUMAN"},
        "createTime": "2024-05-02T07:31:00.000000Z",
    }


def first_memberships(agency: Agency) -> list[Json]:
    """Return the memberships at the beginning: everybody with a chat account who did not leave, in every space."""
    people = [member.chat_user for member in agency.members if member.chat_user is not None and member.is_active]
    return [membership(space, user) for space, _ in agency.spaces for user in people]


def membership_life(agency: Agency, number: int, birth: int) -> list[Change]:
    """Return one change of one membership: left, come back, or made a manager. The first person stays everywhere."""
    draw = Draw(agency.seed, "membership-change", number)
    data = membership(draw.pick(agency.spaces)[0], draw.pick(agency.chatters[1:]))
    kind = number % 3
    if kind == 0:
        return [Change(birth, "memberships", data["name"], number, "drop", {})]
    if kind == 1:
        return [Change(birth, "memberships", data["name"], number, "put", {**data, "createTime": chat_time(birth)})]
    return [Change(birth, "memberships", data["name"], number, "patch", {"role": "ROLE_MANAGER"})]


@lru_cache(maxsize=4096)
def _sender(user: str) -> Json:
    """Return the one object that all messages of a person share: nobody changes it, and a million copies need 230 MB."""
    return {"name": user, "type": "HUMAN"}


@lru_cache(maxsize=4096)
def _space(name: str) -> Json:
    return {"name": name}


def build_chat_message(name: str, space: str, sender: str, text: str, at: int) -> Json:
    """Return a message as the API shows it."""
    identity = name.rsplit("/", 1)[1].split(".")[0]
    return {
        "name": name,
        "sender": _sender(sender),
        "createTime": chat_time(at),
        "text": text,
        "formattedText": text,
        "thread": {"name": f"{space}/threads/{identity}"},
        "space": _space(space),
        "argumentText": text,
    }


def deleted_message(message: Json, at: int) -> Json:
    """Return what `showDeleted` shows of a deleted message: no content."""
    return {
        "name": message["name"],
        "sender": message["sender"],
        "createTime": message["createTime"],
        "deleteTime": chat_time(at),
        "thread": message["thread"],
        "space": message["space"],
        "deletionMetadata": {"deletionType": "CREATOR"},
    }
