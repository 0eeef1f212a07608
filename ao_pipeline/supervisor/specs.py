"""The processes of the engine, as data: what to start, in which order, and how to tell that each one works."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ao_pipeline.adapters.run_beats import ENGINE, beat_path
from ao_pipeline.settings import Settings
from ao_pipeline.supervisor.probes import Probe, daemon_probe, grpc_probe, http_probe

LOCATION_NAME: Final = "ao_pipeline"
"""Name of the code location, the same as in `workspace.yaml`: schedules and sensors keep their state under it."""

CODE_SERVER_THREADS: Final = 16
"""Requests that the code server works on at once. Python's default is six on two cores, fewer than there are sensors: while they and a run's
start kept all of them busy, the health check waited, and a healthy code server looked hung."""


@dataclass(frozen=True)
class Patience:
    """How long to wait before judging a process, and before starting it again. All in seconds.

    Attributes:
        ready: From the start to the first good probe; after that it counts as hung.
        probe_every: Between two probes of a process that works; before that they come ten times as often.
        failures: Failed probes in a row that make a process hung.
        backoff, backoff_cap: First and longest pause before a restart; it doubles each time.
        healthy_after: Uptime after which the pause starts from `backoff` again.
        grace: Between SIGTERM and SIGKILL.
        stopped: How long a process may be stopped by a signal; it is killed then, for it would not hear SIGTERM.
    """

    ready: float = 120.0
    probe_every: float = 5.0
    failures: int = 3
    backoff: float = 1.0
    backoff_cap: float = 60.0
    healthy_after: float = 60.0
    grace: float = 10.0
    stopped: float = 3.0


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep alive.

    Attributes:
        probe: Tells whether it makes progress; None when running is all that is asked.
        url: What people open or connect to; for display.
        host, port: What it listens on; port 0 when nothing.
        port_setting: The setting that moves the port.
        forget: A file that its life before has left, removed before each start.
        is_survived_by_children: Its children finish their work when it is restarted; the code server's run workers do.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe | None = None
    url: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    port_setting: str = ""
    forget: Path | None = None
    is_survived_by_children: bool = False
    patience: Patience = field(default_factory=Patience)


def workspace_path(settings: Settings) -> Path:
    """Return where the workspace file lies that points the daemon and the UI at our code server."""
    return settings.data_path / "supervisor" / "workspace.yaml"


def write_workspace(settings: Settings) -> Path:
    """Write the workspace file that points the daemon and the UI at our code server; return its path."""
    path = workspace_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    server = f"host: 127.0.0.1\n      port: {settings.code_server_port}\n      location_name: {LOCATION_NAME}"
    partial = path.with_suffix(".yaml.partial")
    partial.write_text(f"load_from:\n  - grpc_server:\n      {server}\n", encoding="utf-8")
    partial.replace(path)
    return path


def engine_specs(settings: Settings, workspace: Path) -> tuple[ProcessSpec, ...]:
    """Return the engine's processes in the order of their start."""
    python = sys.executable
    host = reachable(settings.bind_host)
    dagster_log = ("--log-format", "json")
    sandbox = ProcessSpec(
        name="sandbox",
        command=(python, "-m", "ao_pipeline.sandbox"),
        probe=http_probe("127.0.0.1", settings.sandbox_port, "/health"),
        url=settings.sandbox_url,
        port=settings.sandbox_port,
        port_setting="AO_SANDBOX_PORT",
    )
    exporter = ProcessSpec(
        name="exporter",
        command=(python, "-m", "ao_pipeline.exporter"),
        # Not /health: that is about the engine, and waits for the database.
        probe=http_probe(host, settings.exporter_port, "/live"),
        url=f"http://{_in_url(host)}:{settings.exporter_port}/health",
        host=settings.bind_host,
        port=settings.exporter_port,
        port_setting="AO_EXPORTER_PORT",
    )
    code_server = ProcessSpec(
        name="code-server",
        command=(
            *(python, "-m", "dagster", "api", "grpc", "-m", "ao_pipeline.definitions", "--host", "127.0.0.1"),
            *("--port", str(settings.code_server_port), "--location-name", LOCATION_NAME),
            *("--use-python-environment-entry-point", "--max-workers", str(CODE_SERVER_THREADS), *dagster_log),
        ),
        probe=grpc_probe(settings.code_server_port),
        url=f"grpc://127.0.0.1:{settings.code_server_port}",
        port=settings.code_server_port,
        port_setting="AO_CODE_SERVER_PORT",
        is_survived_by_children=True,
    )
    daemon = ProcessSpec(
        name="daemon",
        command=(python, "-m", "dagster._daemon", "run", "-w", str(workspace), *dagster_log),
        probe=daemon_probe(
            settings.data_path, host, settings.exporter_port, code=grpc_probe(settings.code_server_port)
        ),
        forget=beat_path(settings.data_path, ENGINE),
        # After an outage of the database the first beat takes some seconds: it must have its time.
        patience=Patience(failures=4),
    )
    webserver = ProcessSpec(
        name="webserver",
        command=(
            *(python, "-m", "dagster_webserver", "-w", str(workspace)),
            *("-h", settings.bind_host, "-p", str(settings.webserver_port), *dagster_log),
        ),
        probe=http_probe(host, settings.webserver_port, "/server_info"),
        url=f"http://{_in_url(host)}:{settings.webserver_port}",
        host=settings.bind_host,
        port=settings.webserver_port,
        port_setting="AO_WEBSERVER_PORT",
    )
    engine = (exporter, code_server, daemon, webserver)
    return (sandbox, *engine) if settings.sandbox_enabled else engine


def reachable(host: str) -> str:
    """Return the address by which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to.


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
