"""What goes over the wire and comes back, and who adds the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Params = Mapping[str, str | int]


class TokenProvider(Protocol):
    """Where authorization headers come from. One token per subject: a mailbox, or the empty text."""

    def headers(self, subject: str, send: Sender) -> dict[str, str]:
        """Return headers with a token that is valid now, fetching one if need be."""

    def forget(self, subject: str) -> None:
        """Drop the token of `subject`: the upstream refused it."""


@dataclass(frozen=True)
class Answer:
    """A 2xx answer."""

    body: Any
    server_time: datetime | None
    """The `Date` header: the upstream's clock, in whole seconds."""


@dataclass(frozen=True)
class RawAnswer:
    """Any answer, its body read to the end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender(Protocol):
    """Send one request as it is: no retry, no token. Token providers use it for their own requests."""

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Params | None = None,
        data: bytes | None = None,
    ) -> RawAnswer: ...


@dataclass
class Counters:
    """What a collection cost."""

    requests: int = 0
    retries: int = 0
    pages: int = 0
