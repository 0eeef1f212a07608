"""The sandbox as one ASGI application: every vendor at its path, the fault gate before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp

from ao_pipeline.sandbox import admin, webhook
from ao_pipeline.sandbox.faults import FaultGate
from ao_pipeline.sandbox.site import Site
from ao_pipeline.sandbox.vendors import asana, gmail, google, google_calendar, google_chat, xero


def build_app(site: Site) -> ASGIApp:
    """Return the application that serves a site."""
    routes = [
        *asana.ROUTES,
        *gmail.ROUTES,
        *google_calendar.ROUTES,
        *google_chat.ROUTES,
        *xero.ROUTES,
        *google.ROUTES,
        *webhook.ROUTES,
        *admin.ROUTES,
    ]
    app = Starlette(routes=routes)
    app.state.site = site
    return FaultGate(app, site.faults)
