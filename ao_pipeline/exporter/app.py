"""The exporter's HTTP side: every answer is bounded in time, whatever the state store does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ao_pipeline.clock import monotonic_seconds, utc_now
from ao_pipeline.errors import AoError, TransientError
from ao_pipeline.exporter.dagster_figures import DagsterWatch
from ao_pipeline.exporter.metrics import CONTENT_TYPE, Scrape, render
from ao_pipeline.observability.health import HealthReport, assess, unreachable
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.observability.view import OperationsView

ANSWER_SECONDS: Final = 5.0
"""A reading that takes longer has failed: below Prometheus's own limit of 10 s, so that the failure is seen here."""

_READERS: Final = 2
"""Readings at once. One that hangs leaves one; when both hang, answers say so after `ANSWER_SECONDS`."""

_PATHS: Final = ("/metrics", "/health", "/ready", "/live", "/snapshot")

T = TypeVar("T")


class Store(Protocol):
    """What the exporter asks of the state store."""

    def view(self) -> OperationsView: ...
    def ping(self) -> None: ...
    def snapshot(self) -> dict[str, Any] | None: ...


@dataclass
class Exporter:
    """Answers from a store and from Dagster.

    Args:
        store: Read anew for each answer.
        watch: Dagster's figures.
        cadence_minutes: Minutes between two collections by raw asset.
        started_at: Start of this process.
        identity: This machine's engine.
        now: The clock; a value in tests.
    """

    store: Store
    watch: DagsterWatch
    cadence_minutes: Mapping[str, int]
    started_at: datetime
    identity: str = ""
    now: Callable[[], datetime] = utc_now
    answer_seconds: float = ANSWER_SECONDS
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_READERS, "state-reader"))

    async def metrics(self, _request: Request) -> Response:
        """Answer `/metrics`."""
        began = monotonic_seconds()
        view, reason = await self._view()
        read_seconds = monotonic_seconds() - began
        health = await self._health(view, reason)
        figures = self.watch.figures(wait_seconds=0)
        body = render(Scrape(health, self.started_at, read_seconds, view, figures, self.watch.failures))
        return Response(body, media_type=CONTENT_TYPE)

    async def health(self, _request: Request) -> Response:
        """Answer `/health`."""
        report = await self._health(*await self._view())
        return JSONResponse(report.as_json(), status_code=report.http_status)

    async def live(self, _request: Request) -> Response:
        """Answer `/live`: this process works. It reads nothing, so that a database that hangs does not condemn the exporter."""
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Answer `/ready`: 200 when the store can be read, 503 with the reason otherwise."""
        try:
            await self._bounded(self.store.ping)
        except AoError as error:
            return JSONResponse({"ready": False, "reason": redact_text(str(error))}, status_code=503)
        return JSONResponse({"ready": True})

    async def snapshot(self, _request: Request) -> Response:
        """Answer `/snapshot`: the published one, or 404 when there is none to show."""
        try:
            published = await self._bounded(self.store.snapshot)
        except AoError as error:
            return _not_found(f"no snapshot can be shown: {redact_text(str(error))}")
        if published is None:
            return _not_found("no snapshot was published yet; the first cycle publishes one")
        return JSONResponse(published)

    def close(self) -> None:
        """Let go of the reader threads; a hanging one is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _view(self) -> tuple[OperationsView | None, str]:
        try:
            return await self._bounded(self.store.view), ""
        except AoError as error:
            return None, redact_text(str(error))

    async def _health(self, view: OperationsView | None, reason: str) -> HealthReport:
        if view is None:
            return unreachable(reason, now=self.now(), started_at=self.started_at)
        figures = await asyncio.to_thread(self.watch.figures)
        return assess(
            view,
            now=self.now(),
            started_at=self.started_at,
            cadence_minutes=self.cadence_minutes,
            dagster=figures,
            identity=self.identity,
        )

    async def _bounded(self, read: Callable[[], T]) -> T:
        """Run a blocking reading in a thread for at most `answer_seconds`; what waits in line after that is dropped."""
        future = asyncio.wrap_future(self._pool.submit(read))
        try:
            return await asyncio.wait_for(future, self.answer_seconds)
        except TimeoutError as error:
            raise TransientError(f"no answer within {self.answer_seconds:g} seconds") from error


def build_app(exporter: Exporter) -> Starlette:
    """Return the ASGI application of an exporter."""
    routes = [
        Route("/metrics", exporter.metrics),
        Route("/health", exporter.health),
        Route("/ready", exporter.ready),
        Route("/live", exporter.live),
        Route("/snapshot", exporter.snapshot),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _unknown_path})
    app.router.redirect_slashes = False  # A probe that follows redirects must not find what is not there.
    return app


async def _unknown_path(request: Request, _error: Exception) -> Response:
    return _not_found(f"there is no {request.url.path}; there are {', '.join(_PATHS)}")


def _not_found(message: str) -> Response:
    return Response(json.dumps({"error": message}), status_code=404, media_type="application/json")
