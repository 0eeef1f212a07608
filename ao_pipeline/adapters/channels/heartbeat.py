"""Tells a dead-man's switch that the engine works: one GET. The URL holds a key, so it never stands in an error or a log."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from ao_pipeline.errors import PermanentError, TransientError


def ping(url: str, *, connect_timeout_seconds: float, read_timeout_seconds: float) -> None:
    """Ask for the URL once.

    Raises:
        TransientError: No answer, or 408, 425, 429 or 5xx.
        PermanentError: The URL is none, or any other answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise PermanentError("the dead-man's switch's URL is not http(s)://…; set AO_HEARTBEAT_URL")
    failure: str | None = None
    with requests.Session() as session:
        session.trust_env = False  # Neither a proxy nor a .netrc of the machine may see the URL.
        try:
            timeout = (connect_timeout_seconds, read_timeout_seconds)
            with session.get(url, timeout=timeout, allow_redirects=False, stream=True) as response:
                status = response.status_code
        except (requests.RequestException, OSError) as error:
            failure = type(error).__name__
    if failure is not None:
        # Raised outside the handler: the library's own error holds the URL, and a chained cause would be printed.
        raise TransientError(f"the dead-man's switch did not answer ({failure})", error=failure)
    if 200 <= status < 300:
        return
    if status in {408, 425, 429} or status >= 500:
        raise TransientError(f"the dead-man's switch answered {status}", status=status)
    raise PermanentError(f"the dead-man's switch answered {status}; check AO_HEARTBEAT_URL", status=status)
