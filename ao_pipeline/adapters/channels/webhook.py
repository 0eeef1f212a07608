"""Sends messages to a Google Chat webhook. The URL holds a key, so it never stands in an error or a log.

Source: Google Chat API, "Send messages to Google Chat with webhooks" and `spaces.messages.create`, parameter `requestId`:
the same id twice gives the first message again, so a retry after a lost answer sends nothing twice.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

import requests

from ao_pipeline.errors import PermanentError, TransientError

MAX_TEXT_CHARACTERS: Final = 4000
"""Google Chat refuses messages above 4,096 characters."""

_RETRYABLE_STATUS: Final = frozenset({408, 425, 429})


class WebhookChannel:
    """One webhook. Use it as a context manager, so that its connections close.

    Args:
        url: The webhook's URL with key and token. Secret.
        connect_timeout_seconds: For TCP and TLS.
        read_timeout_seconds: Silence after which the answer counts as lost.
        variable: The setting that holds the URL, for messages.
    """

    name: Final = "chat_webhook"

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_seconds: float = 3.0,
        read_timeout_seconds: float = 10.0,
        variable: str = "AO_WEBHOOK_URL",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise PermanentError(f"the webhook's URL is not http(s)://…; set {variable}")
        self._variable = variable
        self._parts = parts
        self._timeout = (connect_timeout_seconds, read_timeout_seconds)
        self._session = requests.Session()
        # Neither a proxy nor a .netrc of the machine may see the URL.
        self._session.trust_env = False

    def __repr__(self) -> str:
        return "WebhookChannel(…)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, idempotency_key: str, title: str, body: str) -> None:
        """Send one message; the same key sends the same message at most once.

        Raises:
            TransientError: Time-out, reset, 408, 425, 429 or 5xx: it may or may not have arrived; send it again.
            PermanentError: Any other answer: the webhook is gone or refuses this message.
        """
        failure: str | None = None
        try:
            response = self._session.post(
                self._url_for(idempotency_key),
                json=_message(title, body),
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            # Only the status counts: the body is never read, however long it is or however slowly it drips.
            with response:
                status = response.status_code
        except (requests.RequestException, OSError) as error:
            failure = type(error).__name__
        if failure is not None:
            # Raised outside the handler: the library's own error holds the URL, and a chained cause would be printed.
            raise TransientError(f"the webhook did not answer ({failure})", error=failure)
        if 200 <= status < 300:
            return
        if status in _RETRYABLE_STATUS or status >= 500:
            raise TransientError(f"the webhook answered {status}", status=status)
        raise PermanentError(f"the webhook answered {status}; check {self._variable} and the message", status=status)

    def _url_for(self, idempotency_key: str) -> str:
        extra = urlencode({"requestId": idempotency_key})
        query = f"{self._parts.query}&{extra}" if self._parts.query else extra
        return urlunsplit(self._parts._replace(query=query, fragment=""))


def _message(title: str, body: str) -> dict[str, Any]:
    text = f"*{title}*\n{body}" if body else f"*{title}*"
    # `<users/all>` and `<https://…|text>` are commands in Chat; words of a mail must not ring everybody's phone.
    text = text.replace("<", "‹").replace(">", "›")
    return {"text": text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"}
