"""The supervisor's parts: log files, probes and the list of processes."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ao_pipeline.settings import Settings
from ao_pipeline.supervisor.output import KEPT_FILES, LogFile
from ao_pipeline.supervisor.probes import Verdict, grpc_probe, heartbeat_probe, http_probe
from ao_pipeline.supervisor.specs import engine_specs, write_workspace


def test_a_log_never_exceeds_its_files(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "web.log", max_bytes=1000)

    for number in range(500):
        log.write(f"line {number:04d} " + "x" * 40)
    log.close()

    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["web.log", *(f"web.log.{n}" for n in range(1, KEPT_FILES + 1))]
    assert all(file.stat().st_size < 1100 for file in files)
    assert "line 0499" in files[0].read_text()


@contextmanager
def answering(status: int, body: object) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "is_alive"),
    [
        ({"daemon_heartbeat_age_seconds": 30.0}, True),
        ({"daemon_heartbeat_age_seconds": 121.0}, False),
        ({"daemon_heartbeat_age_seconds": None}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_daemon_is_judged_by_its_heartbeats_and_only_when_they_are_known(body: object, is_alive: bool | None) -> None:
    with answering(503, body) as port:
        verdict = heartbeat_probe("127.0.0.1", port)()

    assert verdict.is_alive is is_alive


def test_without_an_exporter_nothing_is_known_of_the_daemon() -> None:
    with answering(200, {}) as port:
        pass

    assert heartbeat_probe("127.0.0.1", port)() == Verdict(
        is_alive=None, detail="heartbeats unknown: ConnectionRefusedError"
    )


@pytest.mark.parametrize(("status", "is_alive"), [(200, True), (503, True), (404, False)])
def test_an_exporter_that_reports_an_unhealthy_engine_is_alive(status: int, is_alive: bool) -> None:
    with answering(status, {}) as port:
        verdict = http_probe("127.0.0.1", port, "/health", accepted=frozenset({200, 503}))()

    assert verdict.is_alive is is_alive


def test_a_port_without_a_code_server_fails_the_health_check() -> None:
    with answering(200, {}) as port:
        pass

    assert grpc_probe(port)().is_alive is False


def test_the_daemon_and_the_ui_are_pointed_at_our_code_server(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, code_server_port=9001)
    workspace = write_workspace(settings)

    specs = {spec.name: spec for spec in engine_specs(settings, workspace)}

    server = {"host": "127.0.0.1", "port": 9001, "location_name": "ao_pipeline"}
    assert yaml.safe_load(workspace.read_text()) == {"load_from": [{"grpc_server": server}]}
    assert list(specs) == ["sandbox", "exporter", "code-server", "daemon", "webserver"]
    assert "9001" in specs["code-server"].command
    assert all(str(workspace) in specs[name].command for name in ("daemon", "webserver"))


def test_without_a_sandbox_it_is_not_started(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, sandbox_enabled=False)

    names = [spec.name for spec in engine_specs(settings, tmp_path / "workspace.yaml")]

    assert names == ["exporter", "code-server", "daemon", "webserver"]
