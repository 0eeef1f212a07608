"""Which function reads which asset from files: the one door to the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from ao_pipeline import clock
from ao_pipeline.adapters.files_source import asana, calendars, chat, invoices, mail
from ao_pipeline.adapters.files_source.folder import Found, Ignored, Kind, scan, survey
from ao_pipeline.adapters.files_source.intake import FilesRequest, Limits
from ao_pipeline.collect.result import Collected
from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import Settings

FilesCollector = Callable[[FilesRequest, list[Found]], Collected]


@dataclass(frozen=True)
class FilesReader:
    """How an asset is read: the kinds of files that it comes from, and the function."""

    kinds: tuple[Kind, ...]
    collect: FilesCollector


READERS: Final[Mapping[str, FilesReader]] = MappingProxyType(
    {
        "raw/asana_users": FilesReader(asana.KINDS, asana.collect_users),
        "raw/asana_projects": FilesReader(asana.KINDS, asana.collect_projects),
        "raw/asana_tasks": FilesReader(asana.KINDS, asana.collect_tasks),
        "raw/gmail_messages": FilesReader(mail.KINDS, mail.collect_messages),
        "raw/calendar_calendars": FilesReader(calendars.KINDS, calendars.collect_calendars),
        "raw/calendar_events": FilesReader(calendars.KINDS, calendars.collect_events),
        "raw/chat_spaces": FilesReader(chat.GROUP_KINDS, chat.collect_spaces),
        "raw/chat_members": FilesReader(chat.GROUP_KINDS, chat.collect_members),
        "raw/chat_messages": FilesReader(chat.MESSAGE_KINDS, chat.collect_messages),
        "raw/xero_contacts": FilesReader(invoices.KINDS, invoices.collect_contacts),
        "raw/xero_invoices": FilesReader(invoices.KINDS, invoices.collect_invoices),
    }
)


def found_files(asset: str, settings: Settings) -> list[Found]:
    """Return the files that an asset is read from; empty when the setting names no folder or it holds none.

    Raises:
        ConfigError: The folder is missing.
    """
    root = settings.files_path
    reader = READERS.get(asset)
    if root is None:
        return []
    found = scan(root)
    return [file for file in found if reader is not None and file.kind in reader.kinds]


@dataclass(frozen=True)
class KindReport:
    """What the folder holds of one kind of file, and the tables that it goes into."""

    kind: str
    files: int
    tables: tuple[str, ...]


@dataclass(frozen=True)
class FolderReport:
    """What a folder of exports holds. `problem` and `fix` are empty when it can be collected from."""

    folder: str
    kinds: tuple[KindReport, ...]
    ignored: tuple[Ignored, ...]
    problem: str = ""
    fix: str = ""


def report_folder(settings: Settings) -> FolderReport | None:
    """Return what the folder of exports holds; None when the setting names none. Nothing is collected."""
    root = settings.files_path
    if root is None:
        return None
    try:
        found, ignored = survey(root)
    except ConfigError as error:
        return FolderReport(str(root), (), (), str(error), "correct the setting that is named")
    kinds = tuple(
        KindReport(
            kind.value,
            sum(file.size_bytes if kind is Kind.MAILS else 1 for file in found if file.kind is kind),
            tuple(asset for asset, reader in READERS.items() if kind in reader.kinds),
        )
        for kind in Kind
        if any(file.kind is kind for file in found)
    )
    archives = [file.name for file in ignored if file.is_archive]
    problem = fix = ""
    if archives:
        problem, fix = f"{len(archives)} archives are not read: {', '.join(archives[:3])}", "unpack them in the folder"
    elif not found:
        problem, fix = "nothing in it can be read", "docs/files.md names the exports that are read"
    return FolderReport(str(root), kinds, tuple(ignored), problem, fix)


def collect_files(
    asset: str,
    files: list[Found],
    *,
    settings: Settings,
    cursor: Mapping[str, Any] | None,
    stored_keys: Callable[[], pa.Table],
    now: datetime,
    limits: Limits | None = None,
    monotonic: Callable[[], float] = clock.monotonic_seconds,
) -> Collected:
    """Collect what changed in `files` since `cursor`, as far as `limits` go.

    Args:
        asset: Key of a raw asset.
        files: What `found_files` gave.
        settings: The folder and the organisation's time zone.
        cursor: What the last committed collection left; an upstream's own cursor counts as none.
        stored_keys: Reads the key columns of all stored rows.
        now: The cycle's end.
        limits: Bounds; None means the default ones within the source's time budget.
        monotonic: Measures durations; a test passes its own.

    Raises:
        TransientError: A file vanished or could not be read. Nothing was remembered.
    """
    root = settings.files_path
    assert root is not None, "files were found in a folder, so there is one"
    request = FilesRequest(
        root=root,
        zone=settings.zone,
        cursor=cursor,
        stored_keys=stored_keys,
        now=now,
        limits=limits or Limits(seconds=0.75 * settings.source_budget_seconds),
        monotonic=monotonic,
    )
    return READERS[asset].collect(request, files)
