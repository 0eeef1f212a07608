"""Read a refused record again from what was kept of it, as its collector would: same contract, same parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect import tables, workspace_tables
from ao_pipeline.collect.batch import Batch, Record, Row
from ao_pipeline.collect.contracts import asana, google, workspace, xero
from ao_pipeline.collect.contracts.contract import RecordContract
from ao_pipeline.collect.parse import asana as parse_asana
from ao_pipeline.collect.parse import calendar as parse_calendar
from ao_pipeline.collect.parse import chat as parse_chat
from ao_pipeline.collect.parse import gmail as parse_gmail
from ao_pipeline.collect.parse import workspace as parse_workspace
from ao_pipeline.collect.parse import xero as parse_xero
from ao_pipeline.collect.result import MAX_PAYLOAD_BYTES, Drift
from ao_pipeline.errors import ContractError, UnknownNameError


@dataclass(frozen=True)
class Reader:
    """How one table's records are read.

    Attributes:
        spec: The table.
        contract: What a record must satisfy.
        parse: The record's row, without the scope.
        scope: Column that the request decides, empty where none; it stands before the record's own key in its label.
        version: Column that tells which of two versions is newer, empty where the upstream gives none.
    """

    spec: TableSpec
    contract: RecordContract
    parse: Callable[[Record], Row]
    scope: str = ""
    version: str = ""


_READERS: Final = (
    Reader(tables.RAW_ASANA_USERS, asana.USER, parse_asana.parse_user),
    Reader(tables.RAW_ASANA_PROJECTS, asana.PROJECT, parse_asana.parse_project, version="modified_at"),
    Reader(tables.RAW_ASANA_SECTIONS, asana.SECTION, parse_asana.parse_section, scope="project_gid"),
    Reader(tables.RAW_ASANA_TASKS, asana.TASK, parse_asana.parse_task, version="modified_at"),
    Reader(tables.RAW_ASANA_STORIES, asana.STORY, parse_asana.parse_story, scope="task_gid"),
    Reader(tables.RAW_GMAIL_MESSAGES, google.MAIL, parse_gmail.parse_message, scope="mailbox", version="history_id"),
    Reader(tables.RAW_CALENDAR_CALENDARS, google.CALENDAR, parse_calendar.parse_calendar),
    Reader(
        tables.RAW_CALENDAR_EVENTS,
        google.EVENT,
        parse_calendar.parse_event,
        scope="calendar_id",
        version="updated_at",
    ),
    Reader(tables.RAW_CHAT_SPACES, google.SPACE, parse_chat.parse_space),
    Reader(tables.RAW_CHAT_MEMBERS, google.MEMBER, parse_chat.parse_member),
    Reader(tables.RAW_CHAT_MESSAGES, google.CHAT, parse_chat.parse_message, version="edited_at"),
    Reader(workspace_tables.RAW_GTASKS_LISTS, workspace.LIST, parse_workspace.parse_list, version="updated_at"),
    Reader(
        workspace_tables.RAW_GTASKS_TASKS,
        workspace.TASK,
        parse_workspace.parse_task,
        scope="list_id",
        version="updated_at",
    ),
    Reader(workspace_tables.RAW_PEOPLE_CONTACTS, workspace.PERSON, parse_workspace.parse_person, version="updated_at"),
    Reader(workspace_tables.RAW_DRIVE_FILES, workspace.FILE, parse_workspace.parse_file, version="modified_at"),
    Reader(tables.RAW_XERO_CONTACTS, xero.CONTACT, parse_xero.parse_contact, version="updated_at"),
    Reader(tables.RAW_XERO_INVOICES, xero.INVOICE, parse_xero.parse_invoice, version="updated_at"),
    Reader(tables.RAW_XERO_PAYMENTS, xero.PAYMENT, parse_xero.parse_payment, version="updated_at"),
    Reader(tables.RAW_XERO_CREDIT_NOTES, xero.CREDIT_NOTE, parse_xero.parse_credit_note, version="updated_at"),
)
READERS: Final[Mapping[str, Reader]] = {reader.spec.asset: reader for reader in _READERS}


@dataclass(frozen=True)
class Replayed:
    """The record's row, one of them; or why it is refused still, then there is none."""

    rows: pa.Table
    reason: str = ""


def replay(asset: str, *, record_key: str, payload: str) -> Replayed:
    """Read one refused record again.

    Args:
        asset: Its table's asset.
        record_key: Its label, as the collector wrote it.
        payload: What was kept of it: canonical JSON, numbers with a point as text.

    Raises:
        UnknownNameError: The asset's collector does not read records of an upstream.
        ContractError: The payload was cut when it was kept, so it is no record any more.
    """
    reader = READERS.get(asset)
    if reader is None:
        raise UnknownNameError(f"{asset} has no records that could be read again; those are {', '.join(READERS)}")
    record = _record_of(asset, payload)
    own_key = record.get(reader.contract.key_field)
    # An id may hold the slash that stands between scope and key, so the key is taken off the end.
    scope_value = record_key.removesuffix(f"/{own_key}") if isinstance(own_key, str) and own_key else ""
    batch = Batch(reader.spec, reader.contract, reader.parse, Drift())
    batch.add(record, scope={reader.scope: scope_value} if reader.scope else None)
    reason = batch.quarantined[0].reason if batch.quarantined else ""
    return Replayed(batch.table(), reason)


def is_newer(asset: str, stored: Mapping[str, Any] | None, replayed: Mapping[str, Any]) -> bool:
    """Tell whether the stored row is a later version than the replayed one, as far as the upstream says."""
    column = READERS[asset].version
    if stored is None or not column:
        return False
    known, again = stored[column], replayed[column]
    if known is None or again is None:
        return again is None and known is not None
    if isinstance(known, str) and known.isdigit() and again.isdigit():
        return int(known) > int(again)
    return bool(known > again)


def _record_of(asset: str, payload: str) -> dict[str, Any]:
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.keys() == {"unreadable"}:
        raise ContractError(
            f"{asset}: what was kept of the record cannot be read (longer than {MAX_PAYLOAD_BYTES} bytes, or nested too"
            " deeply); have it read from its source with --from-source"
        )
    return record
