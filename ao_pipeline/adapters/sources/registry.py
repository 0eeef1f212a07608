"""Which function collects which asset: the one door to all sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from ao_pipeline import clock
from ao_pipeline.adapters.sources import (
    asana,
    asana_sections,
    asana_stories,
    asana_tasks,
    calendar,
    chat,
    chat_messages,
    drive,
    gmail,
    gtasks,
    people,
    xero,
)
from ao_pipeline.adapters.sources.request import (
    CollectionRequest,
    ReadChanges,
    ReadTable,
    no_changes,
    no_tables,
)
from ao_pipeline.collect.result import Collected
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.settings import Settings

Collector = Callable[[CollectionRequest], Collected]

COLLECTORS: Final[Mapping[str, Collector]] = MappingProxyType(
    {
        "raw/asana_users": asana.collect_users,
        "raw/asana_projects": asana.collect_projects,
        "raw/asana_sections": asana_sections.collect_sections,
        "raw/asana_tasks": asana_tasks.collect_tasks,
        "raw/asana_stories": asana_stories.collect_stories,
        "raw/gmail_messages": gmail.collect_messages,
        "raw/calendar_calendars": calendar.collect_calendars,
        "raw/calendar_events": calendar.collect_events,
        "raw/chat_spaces": chat.collect_spaces,
        "raw/chat_members": chat.collect_members,
        "raw/chat_messages": chat_messages.collect_messages,
        "raw/gtasks_lists": gtasks.collect_lists,
        "raw/gtasks_tasks": gtasks.collect_tasks,
        "raw/people_contacts": people.collect_contacts,
        "raw/drive_files": drive.collect_files,
        "raw/xero_contacts": xero.collect_contacts,
        "raw/xero_invoices": xero.collect_invoices,
        "raw/xero_payments": xero.collect_payments,
        "raw/xero_credit_notes": xero.collect_credit_notes,
    }
)


def collect(
    asset: str,
    *,
    settings: Settings,
    cursor: Mapping[str, Any] | None,
    stored_keys: Callable[[], pa.Table],
    now: datetime,
    stored_table: ReadTable = no_tables,
    changes_since: ReadChanges = no_changes,
    accepts_drop: bool = False,
    sleep: Callable[[float], None] = clock.sleep,
    monotonic: Callable[[], float] = clock.monotonic_seconds,
) -> Collected:
    """Collect one asset completely, or raise and leave everything as it was.

    Args:
        asset: Key of a raw asset.
        settings: Addresses, credentials, limits.
        cursor: What the last committed collection left; None asks for a full listing.
        stored_keys: Reads the key columns of all stored rows; called only when needed.
        now: The cycle's end.
        stored_table: Reads columns of a stored table; called by collectors that follow another table.
        changes_since: Reads what changed in a stored table; called by the same.
        accepts_drop: Whether a person said that what is missing from a complete listing is really gone.
        sleep: Waits; a test passes its own.
        monotonic: Measures durations; a test passes its own.

    Raises:
        UnknownNameError: No collector has this key.
        TransientError: The upstream failed in a way that may pass; `BudgetExhaustedError` when time ran out.
        AuthError: Credentials are refused.
        ContractError: An answer has a foreign shape.
        VolumeDropError: A complete listing shrank too much to be believed.
        PermanentError: Any other refusal.
    """
    collector = COLLECTORS.get(asset)
    if collector is None:
        raise UnknownNameError(f"{asset!r} has no collector; known are {sorted(COLLECTORS)}")
    return collector(
        CollectionRequest(
            settings=settings,
            cursor=cursor,
            stored_keys=stored_keys,
            now=now,
            stored_table=stored_table,
            changes_since=changes_since,
            accepts_drop=accepts_drop,
            sleep=sleep,
            monotonic=monotonic,
        )
    )
