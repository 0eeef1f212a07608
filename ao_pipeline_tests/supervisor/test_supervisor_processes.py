"""A real supervisor over real processes: killed, hung, crashing, stubborn, and never left behind."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ao_pipeline.clock import monotonic_seconds, sleep

SCRIPT = Path(__file__).with_name("supervise.py")
ROOT = SCRIPT.parents[2]
LIMIT_SECONDS = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll a fact of the machine; there is nothing to be notified by."""
    limit = monotonic_seconds() + LIMIT_SECONDS
    while not condition():
        assert monotonic_seconds() < limit, f"never: {what}"
        sleep(0.02)


class Running:
    """A supervisor process and the events that it told."""

    def __init__(self, folder: Path, specs: list[tuple[str, int, list[str]]]) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), json.dumps(specs)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put("")

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the next such event."""
        limit = monotonic_seconds() + LIMIT_SECONDS
        while True:
            line = self._lines.get(timeout=max(limit - monotonic_seconds(), 0))
            assert line, f"the supervisor ended before {event}; it told {self.events}"
            told: dict[str, Any] = json.loads(line)
            self.events.append(told)
            if told["event"] == event and fields.items() <= told.items():
                return told

    def pids(self, name: str) -> list[int]:
        path = self.folder / f"{name}.pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def all_pids(self) -> list[int]:
        return [int(line) for path in self.folder.glob("*.pids") for line in path.read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LIMIT_SECONDS)


Start = Callable[..., Running]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(*specs: tuple[str, int, list[str]], folder: Path = tmp_path) -> Running:
        started.append(Running(folder, list(specs)))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(timeout=LIMIT_SECONDS)
        for pid in running.all_pids():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_processes_start_in_order_each_when_the_one_before_works(start: Start) -> None:
    running = start(("first", free_port(), []), ("second", free_port(), []), ("third", 0, []))

    table = running.until("supervisor.up")["table"]

    told = [(item["event"], item["name"]) for item in running.events if item["event"].startswith("process.")]
    assert told == [
        (event, name) for name in ("first", "second", "third") for event in ("process.started", "process.up")
    ]
    assert [line.split()[0] for line in table.splitlines()] == ["process", "first", "second", "third"]
    assert running.stop() == 0


def test_a_killed_process_is_started_again(start: Start) -> None:
    running = start(("web", free_port(), []))
    first = running.until("process.up")["pid"]

    os.kill(first, signal.SIGKILL)
    ended = running.until("process.ended")
    second = running.until("process.up")["pid"]

    assert (ended["pid"], ended["code"]) == (first, -signal.SIGKILL)
    assert second != first
    assert [pid for pid in running.pids("web") if is_alive(pid)] == [second]
    assert running.stop() == 0


def test_a_hung_process_is_started_again(start: Start) -> None:
    running = start(("web", free_port(), []))
    first = running.until("process.up")["pid"]

    os.kill(first, signal.SIGUSR1)
    hung = running.until("process.hung")
    second = running.until("process.up")["pid"]

    assert (hung["pid"], hung["reason"]) == (first, "GET /: TimeoutError")
    assert second != first
    assert not is_alive(first)
    assert running.stop() == 0


def test_a_stopped_process_is_started_again(start: Start) -> None:
    running = start(("silent", 0, []))
    first = running.until("process.up")["pid"]

    os.kill(first, signal.SIGSTOP)
    hung = running.until("process.hung")
    ended = running.until("process.ended")
    second = running.until("process.up")["pid"]

    assert (hung["pid"], hung["reason"]) == (first, "stopped by a signal")
    assert ended["code"] == -signal.SIGKILL
    assert second != first
    assert running.stop() == 0


def test_a_process_that_is_stopped_for_a_moment_goes_on(start: Start) -> None:
    running = start(("silent", 0, []), ("next", 0, []))
    first = running.until("process.up", name="silent")["pid"]
    running.until("supervisor.up")

    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(first).status() == psutil.STATUS_STOPPED, "it is stopped")
    os.kill(first, signal.SIGCONT)
    wait_until(lambda: len(running.pids("next")) == 1, "the other one runs")
    os.kill(running.pids("next")[0], signal.SIGKILL)
    running.until("process.up", name="next")

    assert running.pids("silent") == [first]
    assert [event for event in running.events if event["event"] == "process.hung"] == []
    assert running.stop() == 0


def test_the_pause_between_restarts_doubles_up_to_a_cap(start: Start) -> None:
    running = start(("web", 0, ["crash"]))

    pauses = [running.until("process.ended")["restart_in_seconds"] for _ in range(5)]

    assert pauses == [0.1, 0.2, 0.4, 0.4, 0.4]
    assert running.stop() == 0


def test_what_matters_is_shown_and_everything_is_logged_without_secrets(start: Start) -> None:
    running = start(("quiet", 0, []), ("web", 0, ["crash"]))

    shown = running.until("output")["line"]
    wait_until(lambda: "quiet runs" in (running.folder / "logs" / "quiet.log").read_text(), "the line is logged")

    log = (running.folder / "logs" / "web.log").read_text()
    assert running.stop() == 0
    assert shown.startswith("web | ERROR: I crash")
    assert "web | ERROR: I crash" in log
    assert "hunter2" not in log + shown


def test_a_stop_leaves_no_orphan(start: Start) -> None:
    running = start(("web", free_port(), ["child"]), ("rude", 0, ["child", "stubborn"]))
    running.until("supervisor.up")
    wait_until(lambda: len(running.all_pids()) == 4, "four processes run")

    code = running.stop()

    assert code == 0
    assert [pid for pid in running.all_pids() if is_alive(pid)] == []


def test_a_killed_supervisor_leaves_no_orphan(start: Start) -> None:
    running = start(("web", free_port(), ["child"]), ("rude", 0, ["child"]))
    running.until("supervisor.up")
    wait_until(lambda: len(running.all_pids()) == 4, "four processes run")

    running.process.kill()
    running.process.wait(timeout=LIMIT_SECONDS)

    wait_until(lambda: not any(is_alive(pid) for pid in running.all_pids()), "every process has ended")


def test_leftovers_of_a_killed_supervisor_and_watchdog_are_ended_by_the_next(start: Start, tmp_path: Path) -> None:
    port = free_port()
    running = start(("web", port, ["child"]))
    running.until("supervisor.up")
    wait_until(lambda: len(running.all_pids()) == 2, "two processes run")
    watchdogs = [
        p for p in psutil.Process(running.process.pid).children() if "ao_pipeline.supervisor.watchdog" in p.cmdline()
    ]
    watchdogs[0].kill()
    running.process.kill()
    running.process.wait(timeout=LIMIT_SECONDS)
    left = running.all_pids()

    second = start(("web", port, []), folder=tmp_path)
    second.until("supervisor.up")

    assert len(watchdogs) == 1
    assert [pid for pid in left if is_alive(pid)] == []
    assert second.stop() == 0


def test_children_of_the_code_server_survive_its_restart_and_not_a_stop(start: Start) -> None:
    running = start(("code", free_port(), ["child", "survives"]))
    first = running.until("process.up")["pid"]
    wait_until(lambda: len(running.pids("code-child")) == 1, "the child runs")
    [child] = running.pids("code-child")

    os.kill(first, signal.SIGKILL)
    running.until("process.up")
    survived = is_alive(child)

    assert running.stop() == 0
    assert survived
    assert not is_alive(child)


def test_a_second_supervisor_refuses(start: Start) -> None:
    first = start(("web", 0, []))
    first.until("supervisor.up")

    second = start(("web", 0, []))
    reason = second.until("refused")["reason"]

    assert second.process.wait(timeout=LIMIT_SECONDS) == 2
    assert f"pid {first.process.pid}" in reason
    assert "AO_DATA_DIR" in reason
    assert len(first.pids("web")) == 1
    assert first.stop() == 0


def test_a_taken_port_is_named_with_its_setting_and_holder(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])

        running = start(("web", port, []))
        reason = running.until("refused")["reason"]

    assert f"port {port} on 127.0.0.1 is not free" in reason
    assert "set AO_WEB_PORT" in reason
    assert f"pid {os.getpid()}" in reason
    assert running.pids("web") == []
