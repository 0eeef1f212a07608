"""A real engine in a folder of its own: `ao up` as a process, asked through its own HTTP and GraphQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from ao_pipeline.adapters.run_beats import ENGINE, Beat, read_beat, subjects
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline.supervisor.specs import engine_specs, workspace_path
from ao_pipeline_tests.chaos.database import HISTORY, free_port

AO: Final = (sys.executable, "-c", "from ao_pipeline.cli import main; main()")

MARKERS: Final = {
    "sandbox": "ao_pipeline.sandbox",
    "exporter": "ao_pipeline.exporter",
    "code-server": "ao_pipeline.definitions",
    "daemon": "dagster._daemon",
    "webserver": "dagster_webserver",
}
"""What tells each supervised process by its command line."""

ANSWER_SECONDS: Final = 3.0


class NoAnswerError(RuntimeError):
    """The engine did not answer: expected while something in it is being killed."""


def variables_for(folder: Path, *, postgres_url: str | None) -> dict[str, str]:
    """Return the environment of an engine in `folder`, on free ports."""
    ports = {name: str(free_port()) for name in ("SANDBOX", "EXPORTER", "WEBSERVER", "CODE_SERVER")}
    variables = {f"AO_{name}_PORT": port for name, port in ports.items()} | {
        "AO_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(PROJECT_DIR),
    }
    if postgres_url is not None:
        home = folder / "home"
        home.mkdir()
        template = (PROJECT_DIR / "deploy/dagster-postgres/dagster.yaml").read_text()
        (home / "dagster.yaml").write_text(template.replace("var/dagster", str(folder / "data" / "dagster")))
        variables |= {
            "AO_STATE_URL": postgres_url,
            "AO_DAGSTER_POSTGRES_URL": f"{postgres_url.rpartition('/')[0]}/{HISTORY}",
            "DAGSTER_HOME": str(home),
        }
    return variables


class Engine:
    """`ao up`, its processes and what they answer.

    Args:
        settings: Those of the engine, in force in this process too.
        log: Where its terminal output goes.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self._log = log
        self._seen_bytes = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*AO, "up"], cwd=PROJECT_DIR, stdout=stream, stderr=stream, env=dict(os.environ)
            )

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(timeout=60)
        return code

    def processes(self) -> dict[str, psutil.Process]:
        """Return the supervised processes that there are, by name."""
        assert self.process is not None
        found: dict[str, psutil.Process] = {}
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    command = child.cmdline()
                    for name, marker in MARKERS.items():
                        if marker in command and child.status() != psutil.STATUS_ZOMBIE:
                            found[name] = child
        return found

    def probes(self) -> dict[str, bool | None]:
        """Ask every process with the supervisor's own probes."""
        specs = engine_specs(self.settings, workspace_path(self.settings))
        return {spec.name: spec.probe().is_alive for spec in specs if spec.probe is not None}

    def workers(self) -> list[Beat]:
        """Return the beats of the runs under way."""
        found = (read_beat(self.settings.data_path, subject) for subject in subjects(self.settings.data_path))
        return [beat for beat in found if beat is not None]

    def engine_beat_age(self) -> float:
        """Return the seconds since a sensor was evaluated."""
        beat = read_beat(self.settings.data_path, ENGINE)
        return float("inf") if beat is None else beat.age_seconds

    def health(self) -> dict[str, Any]:
        """Return the exporter's `/health`.

        Raises:
            NoAnswerError: It gave none.
        """
        return self._fetch(f"http://127.0.0.1:{self.settings.exporter_port}/health", None)

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the webserver.

        Raises:
            NoAnswerError: It gave none, or an error.
        """
        body = json.dumps({"query": query, "variables": dict(variables or {})}).encode()
        answer = self._fetch(f"http://127.0.0.1:{self.settings.webserver_port}/graphql", body)
        if answer.get("errors") or "data" not in answer:
            raise NoAnswerError(str(answer.get("errors"))[:500])
        return dict(answer["data"])

    def events(self) -> list[str]:
        """Return the supervisor's lines since the last call."""
        with self._log.open("rb") as stream:
            stream.seek(self._seen_bytes)
            text = stream.read()
        end = text.rfind(b"\n") + 1
        self._seen_bytes += end
        return text[:end].decode(errors="replace").splitlines()

    @staticmethod
    def _fetch(url: str, body: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20 if body else ANSWER_SECONDS) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            try:
                return dict(json.load(error))
            except (ValueError, OSError) as inner:
                raise NoAnswerError(f"{url}: {error.code}") from inner
        except (OSError, ValueError) as error:
            raise NoAnswerError(f"{url}: {type(error).__name__}") from error


def wait_until(condition: Any, seconds: float, what: str, *, every: float = 0.5) -> float:
    """Poll until true; return the seconds that it took.

    Raises:
        TimeoutError: It never was.
    """
    began = time.monotonic()
    while True:
        with suppress(NoAnswerError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def stop_timers(engine: Engine, names: Sequence[str]) -> bool:
    """Switch off the schedule and the catch-up, by the names of their definitions: the harness asks for the cycles.

    Raises:
        NoAnswerError: The webserver has not loaded the definitions yet.
    """
    query = """query($s: RepositorySelector!){repositoryOrError(repositorySelector:$s){... on Repository{
        sensors{name sensorState{id status}} schedules{name scheduleState{id status}}}}}"""
    selector = {"repositoryLocationName": "ao_pipeline", "repositoryName": "__repository__"}
    found = engine.graphql(query, {"s": selector})["repositoryOrError"]
    if "sensors" not in found:
        raise NoAnswerError("the definitions are not loaded")
    for item in found["sensors"]:
        if item["name"] in names:
            engine.graphql("mutation($id: String!){stopSensor(id:$id){__typename}}", {"id": item["sensorState"]["id"]})
    for item in found["schedules"]:
        if item["name"] in names:
            engine.graphql(
                "mutation($id: String!){stopRunningSchedule(id:$id){__typename}}", {"id": item["scheduleState"]["id"]}
            )
    return True
