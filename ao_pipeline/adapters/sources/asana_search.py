"""Asana's search for tasks: what changed in the whole workspace, in as many questions as there are hundreds of changes.

It is the only operation whose cost follows what changed; listings are asked by project or by person. Three things keep it
from being enough: workspaces on a free plan do not have it, its index is some seconds to a minute late, and nobody promises
that it is complete. So tasks are also listed in turn, and where there is no search, all of them each time.

Source: Asana API 1.0, `GET /workspaces/{gid}/tasks/search`: 402 without a paid plan, 60 requests a minute, no pages; "you
can paginate manually by sorting and passing modified values". Its description names no page size.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.values import BadValueError, as_instant
from ao_pipeline.errors import PermanentError

MAX_ANSWERS: Final = 30
"""Answers of one collection: half of what a minute allows. More has changed than a search is for; all is listed then."""

_UNAVAILABLE: Final = frozenset({400, 402, 404})
"""What a workspace without search, or a stand-in that does not know it, answers. Credentials are told by the listings."""

_CROWD: Final = 20
"""Tasks changed in one millisecond from which on an answer may hide others of the same, which no later bound would show."""

_MILLISECOND: Final = timedelta(milliseconds=1)


class SearchUnusableError(Exception):
    """The search is not there, or cannot tell everything. Nothing was taken from it that a listing would not bring."""


def changed_tasks(
    client: SourceClient, workspace: str, *, since: datetime, fields: str
) -> Iterator[list[dict[str, Any]]]:
    """Yield tasks that were modified at `since` or later, oldest first; each task once.

    Raises:
        SearchUnusableError: List instead.
        AoError: The upstream failed as it may in any listing.
    """
    path = f"/workspaces/{quote(workspace, safe='')}/tasks/search"
    seen: set[str] = set()
    for _ in range(MAX_ANSWERS):
        records = _ask(client, path, _after(since) | {"opt_fields": fields})
        fresh = [record for record in records if record["gid"] not in seen]
        seen.update(record["gid"] for record in fresh)
        if fresh:
            yield fresh
        times = [_modified_at(record) for record in records]
        # The page size is unknown, so only an answer without news is the last.
        if not fresh:
            if len(records) >= _CROWD and len(set(times)) == 1:
                _require_all(client, path, len(records))
            return
        since = max(since, *times)
    raise SearchUnusableError


def _after(since: datetime) -> dict[str, str]:
    # A millisecond earlier: whether the bound itself is in is not said.
    return {"sort_by": "modified_at", "sort_ascending": "true", "modified_at.after": to_iso(since - _MILLISECOND)}


def _require_all(client: SourceClient, path: str, count: int) -> None:
    """Accept an answer of `count` tasks of one millisecond if the search can answer more than that at once.

    Raises:
        SearchUnusableError: It cannot, or the workspace is too small to tell: the answer may have been cut.
    """
    if len(_ask(client, path, {"sort_by": "modified_at", "opt_fields": contracts.KEY_FIELDS})) <= count:
        raise SearchUnusableError


def _ask(client: SourceClient, path: str, params: Params) -> list[dict[str, Any]]:
    try:
        answer = client.get(contracts.SEARCH_PAGE.operation, path, params)
    except PermanentError as error:
        if error.details.get("status") in _UNAVAILABLE:
            raise SearchUnusableError from error
        raise
    records = contracts.SEARCH_PAGE.records(answer.body)
    client.count_page()
    return records


def _modified_at(record: dict[str, Any]) -> datetime:
    try:
        at = as_instant(record.get("modified_at"), "modified_at")
    except BadValueError as error:
        raise SearchUnusableError from error
    if at is None:
        raise SearchUnusableError
    return at
