"""Chat spaces, members and messages out of a Google Takeout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from ao_pipeline.adapters.files_source.folder import Found, Kind
from ao_pipeline.adapters.files_source.intake import FilesRequest, Intake, collect_changed
from ao_pipeline.adapters.files_source.reading import chunks, read_range
from ao_pipeline.collect.files.chat import (
    MEMBER,
    MESSAGE,
    SPACE,
    content_id,
    group_members,
    parse_group,
    parse_person,
    parse_takeout_message,
    space_of_folder,
    takeout_instant,
)
from ao_pipeline.collect.files.json_stream import stream_items
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_CHAT_MEMBERS, RAW_CHAT_MESSAGES, RAW_CHAT_SPACES
from ao_pipeline.collect.values import BadValueError

MESSAGE_KINDS: Final = (Kind.CHAT_MESSAGES,)
GROUP_KINDS: Final = (Kind.CHAT_MESSAGES, Kind.CHAT_GROUP)

_MAX_GROUP_BYTES: Final = 32 << 20
"""Longest description of a group: some hundred thousand members."""


def collect_spaces(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/chat_spaces` from files: every folder with messages is a space, also without a description."""
    intake = Intake(request, RAW_CHAT_SPACES, SPACE, parse_group)
    described = {unit.path.parent for unit in units if unit.kind is Kind.CHAT_GROUP}

    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        space, kind = _space(unit)
        if unit.kind is Kind.CHAT_GROUP:
            target.add({**_group(unit, target), "space": space, "kind": kind}, size=500)
        elif unit.path.parent not in described:
            target.add({"space": space, "kind": kind}, size=500)
        yield begin + 1

    return collect_changed(request, units, intake, read)


def collect_members(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/chat_members` from files."""
    intake = Intake(request, RAW_CHAT_MEMBERS, MEMBER, parse_person)

    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        if unit.kind is Kind.CHAT_GROUP:
            try:
                members, strangers = group_members(_group(unit, target))
                if not begin:
                    for _ in range(strangers):
                        target.count("chat_member_without_address")
            except BadValueError:
                target.count("group_broken")
                members = []
            for member in members[begin:]:
                target.add({**member, "space": _space(unit)[0]}, size=200)
                begin += 1
                yield begin

    return collect_changed(request, units, intake, read)


def collect_messages(request: FilesRequest, units: list[Found]) -> Collected:
    """Collect `raw/chat_messages` from files. A message that the export calls deleted is a row that says so."""
    intake = Intake(request, RAW_CHAT_MESSAGES, MESSAGE, parse_takeout_message)

    def read(unit: Found, begin: int, target: Intake) -> Iterator[int]:
        space, _ = _space(unit)
        number = -1
        try:
            for number, item in enumerate(stream_items(chunks(unit.path), "messages")):
                if number < begin:
                    continue
                if not isinstance(item, dict):
                    target.refuse(unit, number, "an item of the export is no message", item=item)
                    yield number + 1
                    continue
                record: dict[str, Any] = {**item, "space": space}
                if "message_id" not in record and record.get("created_date"):
                    # Exports of before 2022 have no ids.
                    record["message_id"] = content_id(item)
                if record.get("created_date") and takeout_instant(record["created_date"]) is None:
                    target.count("chat_without_date")
                target.add(record, size=500 + len(str(record.get("text", ""))))
                yield number + 1
        except BadValueError as error:
            # The rest of the file cannot be read; what came before has been.
            target.refuse(unit, number + 1, str(error))

    return collect_changed(request, units, intake, read)


def _space(unit: Found) -> tuple[str, str | None]:
    return space_of_folder(unit.path.parent.name)


def _group(unit: Found, intake: Intake) -> dict[str, Any]:
    try:
        group = json.loads(read_range(unit.path, 0, _MAX_GROUP_BYTES))
    except (ValueError, RecursionError):
        group = None
    if not isinstance(group, dict):
        intake.count("group_broken")
        return {}
    return group
