"""`ao probe`: one line and an exit code, from the supervisor's own probes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ao_pipeline.adapters.run_beats import ENGINE, beat_once, beat_path, beating, read_beat
from ao_pipeline.cli import main
from ao_pipeline_tests.pipeline.plant import environment


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    ports = {f"AO_{name}_PORT": free_port() for name in ("SANDBOX", "EXPORTER", "WEBSERVER", "CODE_SERVER")}
    with environment(AO_DATA_DIR=str(tmp_path), AO_SANDBOX_ENABLED="false", **ports):
        yield tmp_path


def probe(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", *arguments])


@pytest.mark.parametrize("subject", ["code", "exporter", "webserver"])
def test_what_does_not_answer_is_not_alive(data: Path, subject: str) -> None:
    result = probe(subject)

    assert result.exit_code == 1
    assert result.output.startswith(f"{subject}: not alive: ")
    assert len(result.output.splitlines()) == 1


def test_a_daemon_whose_sensors_are_evaluated_is_alive(data: Path) -> None:
    beat_once(data, ENGINE)

    result = probe("daemon")

    assert (result.exit_code, result.output) == (0, "daemon: alive: sensors evaluated 0 s ago\n")


@pytest.mark.parametrize(("arguments", "code"), [(["daemon"], 0), (["daemon", "--strict"], 1), (["sandbox"], 0)])
def test_what_cannot_be_told_restarts_nobody_and_is_not_ready(data: Path, arguments: list[str], code: int) -> None:
    result = probe(*arguments)

    assert result.exit_code == code
    assert ": unknown: " in result.output


def test_a_dead_run_is_named(data: Path) -> None:
    assert probe("run").exit_code == 0
    with beating(data, "slow-run"):
        beat = read_beat(data, "slow-run")
        assert beat is not None
        beat_path(data, "dead-run").write_text(json.dumps({**vars(beat), "subject": "dead-run", "started": 1.0}))

        result = probe("run", "--json")

    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "subject": "run",
        "is_alive": False,
        "detail": "run dead-run: its process is gone",
    }


def test_an_unknown_subject_is_wrong_usage(data: Path) -> None:
    assert probe("everything").exit_code == 2
