"""The one HTTP client of all sources: time-outs, bounded retries, a rate limit, a body limit, the error taxonomy."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import requests
import stamina
import urllib3.exceptions

from ao_pipeline import clock
from ao_pipeline.adapters.sources.classify import classify, http_date
from ao_pipeline.adapters.sources.exchange import Answer, Counters, Params, RawAnswer, TokenProvider
from ao_pipeline.adapters.sources.limits import Budget, RateLimiter, rate_limit
from ao_pipeline.adapters.sources.threads import THREADS, Threads
from ao_pipeline.errors import (
    AoError,
    BudgetExhaustedError,
    ContractError,
    PermanentError,
    StepLimitError,
    TransientError,
)
from ao_pipeline.resilience.progress import beat
from ao_pipeline.settings import Settings, url_variable

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Longest accepted answer; the largest page that is asked for is some megabytes."""

BACKOFF_FIRST_SECONDS: Final = 0.25
BACKOFF_MAX_SECONDS: Final = 15.0
_CHUNK_BYTES: Final = 256 * 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


class SourceClient:
    """One source for the length of one collection. A context manager: leaving it closes threads and connections."""

    def __init__(
        self,
        source: str,
        *,
        settings: Settings,
        tokens: TokenProvider,
        sleep: Callable[[float], None] = clock.sleep,
        monotonic: Callable[[], float] = clock.monotonic_seconds,
        exact_numbers: bool = False,
    ) -> None:
        self.source = source
        self.counters = Counters()
        self.first_server_time: datetime | None = None
        """The upstream's clock at the first answer: no later change can have been in it."""
        self.budget = Budget(settings.source_budget_seconds, source=source, sleep=sleep, monotonic=monotonic)
        self._base_url = settings.upstream_url(source)
        self._timeout = (settings.connect_timeout_seconds, settings.read_timeout_seconds)
        self._attempts = settings.call_attempts
        self._tokens = tokens
        # The sandbox states its own limits by 429; vendors' limits hold for the vendors.
        is_sandbox = self._base_url.startswith(settings.sandbox_url + "/")
        self._limiter = RateLimiter(
            None if is_sandbox else rate_limit(source, settings),
            source=source,
            folder=settings.data_path / "limits",
            monotonic=monotonic,
        )
        self._exact_numbers = exact_numbers
        self._lock = threading.Lock()
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._threads = Threads(f"collect-{source}")
        self._random = random.Random()  # noqa: S311 - jitter, not a secret

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A step that must end does not wait for those that made it late: they end with their own time-out.
        self._threads.close(is_waiting=not isinstance(error, StepLimitError))
        for session in self._sessions:
            session.close()

    def get(
        self,
        operation: str,
        path: str,
        params: Params | None = None,
        *,
        subject: str = "",
        headers: Mapping[str, str] | None = None,
        is_cursor_call: bool = False,
    ) -> Answer:
        """Get one JSON document.

        Args:
            operation: Name in messages and of the rate limit, such as `gmail.messages.get`.
            path: Path below the source's base URL; its variable parts are quoted already.
            params: Query parameters.
            subject: On whose behalf, where tokens differ.
            headers: Further request headers.
            is_cursor_call: Whether 404, 410 and 412 mean that the cursor has expired.

        Raises:
            TransientError: All attempts failed in a way that may pass.
            BudgetExhaustedError: The collection's time is used up, or the upstream asks for a longer wait.
            AuthError: The credentials are refused.
            CursorExpiredError: The upstream forgot the cursor.
            PermanentError: Any other refusal.
        """
        pause_seconds = 0.0

        def on_failure(error: Exception) -> bool | float:
            nonlocal pause_seconds
            if not isinstance(error, TransientError) or isinstance(error, BudgetExhaustedError):
                return False
            asked = error.details.get("retry_after_seconds")
            pause_seconds = float(asked) if asked is not None else self._backoff(attempt_number)
            return 0.0  # The pause is taken below, by the project's own clock and within the budget.

        attempt_number = 1
        # Its default hooks print a line a retry to wherever this process logs, also between the lines of `ao … --json`.
        stamina.instrumentation.set_on_retry_hooks([])
        for attempt in stamina.retry_context(on=on_failure, attempts=self._attempts, timeout=None):
            attempt_number = attempt.num
            with attempt:
                if attempt_number > 1:
                    self._count(retries=1)
                    self.budget.wait(pause_seconds, operation)
                return self._attempt(operation, path, params, subject, headers, is_cursor_call)
        raise PermanentError(f"{operation}: no attempt was made; AO_CALL_ATTEMPTS must be at least 1")

    def each(self, call: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return `call(item)` for each item, in order; see `Threads.each`."""
        return self._threads.each(call, items)

    def in_turn(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `call(item)` for each item, in order and few at a time; see `Threads.in_turn`."""
        return self._threads.in_turn(call, items)

    def count_page(self) -> None:
        """Count one listing page."""
        beat()
        self._count(pages=1)

    def _attempt(
        self,
        operation: str,
        path: str,
        params: Params | None,
        subject: str,
        headers: Mapping[str, str] | None,
        is_cursor_call: bool,
    ) -> Answer:
        for is_last in (False, True):
            self.budget.require(operation)
            self._limiter.acquire(subject, operation, self.budget)
            token = self._tokens.headers(subject, self.send)
            raw = self.send("GET", self._base_url + path, headers={**(headers or {}), **token}, params=params)
            if raw.status != 401 or is_last:
                break
            self._tokens.forget(subject)  # Once: a token may be revoked early. Twice is a matter for a human.
        if 200 <= raw.status < 300:
            return Answer(self._decode(raw, operation), self._server_time(raw))
        raise classify(
            raw.status, raw.headers, raw.body, operation=operation, is_cursor_call=is_cursor_call, now=clock.utc_now()
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Params | None = None,
        data: bytes | None = None,
    ) -> RawAnswer:
        """Send one request and read its answer to the end.

        Raises:
            TransientError: Time-out, reset, or an answer cut short. The message holds no address.
            ContractError: The answer is longer than `MAX_BODY_BYTES`.
            PermanentError: The request itself is impossible, such as a malformed address.
        """
        self._count(requests=1)
        try:
            response = self._session().request(
                method,
                url,
                headers={"Accept": "application/json", **headers},
                params=params,
                data=data,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            with response:
                return RawAnswer(response.status_code, response.headers, self._read(response))
        # `from None`: the cause's own message holds the address with its query.
        except (requests.Timeout, requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
            raise TransientError(f"{self.source}: the connection failed ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise PermanentError(
                f"{self.source}: the request cannot be sent ({type(error).__name__}); check {url_variable(self.source)}"
            ) from None

    def _read(self, response: requests.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        # Piece by piece as it arrives: a server that drips bytes resets the read time-out but not the budget.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            beat()
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ContractError(f"{self.source}: an answer exceeds {MAX_BODY_BYTES} bytes; it was refused")
            self.budget.require(f"{self.source} answer")
        return b"".join(chunks)

    def _decode(self, raw: RawAnswer, operation: str) -> Any:
        # Undecodable bytes become U+FFFD: one bad byte in one record must not stop a source for good.
        text = raw.body.decode("utf-8-sig", "replace")
        try:
            return json.loads(text, parse_float=Decimal) if self._exact_numbers else json.loads(text)
        except (ValueError, RecursionError):
            raise TransientError(f"{operation} answered {raw.status} with a body that is not JSON") from None

    def _server_time(self, raw: RawAnswer) -> datetime | None:
        moment = http_date(raw.headers.get("Date"))
        with self._lock:
            self.first_server_time = self.first_server_time or moment
        return moment

    def _backoff(self, attempt_number: int) -> float:
        """Full jitter: between nothing and the exponential bound."""
        return self._random.uniform(0, min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (attempt_number - 1)))

    def _count(self, *, requests: int = 0, retries: int = 0, pages: int = 0) -> None:
        with self._lock:
            self.counters.requests += requests
            self.counters.retries += retries
            self.counters.pages += pages

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def name_culprit(error: AoError, culprit: str) -> AoError:
    """Return the same kind of error, saying whose listing failed: a mailbox, a calendar, a project."""
    return type(error)(f"{culprit}: {error}", **error.details)


__all__ = ["THREADS", "SourceClient", "name_culprit"]
