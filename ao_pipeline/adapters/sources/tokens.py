"""Where tokens come from: Asana's is fixed, Google's are cached until a minute before they end. Xero's: `xero_tokens`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import google.auth.exceptions
import google.auth.transport
from google.oauth2 import service_account

from ao_pipeline import clock
from ao_pipeline.adapters.sources.classify import classify
from ao_pipeline.adapters.sources.exchange import RawAnswer, Sender
from ao_pipeline.errors import AoError, AuthError, ConfigError, ContractError, TransientError

EXPIRY_MARGIN_SECONDS: Final = 60.0
"""A token is renewed this long before its end: clocks differ, and a request takes time."""

_MAX_LIFETIME_SECONDS: Final = 86_400.0

_MAX_STATED_SECONDS: Final = 1e9
"""Longest lifetime that a token endpoint may state: thirty years."""

GOOGLE_SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "gmail": ("https://www.googleapis.com/auth/gmail.readonly",),
    "calendar": ("https://www.googleapis.com/auth/calendar.readonly",),
    "chat": (
        "https://www.googleapis.com/auth/chat.spaces.readonly",
        "https://www.googleapis.com/auth/chat.memberships.readonly",
        "https://www.googleapis.com/auth/chat.messages.readonly",
    ),
    "gtasks": ("https://www.googleapis.com/auth/tasks.readonly",),
    "people": ("https://www.googleapis.com/auth/contacts.readonly",),
    "drive": ("https://www.googleapis.com/auth/drive.metadata.readonly",),
}
"""Read-only, and per source: a leaked token opens one of them."""


class FixedToken:
    """A token that never changes while a collection runs."""

    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self, subject: str, send: Sender) -> dict[str, str]:
        """Return the bearer header."""
        return {"Authorization": f"Bearer {self._token}"}

    def forget(self, subject: str) -> None:
        """Do nothing: there is no other token."""


@dataclass(frozen=True)
class _Lease:
    token: str
    renew_at: float


class CachedTokens:
    """One token per subject, fetched by one thread at a time."""

    def __init__(self, fetch: Callable[[str, Sender], tuple[str, float]], monotonic: Callable[[], float]) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._leases: dict[str, _Lease] = {}

    def get(self, subject: str, send: Sender) -> str:
        """Return a token that is valid for a minute at least."""
        with self._lock:
            lease = self._leases.get(subject)
            if lease is None or self._monotonic() >= lease.renew_at:
                # Counted from before the request, on a clock that no clock change moves.
                asked_at = self._monotonic()
                token, lifetime = self._fetch(subject, send)
                lease = _Lease(token, asked_at + min(lifetime, _MAX_LIFETIME_SECONDS) - EXPIRY_MARGIN_SECONDS)
                self._leases[subject] = lease
            return lease.token

    def forget(self, subject: str) -> None:
        """Drop the token of `subject`."""
        with self._lock:
            self._leases.pop(subject, None)


class GoogleTokens:
    """Service-account tokens by domain-wide delegation: a subject is the user that is read."""

    def __init__(
        self,
        credentials_file: Path,
        scopes: tuple[str, ...],
        *,
        default_subject: str,
        monotonic: Callable[[], float] = clock.monotonic_seconds,
    ) -> None:
        self._file = credentials_file
        self._scopes = scopes
        self._default_subject = default_subject
        self._account: service_account.Credentials | None = None
        self._cache = CachedTokens(self._fetch, monotonic)

    def headers(self, subject: str, send: Sender) -> dict[str, str]:
        """Return the bearer header of `subject`, or of the default one when it is empty."""
        return {"Authorization": f"Bearer {self._cache.get(subject or self._default_subject, send)}"}

    def forget(self, subject: str) -> None:
        """Drop the cached token."""
        self._cache.forget(subject or self._default_subject)

    def _fetch(self, subject: str, send: Sender) -> tuple[str, float]:
        transport = _GoogleTransport(send)
        if self._account is None:
            self._account = self._load()
        credentials = self._account.with_subject(subject)  # type: ignore[no-untyped-call]
        try:
            credentials.refresh(transport)
        except google.auth.exceptions.GoogleAuthError as error:
            # The error's text may quote the token endpoint's answer, so only its kind is passed on.
            raise AuthError(
                f"google refused a token for {subject} ({type(error).__name__}{transport.reason});"
                " authorise the client id for the scope, and check that the user exists"
            ) from None
        return str(credentials.token), transport.lifetime_seconds

    def _load(self) -> service_account.Credentials:
        try:
            account = _account(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, google.auth.exceptions.MalformedError) as error:
            raise ConfigError(
                f"{self._file.name} is not a readable service-account file ({type(error).__name__});"
                " set AO_GOOGLE_CREDENTIALS_FILE"
            ) from None
        scoped: service_account.Credentials = account.with_scopes(list(self._scopes))
        return scoped


@lru_cache(maxsize=4)
def _account(text: str) -> service_account.Credentials:
    """Parse a key once a process: that costs more than all requests of a quiet collection."""
    info = json.loads(text)
    load = service_account.Credentials.from_service_account_info
    account: service_account.Credentials = load(  # type: ignore[no-untyped-call]
        info if isinstance(info, dict) else {}
    )
    return account


class _GoogleTransport(google.auth.transport.Request):
    """google-auth's requests through our own sessions, time-outs and taxonomy."""

    def __init__(self, send: Sender) -> None:
        self._send = send
        self.lifetime_seconds = 0.0
        self.reason = ""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _GoogleResponse:
        raw = self._send(method, url, headers=headers or {}, data=body)
        if raw.status != 200:
            error = token_error(raw, "google.token")
            if isinstance(error, TransientError):
                raise error  # Our retries are bounded by the budget; the library's own are not.
            self.reason = f", {error.details['reason']}" if error.details.get("reason") else ""
        else:
            # Before the library reads it: it takes the lifetime as it comes, and raises what Python raises.
            self.lifetime_seconds = lifetime_of(raw)
            token_of(raw, "google.token")
        return _GoogleResponse(raw)


class _GoogleResponse(google.auth.transport.Response):
    def __init__(self, raw: RawAnswer) -> None:
        self._raw = raw

    @property
    def status(self) -> int:
        return self._raw.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._raw.headers

    @property
    def data(self) -> bytes:
        return self._raw.body


def token_error(raw: RawAnswer, operation: str) -> AoError:
    """Return the error that a token endpoint's refusal stands for."""
    error = classify(raw.status, raw.headers, raw.body, operation=operation, is_cursor_call=False, now=clock.utc_now())
    if isinstance(error, TransientError):
        return error
    # A token endpoint says 400 for wrong credentials: a human has to act, whatever the status.
    reason = error.details.get("reason") or "no reason given"
    return AuthError(f"{operation} answered {raw.status} ({reason}); renew the credentials", **error.details)


def document_of(raw: RawAnswer, operation: str) -> dict[str, Any]:
    """Return a token endpoint's answer.

    Raises:
        TransientError: It is not JSON.
        ContractError: It is no object.
    """
    try:
        document = json.loads(raw.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise TransientError(f"{operation} answered 200 with a body that is not JSON") from None
    if not isinstance(document, dict):
        raise ContractError(f"{operation} answered with a foreign shape")
    return document


def token_of(raw: RawAnswer, operation: str) -> str:
    """Return a token endpoint's access token.

    Raises:
        TransientError: The answer is not JSON.
        ContractError: The answer holds no token.
    """
    token = document_of(raw, operation).get("access_token")
    if not isinstance(token, str) or not token:
        raise ContractError(f"{operation} answered without an access token")
    return token


def lifetime_of(raw: RawAnswer) -> float:
    """Return how many seconds a new token lives; 0 when the answer does not say.

    Raises:
        TransientError: The answer is not JSON.
        ContractError: It says something that is no number of seconds.
    """
    value = document_of(raw, "token").get("expires_in") or 0
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_STATED_SECONDS:
        raise ContractError("a token endpoint answered with a lifetime that is no number of seconds")
    return float(value)
