"""The exporter as its own process, and Dagster's figures from a real instance."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from ao_pipeline.clock import monotonic_seconds, sleep, utc_now
from ao_pipeline.exporter.dagster_figures import DagsterWatch, InstanceReader
from ao_pipeline.observability.view import DagsterFigures
from ao_pipeline_tests.exporter.exporter_stage import FIRST, make_store, run_cycle

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def started(tmp_path: Path, port: int) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AO_", "DAGSTER_"))}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "AO_DATA_DIR": str(tmp_path), "AO_EXPORTER_PORT": str(port)}
    command = [sys.executable, "-m", "ao_pipeline.exporter"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_the_process_answers_from_the_store_of_its_settings_and_stops_on_sigterm(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path / 'state.db'}")
    run_cycle(store, FIRST)
    store.close()
    port = free_port()
    process = started(tmp_path, port)
    try:
        assert process.stderr is not None
        first_line = process.stderr.readline()
        with requests.Session() as session:
            session.trust_env = False
            text = session.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)

    assert '"event":"exporter.ready"' in first_line
    assert 'ao_cycle_total{status="success"} 1.0' in text
    assert process.returncode in (0, -signal.SIGTERM), rest


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])

        _, text = started(tmp_path, port).communicate(timeout=20)

    assert f"127.0.0.1:{port} cannot be listened on" in text
    assert "AO_EXPORTER_PORT" in text
    assert "Traceback" not in text


@pytest.mark.filterwarnings("ignore")
def test_a_fresh_dagster_instance_has_no_runs_and_silent_daemons(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        f"storage:\n  sqlite:\n    base_dir: {tmp_path / 'dagster'}\ntelemetry: {{enabled: false}}\n"
    )

    figures = InstanceReader(home, tmp_path / "dagster")()

    assert sum(figures.runs_by_status.values()) == 0
    assert "SENSOR" in figures.heartbeats
    assert all(beat is None for beat in figures.heartbeats.values())
    assert figures.storage_bytes is not None
    assert figures.storage_bytes > 0


def test_figures_that_hang_do_not_delay_a_scrape() -> None:
    def hang() -> DagsterFigures:
        sleep(2)
        return DagsterFigures({}, {}, None, utc_now())

    watch = DagsterWatch(hang)
    began = monotonic_seconds()

    figures = [watch.figures(wait_seconds=0.05) for _ in range(3)]

    assert figures == [None, None, None]
    assert monotonic_seconds() - began < 1
