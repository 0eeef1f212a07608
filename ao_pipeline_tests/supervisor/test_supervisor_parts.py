"""The supervisor's parts: log files, probes and the list of processes."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from ao_pipeline.adapters.journal import append_cycle
from ao_pipeline.adapters.run_beats import ENGINE, beat_once, beat_path, beating, read_beat
from ao_pipeline.settings import Settings
from ao_pipeline.supervisor.leftovers import remove_leftovers
from ao_pipeline.supervisor.output import KEPT_FILES, LogFile
from ao_pipeline.supervisor.probes import (
    BEAT_LIMIT_SECONDS,
    SENSOR_OFF_SECONDS,
    Verdict,
    daemon_probe,
    grpc_probe,
    http_probe,
    runs_probe,
)
from ao_pipeline.supervisor.run import Supervisor, _print_event
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


def test_a_log_that_could_not_be_rotated_neither_stops_its_reader_nor_stays_silent(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "web.log", max_bytes=100)
    (tmp_path / "web.log.2").write_text("older")
    (tmp_path / f"web.log.{KEPT_FILES}").mkdir()  # Nothing can be moved to where this stands.
    for _ in range(6):
        log.write("x" * 60)
    (tmp_path / f"web.log.{KEPT_FILES}").rmdir()

    log.write("y" * 60)
    log.write("the disk is back")
    log.close()

    assert "the disk is back" in (tmp_path / "web.log").read_text()


def test_an_event_that_nobody_can_read_does_not_end_the_supervisor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closed by the test's end; a flush of it raises, as on a full disk.
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", full)
        _print_event("process.up", {"name": "daemon"})
    with suppress(OSError):
        full.close()

    _print_event("process.up", {"name": "webserver"})

    assert "name=webserver" in capsys.readouterr().err


def test_a_watchdog_that_cannot_be_started_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    supervisor = Supervisor((), tmp_path, {}, lambda name, _fields: told.append(name))

    def no_memory(*_args: object, **_kwargs: object) -> NoReturn:
        raise OSError(12, "Cannot allocate memory")

    looks = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr("ao_pipeline.supervisor.run.subprocess.Popen", no_memory)
        supervisor.run(lambda _seconds: next(looks))

    assert told.count("watchdog.not_started") == 2
    assert told[-1] == "supervisor.stopped"


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


ALIVE, DEAD = Verdict(is_alive=True), Verdict(is_alive=False)


def engine_beat(data_path: Path, *, age: float) -> None:
    """Leave a beat of the engine that is so old."""
    beat_once(data_path, ENGINE)
    beat = read_beat(data_path, ENGINE)
    assert beat is not None
    beat_path(data_path, ENGINE).write_text(json.dumps({**vars(beat), "at": beat.at - age}))


@pytest.mark.parametrize(
    ("age", "heartbeat", "code", "is_alive"),
    [
        (BEAT_LIMIT_SECONDS - 5, 900.0, DEAD, True),
        (BEAT_LIMIT_SECONDS + 5, 20.0, ALIVE, False),
        (BEAT_LIMIT_SECONDS + 5, 20.0, DEAD, None),
        (BEAT_LIMIT_SECONDS + 5, None, ALIVE, None),
        (SENSOR_OFF_SECONDS + 5, 119.0, ALIVE, True),
        (SENSOR_OFF_SECONDS + 5, 121.0, ALIVE, False),
        (None, 30.0, ALIVE, True),
        (None, 121.0, ALIVE, False),
        (None, None, ALIVE, None),
    ],
)
def test_the_daemon_hangs_when_its_beats_are_too_old(
    tmp_path: Path, age: float | None, heartbeat: float | None, code: Verdict, is_alive: bool | None
) -> None:
    if age is not None:
        engine_beat(tmp_path, age=age)

    with answering(503, {"daemon_heartbeat_age_seconds": heartbeat}) as port:
        verdict = daemon_probe(tmp_path, "127.0.0.1", port, code=lambda: code)()

    assert verdict.is_alive is is_alive


@pytest.mark.parametrize("body", [{}, [], {"daemon_heartbeat_age_seconds": "soon"}])
def test_a_health_that_says_nothing_of_the_daemon_condemns_nobody(tmp_path: Path, body: object) -> None:
    with answering(200, body) as port:
        verdict = daemon_probe(tmp_path, "127.0.0.1", port, code=lambda: ALIVE)()

    assert verdict.is_alive is None


def test_without_an_exporter_nothing_is_known_of_the_daemon(tmp_path: Path) -> None:
    with answering(200, {}) as port:
        pass

    assert daemon_probe(tmp_path, "127.0.0.1", port, code=lambda: ALIVE)() == Verdict(
        is_alive=None, detail="heartbeats unknown: ConnectionRefusedError"
    )


def test_the_beat_of_a_daemons_earlier_life_does_not_vouch_for_this_one(tmp_path: Path) -> None:
    specs = {spec.name: spec for spec in engine_specs(Settings(data_dir=tmp_path), tmp_path / "workspace.yaml")}

    assert specs["daemon"].forget == beat_path(tmp_path, ENGINE)


def test_a_run_probe_names_the_run_whose_process_is_gone(tmp_path: Path) -> None:
    assert runs_probe(tmp_path)() == Verdict(is_alive=True, detail="0 under way")
    with beating(tmp_path, "healthy-run"):
        beat = read_beat(tmp_path, "healthy-run")
        assert beat is not None
        assert runs_probe(tmp_path)() == Verdict(is_alive=True, detail="1 under way")
        beat_path(tmp_path, "dead-run").write_text(json.dumps({**vars(beat), "subject": "dead-run", "started": 1.0}))

        verdict = runs_probe(tmp_path)()

    assert verdict == Verdict(is_alive=False, detail="run dead-run: its process is gone")


@pytest.mark.parametrize(("status", "is_alive"), [(200, True), (503, False), (404, False)])
def test_a_process_is_alive_when_it_answers_what_was_asked(status: int, is_alive: bool) -> None:
    with answering(status, {}) as port:
        verdict = http_probe("127.0.0.1", port, "/live")()

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


def test_half_written_files_go_at_the_start_and_beats_stay(tmp_path: Path) -> None:
    for name in ("supervisor/workspace.yaml.partial", "dagster_home/dagster.yaml", "run/a-dead-run.beat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    assert remove_leftovers(tmp_path) == ["supervisor/workspace.yaml.partial"]
    assert remove_leftovers(tmp_path / "nothing") == []
    assert (tmp_path / "dagster_home/dagster.yaml").exists()
    assert (tmp_path / "run/a-dead-run.beat").exists()


def test_half_a_line_in_the_journal_spoils_no_other(tmp_path: Path) -> None:
    append_cycle(tmp_path, {"event": "cycle_complete", "cycle_id": "first"})
    with (tmp_path / "cycles.jsonl").open("a") as stream:
        stream.write('{"cycle_id": "cut off')

    append_cycle(tmp_path, {"event": "cycle_complete", "cycle_id": "second"})

    first, half, second = (tmp_path / "cycles.jsonl").read_text().splitlines()
    assert (json.loads(first)["cycle_id"], json.loads(second)["cycle_id"]) == ("first", "second")
    assert half == '{"cycle_id": "cut off'
