"""`python -m ao_pipeline.exporter`: answer until stopped."""

from __future__ import annotations

import socket
import sys
from typing import Any, Final

import structlog
import uvicorn

from ao_pipeline.adapters.dagster_home import prepare_dagster_home
from ao_pipeline.adapters.engine_identity import engine_identity
from ao_pipeline.adapters.state.operations import OperationsReader
from ao_pipeline.clock import utc_now
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.errors import AoError, TransientError
from ao_pipeline.exporter.app import Exporter, build_app
from ao_pipeline.exporter.dagster_figures import DagsterWatch, InstanceReader
from ao_pipeline.observability.logs import configure_logs
from ao_pipeline.settings import Settings, load_settings

_STOP_SECONDS: Final = 2
_BACKLOG: Final = 64

_log: Any = structlog.get_logger("exporter")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TransientError: The port is taken.
    """
    listener = _bind(settings)
    reader = OperationsReader(settings.resolved_state_url)
    exporter = Exporter(
        store=reader,
        watch=DagsterWatch(InstanceReader(prepare_dagster_home(settings), settings.data_path / "dagster")),
        cadence_minutes=CADENCE.interval_minutes,
        started_at=utc_now(),
        identity=engine_identity(settings),
    )
    config = uvicorn.Config(
        build_app(exporter),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    _log.info("exporter.ready", host=settings.bind_host, port=settings.exporter_port)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        exporter.close()
        reader.close()
        listener.close()


def _bind(settings: Settings) -> socket.socket:
    host, port = settings.bind_host, settings.exporter_port
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise TransientError(
            f"{host}:{port} cannot be listened on ({error.strerror}); set AO_EXPORTER_PORT or AO_BIND_HOST"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def main() -> int:
    """Run until stopped; return the exit code."""
    configure_logs()
    try:
        run(load_settings())
    except AoError as error:
        print(f"exporter: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
