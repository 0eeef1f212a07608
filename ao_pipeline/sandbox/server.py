"""Run the sandbox: in the foreground as a process, or in a thread of a test."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import requests
import uvicorn

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import monotonic_seconds, sleep, to_iso
from ao_pipeline.errors import TransientError
from ao_pipeline.sandbox.app import build_app
from ao_pipeline.sandbox.identity import load_service_account
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.site import Site, write_file

HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
"""The world is built before the thread starts, so this covers uvicorn alone."""
_STOP_SECONDS: Final = 2
"""Open requests get this long at the end; a hang fault must not hold the process."""
_BACKLOG: Final = 128
_TICK_SECONDS: Final = 0.02


def bind(port: int) -> socket.socket:
    """Return a listening loopback socket.

    Raises:
        TransientError: The port is taken. Nothing was written.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise TransientError(f"sandbox port {port} is taken; stop what listens there or set AO_SANDBOX_PORT") from error
    listener.listen(_BACKLOG)
    return listener


class _Server(uvicorn.Server):
    """Looks for the wish to stop fifty times a second instead of ten, and can say that it is ready."""

    ready_line = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.ready_line:
            print(self.ready_line, flush=True)

    async def main_loop(self) -> None:
        while not self.should_exit:
            await asyncio.sleep(_TICK_SECONDS)


def prepare(options: SandboxOptions, port: int) -> tuple[Site, _Server]:
    """Build the world, write the credentials that point at this port, and return the server, not yet running."""
    site = Site(options)
    token_uri = f"http://{HOST}:{port}/google/token"
    body, public_key, is_new = load_service_account(options.credentials_path, token_uri=token_uri)
    if is_new:
        write_file(options.credentials_path, json.dumps(body, indent=2) + "\n")
    site.mint.public_key = public_key
    config = uvicorn.Config(
        build_app(site),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        # The application writes the date of the simulated clock.
        date_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=75,
    )
    return site, _Server(config)


@dataclass
class RunningSandbox:
    """A sandbox that listens, and the admin API of it."""

    port: int
    options: SandboxOptions
    site: Site

    @property
    def url(self) -> str:
        """Root of every path."""
        return f"http://{HOST}:{self.port}"

    @property
    def credentials_path(self) -> Path:
        """Service-account JSON whose token_uri points here."""
        return self.options.credentials_path

    def upstream_url(self, source: str) -> str:
        """Return the base URL of a source by the names of `settings.SANDBOX_PATHS`."""
        return self.url + SANDBOX_PATHS[source]

    def advance(self, seconds: float) -> dict[str, Any]:
        """Move the world forward; return its state."""
        return self._call("POST", "/admin/clock", {"advance_seconds": seconds})

    def freeze(self, instant: datetime | None) -> dict[str, Any]:
        """Freeze the world at an instant, or let it run with None; return its state."""
        return self._call("POST", "/admin/clock", {"frozen_at": None if instant is None else to_iso(instant)})

    def mutate(self, kind: str, action: str, *, key: str = "", place: str = "", **fields: Any) -> dict[str, Any]:
        """Create, update or delete one object; return its key, place and object."""
        return self._call(
            "POST", "/admin/mutate", {"kind": kind, "action": action, "key": key, "in": place, "fields": fields}
        )

    def fault(self, source: str, kind: str, **details: Any) -> dict[str, Any]:
        """Inject a fault; see `faults.Fault` for the details, plus `duration_seconds`."""
        return self._call("POST", "/admin/fault", {"source": source, "kind": kind, **details})

    def script_faults(self, seed: int, **details: Any) -> list[dict[str, Any]]:
        """Inject faults drawn from a seed; see `faults.FaultBook.script` for the details. Return what they are."""
        made: list[dict[str, Any]] = self._call("POST", "/admin/fault-script", {"seed": seed, **details})["script"]
        return made

    def clear_faults(self) -> None:
        """End every fault."""
        self._call("DELETE", "/admin/fault", None)

    def expire_cursors(self, source: str) -> None:
        """Make every cursor that gmail, calendar, people or drive has given too old."""
        self._call("POST", "/admin/expire", {"source": source})

    def state(self) -> dict[str, Any]:
        """Return counts, clock and seed."""
        return self._call("GET", "/admin/state", None)

    def truth(self, table: str) -> list[dict[str, Any]]:
        """Return the vendor objects behind a raw table, each as {"in": place, "object": …}."""
        rows: list[dict[str, Any]] = self._call("GET", f"/admin/truth/{table}", None)["rows"]
        return rows

    def webhook_messages(self) -> list[dict[str, Any]]:
        """Return what the webhook received."""
        messages: list[dict[str, Any]] = self._call("GET", "/webhook/messages", None)["messages"]
        return messages

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, self.url + path, json=body, timeout=(3, 30))
        if answer.status_code != 200:
            raise ValueError(f"sandbox refused {method} {path}: {answer.text}")
        result: dict[str, Any] = answer.json()
        return result


@contextmanager
def serve(options: SandboxOptions) -> Iterator[RunningSandbox]:
    """Run a sandbox in a background thread until the block ends.

    Args:
        options: Port 0 takes a free port; `frozen_at` makes the world stand still until it is advanced.

    Raises:
        TransientError: The port is taken, or the server did not come up in time.
    """
    listener = bind(options.port)
    port = int(listener.getsockname()[1])
    try:
        site, server = prepare(replace(options, port=port), port)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
        thread.start()
        _await_start(server, thread)
        try:
            yield RunningSandbox(port=port, options=options, site=site)
        finally:
            # A test has its answers: open connections and hanging requests are cut, not waited for.
            server.should_exit = server.force_exit = True
            thread.join(timeout=_STOP_SECONDS + 5)
    finally:
        listener.close()


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    limit = monotonic_seconds() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or monotonic_seconds() > limit:
            raise TransientError("sandbox did not start; see the log of its thread")
        sleep(0.005)


def run_forever(options: SandboxOptions) -> None:
    """Serve in this process until SIGTERM or SIGINT; print one line once requests are answered."""
    listener = bind(options.port)
    port = int(listener.getsockname()[1])
    # A large world is millions of objects that stay: the collector would look through all of them, for seconds each time.
    gc.disable()
    _, server = prepare(options, port)
    gc.freeze()
    gc.enable()
    server.ready_line = f"sandbox.ready url=http://{HOST}:{port} seed={options.seed} size={options.size.name}"
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
