"""The upstreams by name: where the sandbox mounts each, and which setting holds its address."""

from __future__ import annotations

from typing import Final

SANDBOX_PATHS: Final = {
    "asana": "/asana/api/1.0",
    "gmail": "/gmail/gmail/v1",
    "calendar": "/calendar/calendar/v3",
    "chat": "/chat/v1",
    "gtasks": "/tasks/tasks/v1",
    "people": "/people/v1",
    "drive": "/drive/drive/v3",
    "xero": "/xero/api.xro/2.0",
    "xero_token": "/xero/identity/connect/token",
    "webhook": "/webhook/chat",
}
"""Where the sandbox mounts each vendor's API; behind it stand the vendor's own paths."""

URL_FIELDS: Final = {
    **{source: f"{source}_base_url" for source in ("asana", "gmail", "calendar", "chat", "people", "drive", "xero")},
    "gtasks": "tasks_base_url",
    "xero_token": "xero_token_url",
    "webhook": "webhook_url",
}
"""Which field holds the address of a source."""
