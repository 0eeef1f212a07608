"""Xero's tokens, cached until a minute before they end."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from ao_pipeline import clock
from ao_pipeline.adapters.sources.exchange import RawAnswer, Sender
from ao_pipeline.adapters.sources.rotating import RefreshTokenFile
from ao_pipeline.adapters.sources.tokens import CachedTokens, document_of, lifetime_of, token_error, token_of
from ao_pipeline.errors import ContractError
from ao_pipeline.settings import Settings

XERO_SCOPES: Final = "accounting.invoices.read accounting.payments.read accounting.contacts.read"
"""Applications made since March 2026 have these narrow scopes only."""


class XeroTokens:
    """Thirty-minute tokens, by client credentials (a custom connection) or by a refresh token that rotates."""

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = clock.monotonic_seconds) -> None:
        self._url = settings.upstream_url("xero_token")
        secret = settings.xero_client_secret.get_secret_value()
        self._basic = base64.b64encode(f"{settings.xero_client_id}:{secret}".encode()).decode()
        self._tenant_id = settings.xero_tenant_id
        path = settings.xero_refresh_token_path
        self._refresh_file = None if path is None else RefreshTokenFile(path)
        self._cache = CachedTokens(self._fetch, monotonic)

    def headers(self, subject: str, send: Sender) -> dict[str, str]:
        """Return the bearer header and the organisation's."""
        return {"Authorization": f"Bearer {self._cache.get('', send)}", "xero-tenant-id": self._tenant_id}

    def forget(self, subject: str) -> None:
        """Drop the cached token."""
        self._cache.forget("")

    def _fetch(self, subject: str, send: Sender) -> tuple[str, float]:
        if self._refresh_file is None:
            raw, document = self._ask(send, {"grant_type": "client_credentials", "scope": XERO_SCOPES})
        else:
            with self._refresh_file.locked() as refresh_token:
                raw, document = self._ask(send, {"grant_type": "refresh_token", "refresh_token": refresh_token})
                successor = document.get("refresh_token")
                if not isinstance(successor, str) or not successor:
                    raise ContractError("xero.token answered without the next refresh token; the old one was kept")
                self._refresh_file.replace(successor)
        return token_of(raw, "xero.token"), lifetime_of(raw)

    def _ask(self, send: Sender, form: dict[str, str]) -> tuple[RawAnswer, dict[str, Any]]:
        raw = send(
            "POST",
            self._url,
            headers={"Authorization": f"Basic {self._basic}", "Content-Type": "application/x-www-form-urlencoded"},
            data=urlencode(form).encode(),
        )
        if raw.status != 200:
            raise token_error(raw, "xero.token")
        return raw, document_of(raw, "xero.token")
