"""Chat spaces, their members, and messages by time of creation with a window in which edits and deletions are seen.

Chat filters by creation only, so the last days are listed again each time. The cursor remembers a digest of each
space's window; a window that is as it was brings no rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import collected, full_listing, left_scopes, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.chat import parse_member, parse_message, parse_space
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_CHAT_MEMBERS, RAW_CHAT_MESSAGES, RAW_CHAT_SPACES
from ao_pipeline.collect.values import BadValueError, as_instant
from ao_pipeline.errors import AoError, ContractError

PAGE_SIZE: Final = 1000
EDIT_WINDOW: Final = timedelta(days=7)
"""How long after it was written a message's edits, reactions and deletion are noticed."""


@dataclass(frozen=True)
class _Reading:
    """What one space answered."""

    space: str
    records: list[dict[str, Any]]
    digest: str


def collect_spaces(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_spaces`."""
    drift = Drift()
    batch = Batch(RAW_CHAT_SPACES, contracts.SPACE, parse_space, drift)
    with request.open("chat") as client:
        for record in _list_spaces(client):
            batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_CHAT_SPACES, batch, cursor=cursor, drift=drift)


def collect_members(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_members` of every space, groups and invited people included."""
    drift = Drift()
    batch = Batch(RAW_CHAT_MEMBERS, contracts.MEMBER, parse_member, drift)
    with request.open("chat") as client:
        spaces = [record["name"] for record in _list_spaces(client)]
        for records in client.each(lambda space: _list_members(client, space), spaces):
            for record in records:
                batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_CHAT_MEMBERS, batch, cursor=cursor, drift=drift)


def collect_messages(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_messages`; deleted messages keep their row."""
    spec = RAW_CHAT_MESSAGES
    known: Mapping[str, str] = request.cursor["spaces"] if request.cursor else {}
    drift = Drift()
    batch = Batch(spec, contracts.CHAT, parse_message, drift)
    with request.open("chat") as client:
        spaces = [record["name"] for record in _list_spaces(client)]
        watermark = request.watermark(client.first_server_time)
        window = _window_start(watermark)
        since = _listing_start(request, window)
        readings = client.each(
            lambda space: _read(client, space, since=since if space in known else None, window=window), spaces
        )
        for reading in readings:
            if since < window or known.get(reading.space) != reading.digest:
                for record in reading.records:
                    batch.add(record)
        new_cursor: Cursor = {
            "generation": request.generation() + (not known),
            "watermark": to_iso(watermark),
            # A space whose first listing is empty is listed in full again: `{}` may be a fault, and costs the same.
            "spaces": {
                reading.space: reading.digest for reading in readings if reading.records or reading.space in known
            },
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0, "spaces": {}})
        if not known:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        deleted = left_scopes(request, spec, known=known, present=spaces, column="message_name")
        return collected(
            client, spec, batch.table(), cursor=cursor, drift=drift, deleted=deleted, quarantined=batch.quarantined
        )


def _window_start(watermark: datetime) -> datetime:
    """Return the midnight before the edit window: one that moved with every cycle would never have its digest again."""
    day = (watermark - EDIT_WINDOW).astimezone(UTC).date()
    return datetime.combine(day, time(), tzinfo=UTC)


def _listing_start(request: CollectionRequest, window: datetime) -> datetime:
    """Return the window's start as it was at the last collection: what was edited since then lay in that window."""
    last = request.cursor.get("watermark") if request.cursor else None
    return min(window, _window_start(datetime.fromisoformat(str(last)))) if last else window


def _list_spaces(client: SourceClient) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for page in google_pages(client, contracts.SPACES_PAGE, "/spaces", {"pageSize": PAGE_SIZE}):
        for record in page.records:
            kind, _, identity = record["name"].partition("/")
            if kind != "spaces" or not identity or "/" in identity:
                raise ContractError("chat.spaces.list: a space's name is not spaces/…; the page was refused")
            found[record["name"]] = record
    return list(found.values())


def _list_members(client: SourceClient, space: str) -> list[dict[str, Any]]:
    path = f"/spaces/{quote(space.partition('/')[2], safe='')}/members"
    params: Params = {"pageSize": PAGE_SIZE, "showGroups": "true", "showInvited": "true"}
    found: dict[str, dict[str, Any]] = {}
    try:
        for page in google_pages(client, contracts.MEMBERS_PAGE, path, params):
            found.update((record["name"], record) for record in page.records)
    except AoError as error:
        raise name_culprit(error, space) from error
    if not found:
        # Only spaces with the caller in them are listed, so an empty answer contradicts the list of spaces.
        raise ContractError(f"{space}: chat.members.list answered nobody; the listing was refused")
    return list(found.values())


def _read(client: SourceClient, space: str, *, since: datetime | None, window: datetime) -> _Reading:
    path = f"/spaces/{quote(space.partition('/')[2], safe='')}/messages"
    params: Params = {
        "pageSize": PAGE_SIZE,
        "showDeleted": "true",
        # One microsecond earlier, because the comparison is strict.
        **({"filter": f'create_time > "{_strictly_before(since)}"'} if since else {}),
    }
    records: dict[str, dict[str, Any]] = {}
    try:
        for page in google_pages(client, contracts.CHAT_PAGE, path, params):
            records.update((record["name"], record) for record in page.records)
    except AoError as error:
        raise name_culprit(error, space) from error
    found = list(records.values())
    return _Reading(space, found, _digest([record for record in found if _is_in(record, window)]))


def _is_in(record: dict[str, Any], window: datetime) -> bool:
    try:
        created_at = as_instant(record.get("createTime"), "createTime")
    except BadValueError:
        return True
    return created_at is None or created_at >= window


def _strictly_before(instant: datetime) -> str:
    return (instant - timedelta(microseconds=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(records: list[dict[str, Any]]) -> str:
    text = json.dumps(records, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()
