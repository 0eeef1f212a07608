"""Evaluate the alert sensor at chosen instants and see what people and the dead-man's switch were told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import dagster as dg
import pytest

from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.alerts import alert
from ao_pipeline.resilience.incidents import Alert, Incident
from ao_pipeline_tests.pipeline.plant import Plant

DEFINITIONS: dg.Definitions | None = None
"""The code location that the sensor belongs to; only a test of checks needs it."""


@dataclass
class Watch:
    """The alert sensor of one plant, with its memory, under a clock that the test sets."""

    plant: Plant
    patch: pytest.MonkeyPatch
    cursor: str | None = None
    ticks: dg.DagsterInstance | None = None
    """A Dagster instance on disk, which alone knows ticks; runs stay in the plant's own, which is quick."""

    def at(self, instant: datetime) -> str:
        """Evaluate once; return what the sensor says of itself."""
        self.patch.setattr("ao_pipeline.clock.utc_now", lambda: instant)
        context = dg.build_sensor_context(
            instance=self.ticks or self.plant.instance, cursor=self.cursor, definitions=DEFINITIONS
        )
        answer = alert(context)
        assert isinstance(answer, dg.SkipReason)
        self.cursor = context.cursor
        return str(answer.skip_message)

    def cycle(self, cycle: Cycle) -> None:
        """Run a cycle just after its window closed."""
        self.patch.setattr("ao_pipeline.clock.utc_now", lambda: cycle.end + timedelta(seconds=20))
        self.plant.cycle(cycle)

    def open(self) -> list[Incident]:
        """Return the open incidents."""
        with self.plant.store() as store:
            return store.incidents.open()

    def kinds(self) -> set[str]:
        """Return the kinds of the open incidents."""
        return {incident.kind.value for incident in self.open()}

    def alerts(self) -> list[Alert]:
        """Return every alert, the oldest first."""
        with self.plant.store() as store:
            return store.incidents.alerts()[::-1]

    def texts(self) -> list[str]:
        """Return what arrived at the webhook since the start, the oldest first."""
        return [message["message"]["text"] for message in self.plant.box.webhook_messages()]


@dataclass
class Listener:
    """A server on loopback that answers every request with one status and remembers the paths."""

    status: int = 200
    paths: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ping/secret-key"


@contextmanager
def listening(status: int = 200) -> Iterator[Listener]:
    """Serve until the end of the block."""
    listener = Listener(status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.paths.append(self.path)
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
