"""Drive file metadata: listed once, then by the list of changes. Shared drives are not read.

The page token of the first changes is taken before the full listing: what changes while it runs is then in the
changes, not between the two.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.outcome import collected, full_listing, key_table, next_cursor
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.walk import google_pages
from ao_pipeline.collect.batch import Batch, Key
from ao_pipeline.collect.contracts import workspace as contracts
from ao_pipeline.collect.parse.workspace import parse_file
from ao_pipeline.collect.result import Collected, Drift
from ao_pipeline.collect.workspace_tables import RAW_DRIVE_FILES
from ao_pipeline.errors import ContractError, CursorExpiredError, PermanentError, TransientError

PAGE_SIZE: Final = 1000
_FILES: Final[Params] = {
    "pageSize": PAGE_SIZE,
    "corpora": "user",
    "spaces": "drive",
    "fields": f"kind,nextPageToken,incompleteSearch,files({contracts.FILE_FIELDS})",
}
_CHANGES: Final[Params] = {
    "pageSize": PAGE_SIZE,
    "includeRemoved": "true",
    "spaces": "drive",
    "fields": f"kind,nextPageToken,newStartPageToken,changes(changeType,removed,fileId,file({contracts.FILE_FIELDS}))",
}


def collect_files(request: CollectionRequest) -> Collected:
    """Collect `raw/drive_files`; files in the bin keep their row."""
    drift = Drift()
    batch = Batch(RAW_DRIVE_FILES, contracts.FILE, parse_file, drift)
    with request.open("drive") as client:
        token = request.cursor.get("page_token") if request.cursor else None
        if token:
            # Rare: the account or the upstream's address has changed. Everything is listed again.
            with suppress(CursorExpiredError):
                return _collect_changes(request, client, batch, drift, str(token))
        start = _start_token(client)
        for page in google_pages(client, contracts.FILES_PAGE, "/files", _FILES):
            if page.body.get("incompleteSearch") is True:
                raise TransientError("drive.files.list: Google searched only a part; the next cycle tries again")
            for record in page.records:
                batch.add(record)
        new_cursor = {"generation": request.generation() + 1, "page_token": start}
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        return full_listing(request, client, RAW_DRIVE_FILES, batch, cursor=cursor, drift=drift)


def _collect_changes(
    request: CollectionRequest, client: SourceClient, batch: Batch, drift: Drift, token: str
) -> Collected:
    changes, next_token = _list_changes(client, token)
    gone: set[Key] = set()
    for change in changes.values():
        file = change.get("file")
        if change.get("removed") is True or not isinstance(file, dict):
            gone.add((change["fileId"],))
        else:
            batch.add({**file, "id": change["fileId"]})
    if not next_token:
        drift.add("drive.changes.no_next_token")  # What came is kept; the next collection starts where this one did.
    new_cursor = {"generation": request.generation(), "page_token": next_token or token}
    return collected(
        client,
        RAW_DRIVE_FILES,
        batch.table(),
        cursor=next_cursor(request, batch, new_cursor, empty={"generation": 0}),
        drift=drift,
        deleted=key_table(RAW_DRIVE_FILES, gone - batch.quarantined_keys),
        quarantined=batch.quarantined,
    )


def _start_token(client: SourceClient) -> str:
    body = client.get("drive.changes.getStartPageToken", "/changes/startPageToken").body
    token = body.get("startPageToken") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token:
        raise ContractError("drive.changes.getStartPageToken: the answer has no page token")
    return token


def _list_changes(client: SourceClient, token: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the last change of each file, and where the next list of changes starts, empty when that was not said.

    Raises:
        CursorExpiredError: The first page was refused: the token is not of this account.
        ContractError: A change without file, or neither a change nor the next token.
    """
    found: dict[str, dict[str, Any]] = {}
    next_token: str | None = None
    try:
        for page in google_pages(client, contracts.CHANGES_PAGE, "/changes", {**_CHANGES, "pageToken": token}):
            for change in page.records:
                if change["changeType"] != "file":
                    continue
                file_id = change.get("fileId")
                if not isinstance(file_id, str) or not file_id:
                    raise ContractError("drive.changes.list: a change names no file; the page was refused")
                found[file_id] = change
            next_token = page.body.get("newStartPageToken")
    except PermanentError as error:
        if error.details.get("status") in (400, 404, 410):
            raise CursorExpiredError(
                "drive.changes.list: the page token was refused; a full listing follows"
            ) from error
        raise
    if not next_token and not found:
        raise ContractError("drive.changes.list: neither changes nor the next token, so the list is not complete")
    return found, next_token or ""
