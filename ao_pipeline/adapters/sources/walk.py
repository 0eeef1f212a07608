"""Walk listings page by page. A repeated page token or too many pages is the upstream's fault, not a reason to loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.collect.contracts.contract import PageContract
from ao_pipeline.errors import ContractError, PermanentError

MAX_PAGES: Final = 10_000
"""Pages of one listing. A million tasks fit; an upstream that invents page tokens does not."""

MAX_RESTARTS: Final = 2
"""Fresh starts of one listing whose page token expired half-way."""


@dataclass(frozen=True)
class Page:
    """One page: its records, the whole answer, and the upstream's clock when it was asked."""

    records: list[dict[str, Any]]
    body: Mapping[str, Any]
    server_time: datetime | None


class PageGuard:
    """Refuse a page token that comes twice, and page number `MAX_PAGES`."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._seen: set[str] = set()

    def check(self, token: str) -> None:
        """Accept a token.

        Raises:
            ContractError: The listing loops, or does not end.
        """
        if token in self._seen:
            raise ContractError(f"{self._operation}: a page token came twice; the listing loops and was refused")
        self._seen.add(token)
        if len(self._seen) >= MAX_PAGES:
            raise ContractError(f"{self._operation}: more than {MAX_PAGES} pages; the listing was refused")


def google_pages(
    client: SourceClient,
    contract: PageContract,
    path: str,
    params: Params,
    *,
    subject: str = "",
    is_cursor_call: bool = False,
) -> Iterator[Page]:
    """Yield the pages of a Google listing; an empty page in the middle is not the end."""
    guard = PageGuard(contract.operation)
    token: str | None = None
    while True:
        asked = {**params, "pageToken": token} if token else params
        answer = client.get(contract.operation, path, asked, subject=subject, is_cursor_call=is_cursor_call)
        if token and answer.body == {}:
            # Legal for an empty last page, and what a broken proxy says too: believed when it is said twice.
            answer = client.get(contract.operation, path, asked, subject=subject, is_cursor_call=is_cursor_call)
        records = contract.records(answer.body)
        client.count_page()
        yield Page(records, answer.body, answer.server_time)
        token = answer.body.get("nextPageToken")
        if not token:
            return
        guard.check(token)


def asana_records(client: SourceClient, contract: PageContract, path: str, params: Params) -> list[dict[str, Any]]:
    """Return every record of an Asana listing; start afresh when its offset expires on the way.

    Raises:
        PermanentError: The offset expired more than `MAX_RESTARTS` times, or the request is wrong.
    """
    for restart in range(MAX_RESTARTS + 1):
        try:
            return _asana_walk(client, contract, path, params)
        except _OffsetExpiredError as expired:
            if restart == MAX_RESTARTS:
                raise PermanentError(
                    f"{contract.operation}: the page offset expired {MAX_RESTARTS + 1} times in one listing"
                ) from expired
    raise PermanentError(f"{contract.operation}: the listing did not start")


class _OffsetExpiredError(Exception):
    """A page after the first was refused with 400."""


def _asana_walk(client: SourceClient, contract: PageContract, path: str, params: Params) -> list[dict[str, Any]]:
    guard = PageGuard(contract.operation)
    found: list[dict[str, Any]] = []
    offset: str | None = None
    while True:
        asked = {**params, "offset": offset} if offset else params
        try:
            answer = client.get(contract.operation, path, asked)
        except PermanentError as error:
            if offset is not None and error.details.get("status") == 400:
                raise _OffsetExpiredError from error
            raise
        found.extend(contract.records(answer.body))
        client.count_page()
        next_page = answer.body.get("next_page")
        offset = next_page.get("offset") if next_page else None
        if not offset:
            return found
        guard.check(offset)
