"""Chat messages: of spaces that somebody wrote in, and of the others in turn; the last days of a space again each time.

Chat filters by creation only, so what was edited or deleted lately is found by listing the last days again. The cursor
remembers a digest of each space's window; a window that is as it was brings no rows.

1. A space with a message newer than the last collection is asked (`test_a_new_message_is_collected_at_once`).
2. Of the others, while messages in them may still be edited, the `ALWAYS_ASKED` last active ones are asked each time and
   the rest once in `EDITS_EVERY`; silent ones once a sweep (`test_an_edit_in_a_silent_space_is_seen_within_two_hours`).
   More than `MOST_A_TURN` a collection make the round longer (`test_many_silent_spaces_are_asked_less_often`).
3. A first listing ends at `MAX_ROWS` and goes on in the next collection (`test_a_first_listing_is_taken_in_portions`).
4. So does one of a known space before it has come to the edit window (`test_what_a_long_pause_left_is_taken_in_portions`).
5. Where messages are due, an empty answer ends no listing alone (`test_an_empty_answer_keeps_the_place_of_a_listing`).

Source: Google Chat API v1, `Space.lastActiveTime`, "timestamp of the last message in the space".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.chat import PAGE_SIZE, list_spaces
from ao_pipeline.adapters.sources.chat_window import WindowMark, latest_creation
from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import collected, full_listing, left_scopes, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import due_slots, slot_count, slot_of, widened
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.chat import parse_message
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_CHAT_MESSAGES
from ao_pipeline.collect.values import BadValueError, as_instant
from ao_pipeline.errors import AoError

EDIT_WINDOW: Final = timedelta(days=7)
"""How long after it was written a message's edits, reactions and deletion are noticed."""

ALWAYS_ASKED: Final = 16
"""Spaces that are asked for edits in every collection, those with the newest messages: edits follow soon, mostly."""

EDITS_EVERY: Final = timedelta(hours=2)
"""How late at most an edit is noticed in a space of the edit window that sixteen others have newer messages than."""

MOST_A_TURN: Final = 20
"""Such spaces asked in one collection, on average. Up to 160 of them have their turn within two hours, 320 within four."""

MAX_ROWS: Final = 60_000
"""Messages after which a first listing asks no further space: with their commit some 200 MB, whatever there is to read."""

MAX_SPACE_ROWS: Final = 15_000
"""Messages of one space in one collection, but for what is in its edit window: only what people write bounds that, and
beyond so many it is held as rows. With four spaces under way, a collection holds at most their fourfold more."""


_AGAIN: Final = "again"
"""Stands for a digest or follows a place: there the space answered nothing where it has messages, so it is asked again."""


_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Reading:
    """What one space answered."""

    space: str
    batch: Batch
    drift: Drift
    mark: str
    """The window's first day and the digest of what is in it."""
    is_as_before: bool
    """Whether the cursor has the same mark: then nothing came, and nothing of it is kept."""
    resumes_at: str
    """Where the next collection goes on; empty when the space was read to its end."""
    had_messages: bool


@dataclass(frozen=True)
class _Known:
    """What the cursor says of earlier collections."""

    marks: Mapping[str, str]
    unfinished: Mapping[str, str]
    watermark: datetime | None
    listed_at: datetime | None

    @classmethod
    def of(cls, request: CollectionRequest) -> _Known:
        cursor = request.cursor or {}
        watermark, listed_at = cursor.get("watermark"), cursor.get("listed_at")
        since = datetime.fromisoformat(str(watermark)) if watermark else None
        # A cursor that is held over a refused record has lost its digests: whatever was in the window is read again.
        again = f"{to_iso(_window_start(since))} {_AGAIN}" if since else ""
        return cls(
            {space: mark or again for space, mark in cursor.get("spaces", {}).items()},
            cursor.get("unfinished", {}),
            since,
            datetime.fromisoformat(str(listed_at)) if listed_at else None,
        )

    @property
    def spaces(self) -> set[str]:
        """Spaces that have rows in the store."""
        return {*self.marks, *self.unfinished}


def collect_messages(request: CollectionRequest) -> Collected:
    """Collect `raw/chat_messages`; deleted messages keep their row."""
    spec, drift, known = RAW_CHAT_MESSAGES, Drift(), _Known.of(request)
    batch = Batch(spec, contracts.CHAT, parse_message, drift)
    with request.open("chat") as client:
        spaces = {record["name"]: record for record in list_spaces(client)}
        watermark = request.watermark(client.first_server_time)
        window = _window_start(watermark)
        marks = {space: mark for space, mark in known.marks.items() if space in spaces}
        unfinished = {space: at for space, at in known.unfinished.items() if space in spaces}
        left = _to_ask(request, known, spaces, window)
        for reading in _read_all(client, known, left, window):
            unfinished.pop(reading.space, None)
            if reading.resumes_at:
                marks.pop(reading.space, None)
                unfinished[reading.space] = reading.resumes_at
            # A space whose first listing is empty is listed in full again: `{}` may be a fault, and costs the same.
            elif reading.had_messages or reading.space in known.spaces:
                again = "" if reading.had_messages else _doubt(known, spaces[reading.space], window)
                if again and reading.space in known.unfinished:
                    unfinished[reading.space] = again
                else:
                    marks[reading.space] = again or reading.mark
            if not reading.is_as_before:
                batch.absorb(reading.batch)
                drift.absorb(reading.drift)
        new_cursor: Cursor = {
            "generation": request.generation() + (not known.spaces),
            "watermark": to_iso(watermark),
            "listed_at": to_iso(request.now),
            "spaces": marks,
            "unfinished": unfinished,
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0, "spaces": {}})
        if not known.spaces and not left and not unfinished:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        deleted = left_scopes(request, spec, known=known.spaces, present=spaces, column="message_name")
        return collected(
            client, spec, batch.table(), cursor=cursor, drift=drift, deleted=deleted, quarantined=batch.quarantined
        )


def _to_ask(
    request: CollectionRequest, known: _Known, spaces: Mapping[str, dict[str, Any]], window: datetime
) -> list[str]:
    """Return the spaces to ask: the known ones with news or whose turn has come, then those never read to their end."""
    if known.listed_at is None or known.watermark is None:
        return list(spaces)
    spaces_by_age = sorted(
        ((_active_at(spaces[space]), space) for space in known.marks if space in spaces), reverse=True
    )
    active = [space for at, space in spaces_by_age if at >= window]
    silent = [space for at, space in spaces_by_age if at < window]
    due = {*active[:ALWAYS_ASKED], *(space for at, space in spaces_by_age if at >= known.watermark)}
    sweep = timedelta(hours=request.settings.sweep_hours)
    for asked, length in ((active[ALWAYS_ASKED:], EDITS_EVERY), (silent, sweep)):
        slots = widened(slot_count(length), len(asked), most=MOST_A_TURN)
        turns = due_slots(known.listed_at, request.now, slots)
        due |= {space for space in asked if slot_of(space, slots) in turns}
    due |= {space for space, mark in known.marks.items() if mark.endswith(_AGAIN)}
    return [
        *(space for space in spaces if space in due),
        *(space for space in spaces if space in known.unfinished),
        *(space for space in spaces if space not in known.spaces),
    ]


def _active_at(space: Mapping[str, Any]) -> datetime:
    """Return when the last message came; the end of time where the space does not say, so that it is always asked."""
    try:
        return as_instant(space.get("lastActiveTime"), "lastActiveTime") or _END_OF_TIME
    except BadValueError:
        return _END_OF_TIME


def _read_all(client: SourceClient, known: _Known, left: list[str], window: datetime) -> Iterator[_Reading]:
    """Yield what the spaces answer and take them off `left`; stop before a space that is new once there is enough."""
    rows = 0

    def wanted() -> Iterator[str]:
        for space in list(left):
            if rows >= MAX_ROWS and space not in known.marks:
                return
            yield space

    for reading in client.in_turn(lambda space: _read(client, known, space, window=window), wanted()):
        left.remove(reading.space)
        rows += 0 if reading.is_as_before else len(reading.batch)
        yield reading


def _window_start(watermark: datetime) -> datetime:
    """Return the midnight before the edit window: one that moved with every cycle would never have its digest again."""
    day = (watermark - EDIT_WINDOW).astimezone(UTC).date()
    return datetime.combine(day, time(), tzinfo=UTC)


def _doubt(known: _Known, space: Mapping[str, Any], window: datetime) -> str:
    """Return where to ask again, after a space answered nothing; empty when that is believed.

    What a doubtful answer lacked is as old as what it was asked for. Twice in a row it is only doubted of recent messages.
    """
    name = space["name"]
    before = known.unfinished.get(name) or known.marks[name]
    since = _listing_start(known, name, window) or window
    doubted = window if before.endswith(_AGAIN) else since
    return f"{to_iso(since)} {_AGAIN}" if _active_at(space) >= doubted else ""


def _listing_start(known: _Known, space: str, window: datetime) -> datetime | None:
    """Return where to list from: the window as it was when the space was read last, for edits since then lay in that."""
    if space in known.unfinished:
        return datetime.fromisoformat(known.unfinished[space].partition(" ")[0])
    if space not in known.marks:
        return None
    return min(window, datetime.fromisoformat(known.marks[space].partition(" ")[0]))


def _read(client: SourceClient, known: _Known, space: str, *, window: datetime) -> _Reading:
    path, since = f"/spaces/{quote(space.partition('/')[2], safe='')}/messages", _listing_start(known, space, window)
    params: Params = {
        "pageSize": PAGE_SIZE,
        "showDeleted": "true",
        # One microsecond earlier, because the comparison is strict.
        **({"filter": f'create_time > "{_strictly_before(since)}"'} if since else {}),
    }
    drift = Drift()
    batch = Batch(RAW_CHAT_MESSAGES, contracts.CHAT, parse_message, drift)
    mark = WindowMark(window)
    # The window of a known space is mostly as it was: it becomes rows only when it is not.
    is_known = space in known.marks
    held: list[dict[str, Any]] | None = [] if is_known else None
    resumes_at, count = "", 0
    try:
        for page in google_pages(client, contracts.CHAT_PAGE, path, params):
            count += len(page.records)
            for record in page.records:
                mark.add(record)
                if held is None:
                    batch.add(record)
                else:
                    held.append(record)
            if count >= MAX_SPACE_ROWS and page.body.get("nextPageToken"):
                latest = latest_creation(page.records)
                # The window of a known space is read to its end: half of one would never have its digest again.
                if latest and (not is_known or latest < window):
                    resumes_at = to_iso(latest)
                    break
                _give(held, batch)
                held = None
    except AoError as error:
        raise name_culprit(error, space) from error
    is_as_before = known.marks.get(space) == mark.text()
    if not is_as_before:
        _give(held, batch)
    return _Reading(space, batch, drift, mark.text(), is_as_before, resumes_at, had_messages=count > 0)


def _give(held: list[dict[str, Any]] | None, batch: Batch) -> None:
    """Make rows of the records that were held, in their order."""
    for record in held or ():
        batch.add(record)


def _strictly_before(instant: datetime) -> str:
    return (instant - timedelta(microseconds=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
