"""The sandbox as one ASGI application: every vendor at its path, the fault gate before, the simulated clock on all."""

from __future__ import annotations

from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ao_pipeline.sandbox import admin, webhook
from ao_pipeline.sandbox.fault_gate import FaultGate
from ao_pipeline.sandbox.options import SandboxClock
from ao_pipeline.sandbox.site import Site
from ao_pipeline.sandbox.vendors import (
    asana,
    asana_search,
    gmail,
    google,
    google_calendar,
    google_chat,
    google_drive,
    google_people,
    google_tasks,
    xero,
)


class DatedApp:
    """Give every answer the `Date` of the simulated clock: a collector may take its watermark from it."""

    def __init__(self, app: ASGIApp, clock: SandboxClock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start" and not any(n == b"date" for n, _ in message["headers"]):
                date = format_datetime(self._clock.now(), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date)]
            await send(message)

        await self._app(scope, receive, send_dated)


def build_app(site: Site) -> ASGIApp:
    """Return the application that serves a site."""
    routes = [
        *asana.ROUTES,
        *asana_search.ROUTES,
        *gmail.ROUTES,
        *google_calendar.ROUTES,
        *google_chat.ROUTES,
        *google_tasks.ROUTES,
        *google_people.ROUTES,
        *google_drive.ROUTES,
        *xero.ROUTES,
        *google.ROUTES,
        *webhook.ROUTES,
        *admin.ROUTES,
    ]
    app = Starlette(routes=routes)
    app.state.site = site
    return DatedApp(FaultGate(app, site.faults, site.clock), site.clock)
