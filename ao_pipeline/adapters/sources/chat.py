"""Chat spaces, and the members of each: listed again when their number changed, or when the space's turn has come."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import (
    absent_keys,
    collected,
    full_listing,
    in_scopes,
    key_table,
    left_scopes,
    next_cursor,
)
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, widened
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.chat import parse_member, parse_space
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_CHAT_MEMBERS, RAW_CHAT_SPACES
from ao_pipeline.errors import AoError, ContractError

PAGE_SIZE: Final = 1000
"""Chat's largest page."""

MOST_A_TURN: Final = 4
"""Spaces whose turn comes within one cycle, on average: more than 192 make a sweep of twelve hours last a day."""


def collect_spaces(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_spaces`."""
    drift = Drift()
    batch = Batch(RAW_CHAT_SPACES, contracts.SPACE, parse_space, drift)
    with request.open("chat") as client:
        for record in list_spaces(client):
            batch.add(record)
        cursor = {"generation": request.generation() + 1}
        return full_listing(request, client, RAW_CHAT_SPACES, batch, cursor=cursor, drift=drift)


def collect_members(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_members` of every space first, then of those that are due; groups and invited people too."""
    spec, drift = RAW_CHAT_MEMBERS, Drift()
    batch = Batch(spec, contracts.MEMBER, parse_member, drift)
    known: dict[str, Any] = dict(request.cursor.get("counts", {})) if request.cursor else {}
    with request.open("chat") as client:
        counts = {record["name"]: record.get("membershipCount") for record in list_spaces(client)}
        slots = widened(slot_count(timedelta(hours=request.settings.sweep_hours)), len(counts), most=MOST_A_TURN)
        due = [space for space in counts if not known or _are_members_due(request, space, known, counts[space], slots)]
        digests = {space: digest for space, digest in _digests(request).items() if space in counts}
        changed: list[str] = []
        for space, records in zip(due, client.in_turn(lambda space: _list_members(client, space), due), strict=True):
            digest = _digest(records)
            if digests.get(space) == digest:
                continue  # Nobody came, went or changed: no rows, and nothing to compare with what is stored.
            digests[space] = digest
            changed.append(space)
            for record in records:
                batch.add(record)
        new_cursor: Cursor = {
            "generation": request.generation() + (not known),
            "listed_at": to_iso(request.now),
            "counts": counts,
            "spaces": digests,
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        if not known:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        gone = left_scopes(request, spec, known=known, present=counts, column="membership_name").to_pylist()
        if changed:
            stored = request.stored_keys()
            kept = key_table(spec, batch.keys | batch.quarantined_keys)
            gone += absent_keys(spec, in_scopes(stored, "membership_name", changed), kept).to_pylist()
            request.check_volume(stored.num_rows, stored.num_rows - len(gone), what=spec.name)
        return collected(
            client,
            spec,
            batch.table(),
            cursor=cursor,
            drift=drift,
            deleted=key_table(spec, {(row["membership_name"],) for row in gone}),
            quarantined=batch.quarantined,
        )


def _digests(request: CollectionRequest) -> dict[str, str]:
    return dict(request.cursor.get("spaces", {})) if request.cursor else {}


def _digest(records: list[dict[str, Any]]) -> str:
    text = json.dumps(sorted(records, key=lambda record: str(record["name"])), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _are_members_due(request: CollectionRequest, space: str, known: dict[str, Any], count: Any, slots: int) -> bool:
    """Return whether a space is new, counts its members otherwise than before or not at all, or its turn has come.

    Who became a manager, or came while another left, does not move the count: that is seen with the turn.
    """
    if space not in known or count is None or count != known[space] or request.cursor is None:
        return True
    last = datetime.fromisoformat(str(request.cursor["listed_at"]))
    return slot_of(space, slots) in due_slots(last, request.now, slots)


def list_spaces(client: SourceClient) -> list[dict[str, Any]]:
    """Return every space that the subject is a member of."""
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
