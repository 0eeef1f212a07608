"""Gmail messages: listed once per mailbox, then by history. All mailboxes share one cursor and fail together.

A mailbox may hold more messages than one collection can fetch: quota allows some three hundred a minute. What is listed
but not fetched yet stays in the cursor as `pending` and is fetched by the next collections, so nothing is skipped, and
nothing pending is taken for deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import (
    MAX_HOLDS,
    collected,
    full_listing,
    key_table,
    left_scopes,
    relisted_scope,
)
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import google as contracts
from ao_pipeline.collect.parse.gmail import parse_message
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_GMAIL_MESSAGES
from ao_pipeline.errors import AoError, BudgetExhaustedError, ConfigError, ContractError, CursorExpiredError

PAGE_SIZE: Final = 500
FETCH_CHUNK: Final = 40
"""Messages fetched between two looks at the clock."""

MAX_FETCHED: Final = 20_000
"""Messages fetched in one collection at most, whatever time there is: what they hold in memory is bounded with them."""

RESERVE_RATIO: Final = 0.2
"""Share of the budget kept for what comes after fetching; what is not fetched by then stays pending."""

_CHANGES: Final = ("messagesAdded", "labelsAdded", "labelsRemoved")


@dataclass
class _Plan:
    """What one mailbox needs: messages to fetch, in order, and messages that are gone."""

    mailbox: str
    history_id: str
    wanted: dict[str, None]
    deleted: set[str] = field(default_factory=set)
    listed: set[str] | None = None
    """Every id of a full listing; None when the history was read."""
    retried: bool = False
    """Whether a quarantined message is pending again."""


def collect_messages(request: CollectionRequest) -> Collected:
    """Collect `raw/gmail_messages`."""
    mailboxes = sorted({box.strip().lower() for box in request.settings.gmail_mailboxes.split(",") if box.strip()})
    if not mailboxes:
        raise ConfigError("no mailbox to read; set AO_GMAIL_MAILBOXES to comma-separated addresses")
    known: dict[str, Any] = dict(request.cursor["mailboxes"]) if request.cursor else {}
    drift = Drift()
    batch = Batch(RAW_GMAIL_MESSAGES, contracts.MAIL, parse_message, drift)
    with request.open("gmail") as client:
        plans = client.each(lambda mailbox: _plan(client, mailbox, known.get(mailbox)), mailboxes)
        _fetch(client, plans, batch)
        is_relisted = any(plan.listed is not None for plan in plans)
        _retry_quarantined(request, plans, batch)
        cursor: Cursor = {
            "generation": request.generation() + is_relisted,
            "mailboxes": {
                plan.mailbox: {"history_id": plan.history_id, "pending": list(plan.wanted)} for plan in plans
            },
        }
        if any(plan.retried for plan in plans):
            cursor["held_count"] = _held_count(request) + 1
        return _outcome(request, client, plans, batch, cursor=cursor, drift=drift, known=known)


def _held_count(request: CollectionRequest) -> int:
    return int(request.cursor.get("held_count", 0)) if request.cursor else 0


def _retry_quarantined(request: CollectionRequest, plans: list[_Plan], batch: Batch) -> None:
    """Make quarantined messages pending again: the history that named them is read only once."""
    if _held_count(request) >= MAX_HOLDS:
        return
    for plan in plans:
        again = sorted(identity for mailbox, identity in batch.quarantined_keys if mailbox == plan.mailbox)
        plan.wanted.update(dict.fromkeys(again))
        plan.retried = bool(again)


def _outcome(
    request: CollectionRequest,
    client: SourceClient,
    plans: list[_Plan],
    batch: Batch,
    *,
    cursor: Cursor,
    drift: Drift,
    known: Iterable[str],
) -> Collected:
    spec = RAW_GMAIL_MESSAGES
    if all(plan.listed is not None and not plan.wanted for plan in plans):
        return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
    deleted: set[Key] = {(plan.mailbox, gone) for plan in plans for gone in plan.deleted}
    gone = left_scopes(request, spec, known=known, present=[plan.mailbox for plan in plans], column="mailbox")
    deleted.update(_keys(gone))
    for plan in plans:
        if plan.listed is not None:
            listed = ((plan.mailbox, one) for one in plan.listed)
            deleted.update(_keys(relisted_scope(request, spec, column="mailbox", scope=plan.mailbox, listed=listed)))
    deleted -= batch.keys | batch.quarantined_keys
    return collected(
        client,
        spec,
        batch.table(),
        cursor=cursor,
        drift=drift,
        deleted=key_table(spec, deleted),
        quarantined=batch.quarantined,
    )


def _keys(table: Any) -> set[Key]:
    return set(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _plan(client: SourceClient, mailbox: str, state: Any) -> _Plan:
    try:
        if state is not None:
            # Normal after a week: the mailbox is listed again, in a new generation.
            with suppress(CursorExpiredError):
                return _read_history(client, mailbox, str(state["history_id"]), list(state["pending"]))
        return _list_mailbox(client, mailbox)
    except AoError as error:
        raise name_culprit(error, f"mailbox {mailbox}") from error


def _list_mailbox(client: SourceClient, mailbox: str) -> _Plan:
    # The history id first: what changes while the listing runs is then in the history, not between the two.
    profile = client.get("gmail.users.getProfile", f"{_path(mailbox)}/profile", subject=mailbox).body
    history_id = profile.get("historyId") if isinstance(profile, dict) else None
    if not isinstance(history_id, str) or not history_id.isdigit():
        raise ContractError("gmail.users.getProfile: the answer has no history id")
    wanted: dict[str, None] = {}
    # Trash and spam are labels here, so both are listed: else moving a message there would look like its deletion.
    params: Params = {"maxResults": PAGE_SIZE, "includeSpamTrash": "true"}
    for page in google_pages(client, contracts.MESSAGES_PAGE, f"{_path(mailbox)}/messages", params, subject=mailbox):
        wanted.update(dict.fromkeys(record["id"] for record in page.records))
    total = profile.get("messagesTotal")
    if not wanted and isinstance(total, int) and total > 0:
        raise ContractError(f"gmail.messages.list: an empty list where the profile counts {total} messages; refused")
    return _Plan(mailbox, history_id, wanted, listed=set(wanted))


def _read_history(client: SourceClient, mailbox: str, history_id: str, pending: list[str]) -> _Plan:
    plan = _Plan(mailbox, history_id, {})
    params: Params = {"startHistoryId": history_id, "maxResults": PAGE_SIZE}
    path = f"{_path(mailbox)}/history"
    for page in google_pages(client, contracts.HISTORY_PAGE, path, params, subject=mailbox, is_cursor_call=True):
        if "historyId" not in page.body:
            raise ContractError("gmail.history.list: the answer has no history id; the page was refused")
        plan.history_id = page.body["historyId"]
        for record in page.records:
            plan.wanted.update(dict.fromkeys(_ids(record, *_CHANGES)))
            plan.deleted.update(_ids(record, "messagesDeleted"))
    plan.wanted.update(dict.fromkeys(pending))
    for gone in plan.deleted:
        plan.wanted.pop(gone, None)
    return plan


def _ids(record: dict[str, Any], *kinds: str) -> list[str]:
    """Return the message ids of one history record.

    Raises:
        ContractError: An entry without an id: a change would be lost, and the history is read only once.
    """
    found: list[str] = []
    for kind in kinds:
        entries = record.get(kind, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            message = entry.get("message") if isinstance(entry, dict) else None
            identity = message.get("id") if isinstance(message, dict) else None
            if not isinstance(identity, str) or not identity:
                raise ContractError(f"gmail.history.list: an entry of {kind} has no message id; the page was refused")
            found.append(identity)
    return found


def _fetch(client: SourceClient, plans: list[_Plan], batch: Batch) -> None:
    """Fetch what the plans want, as far as budget and `MAX_FETCHED` go; what was fetched leaves `wanted`.

    Raises:
        BudgetExhaustedError: Not even the first messages fitted into the budget.
    """
    work = [(plan, identity) for plan in plans for identity in plan.wanted]
    for start in range(0, min(len(work), MAX_FETCHED), FETCH_CHUNK):
        chunk = work[start : start + FETCH_CHUNK]
        if start and client.budget.remaining_seconds() < RESERVE_RATIO * client.budget.seconds:
            return
        try:
            records = client.each(lambda item: _get_message(client, item[0].mailbox, item[1]), chunk)
        except BudgetExhaustedError:
            if start:
                return
            raise
        for (plan, identity), record in zip(chunk, records, strict=True):
            del plan.wanted[identity]
            if record is None:
                plan.deleted.add(identity)
            else:
                batch.add(record, scope={"mailbox": plan.mailbox})


def _get_message(client: SourceClient, mailbox: str, identity: str) -> dict[str, Any] | None:
    path = f"{_path(mailbox)}/messages/{quote(identity, safe='')}"
    try:
        body = client.get("gmail.messages.get", path, {"format": "full"}, subject=mailbox).body
    except AoError as error:
        if error.details.get("status") == 404:
            return None  # Deleted since it was listed. Only history.list says 404 for an expired cursor.
        raise name_culprit(error, f"mailbox {mailbox}") from error
    if not isinstance(body, dict) or body.get("id") != identity:
        raise ContractError(f"mailbox {mailbox}: gmail.messages.get: the answer has a foreign shape")
    return body


def _path(mailbox: str) -> str:
    return f"/users/{quote(mailbox, safe='@')}"
