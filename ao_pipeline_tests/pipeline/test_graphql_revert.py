"""Reverting as the UI does it: a real webserver and code server, asked over GraphQL to materialize earlier partitions.

The run queue is left out: a queued run would wait for the daemon, which has nothing to do with what a revert does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.clock import monotonic_seconds, sleep
from ao_pipeline.cycle import Cycle
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline_tests.pipeline.plant import environment
from ao_pipeline_tests.stress.histories import intent

HEALTH, CAPACITY = "truth/client_health", "truth/capacity"
CYCLES = [Cycle.from_key("2026-11-20-09:00").shift(number) for number in range(3)]
LIMIT_SECONDS = 150.0
"""Everything takes ten seconds on an idle machine."""

LAUNCH = """
mutation Launch($runs: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $runs) {
    __typename
    ... on LaunchMultipleRunsResult {
      launchMultipleRunsResult { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
    }
    ... on PythonError { message }
  }
}
"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
EVENTS = """
query Events($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) {
    ... on Asset {
      assetMaterializations(limit: 5) {
        runId partition tags { key value }
        metadataEntries { label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } }
      }
    }
  }
}
"""


@dataclass
class Web:
    """A webserver to ask, and the store that its runs change."""

    url: str
    settings: Settings

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the answer to a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:2000]) from error
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    def launch(self, *runs: tuple[str, dict[str, str]]) -> list[str]:
        """Materialize assets under these run tags, each in a run of its own; return the runs' ids when all succeeded."""
        launched = self.ask(LAUNCH, runs=[_execution(asset, tags) for asset, tags in runs])["launchMultipleRuns"]
        ids = [result["run"]["runId"] for result in launched["launchMultipleRunsResult"]]
        for run_id in ids:
            wait_for(lambda run_id=run_id: self._status(run_id) in ("SUCCESS", "FAILURE"), f"the end of run {run_id}")
            assert self._status(run_id) == "SUCCESS"
        return ids

    def _status(self, run_id: str) -> str:
        return str(self.ask(STATUS, id=run_id)["runOrError"]["status"])

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Return the newest materializations of an asset as the UI shows them, metadata and tags by name."""
        found = self.ask(EVENTS, key={"path": asset.split("/")})["assetOrError"]["assetMaterializations"]
        for event in found:
            event["tags"] = {tag["key"]: tag["value"] for tag in event["tags"]}
            event["facts"] = {
                entry["label"]: entry.get("text", entry.get("intValue")) for entry in event["metadataEntries"]
            }
        return list(found)


def _execution(asset: str, tags: dict[str, str]) -> dict[str, Any]:
    """Return what the UI sends when an asset is materialized from its page."""
    return {
        "mode": "default",
        "runConfigData": {},
        "selector": {
            "repositoryLocationName": "ao_pipeline",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": asset.split("/")}],
            "assetCheckSelection": [],
        },
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll another process; there is nothing to be notified by."""
    limit = monotonic_seconds() + LIMIT_SECONDS
    while not condition():
        assert monotonic_seconds() < limit, f"never: {what}"
        sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int, path: str | None = None) -> bool:
    """Tell whether somebody listens, and answers the path if there is one."""
    try:
        if path is None:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        else:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


@contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """Run a Dagster process; end it and what it started at the end."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=PROJECT_DIR, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A webserver over a store with three planted cycles."""
    folder = tmp_path_factory.mktemp("graphql")
    home, port, code_port = folder / "home", free_port(), free_port()
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\nrun_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {code_port}\n      location_name: ao_pipeline\n"
    )
    with ExitStack() as stack:
        settings = stack.enter_context(
            environment(AO_DATA_DIR=str(folder / "data"), DAGSTER_HOME=str(home), PYTHONPATH=str(PROJECT_DIR))
        )
        plant_cycles(settings)
        code = (
            "dagster",
            "api",
            "grpc",
            "-m",
            "ao_pipeline.definitions",
            "--host",
            "127.0.0.1",
            "--port",
            str(code_port),
        )
        stack.enter_context(running(folder / "code.log", *code, "--location-name", "ao_pipeline"))
        wait_for(lambda: answers(code_port), "the code server listens")
        pages = ("dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port))
        stack.enter_context(running(folder / "web.log", *pages))
        wait_for(lambda: answers(port, "/server_info"), "the webserver answers")
        yield Web(f"http://127.0.0.1:{port}", settings)


def plant_cycles(settings: Settings) -> None:
    """Commit three cycles of two truth tables, each different from the one before."""
    with opened(settings) as store:
        for number, cycle in enumerate(CYCLES):
            health = [{"client_id": f"client-{n}", "tier": "A", "score": 50 + number * n} for n in range(4 + number)]
            capacity = [
                {"capacity_on": cycle.start.date(), "lane_id": f"lane-{n}", "free_minutes": 60 * (number + 1)}
                for n in range(3)
            ]
            for asset, rows in ((HEALTH, health), (CAPACITY, capacity)):
                spec = store.spec(asset)
                blank = dict.fromkeys(spec.column_names)
                writer = store.begin(intent(spec, cycle, f"planted:{number}"))
                store.commit(writer, Change(conform(spec, [blank | row for row in rows]), is_full=True))


@contextmanager
def opened(settings: Settings) -> Iterator[StateStore]:
    """Open the state store."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def test_materializing_earlier_partitions_over_graphql_reverts_and_proves_it(web: Web) -> None:
    with opened(web.settings) as store:
        planted = {asset: store.bundles(asset=asset)[::-1] for asset in (HEALTH, CAPACITY)}
    one = (HEALTH, {"dagster/partition": CYCLES[0].key})
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    several = (CAPACITY, {start: CYCLES[0].key, end: CYCLES[1].key})

    runs = web.launch(one, several)

    with opened(web.settings) as store:
        for asset, target, run_id in ((HEALTH, 0, runs[0]), (CAPACITY, 1, runs[1])):
            restored, newest, head = planted[asset][target], store.bundles(asset=asset)[0], store.heads()[asset]
            assert (newest.kind, newest.seq, newest.target_id) == ("revert", 4, restored.bundle_id)
            assert (newest.run_id, newest.actor) == (run_id, "dagster")
            assert head.state_hash == newest.state_hash_after == restored.state_hash_after
            assert (head.state_cycle, head.computed_cycle) == (CYCLES[target].key, CYCLES[2].key)
            assert store.verify(asset) == []
        assert sorted(store.read(HEALTH).column("score").to_pylist()) == [50, 50, 50, 50]
        assert set(store.read(CAPACITY).column("free_minutes").to_pylist()) == {120}
    event = web.events(HEALTH)[0]
    assert (event["runId"], event["partition"], event["facts"]["ao/kind"]) == (runs[0], CYCLES[0].key, "revert")
    assert event["facts"]["ao/restored_bundle"] == planted[HEALTH][0].bundle_id
    assert (
        event["facts"]["ao/state_hash"] == event["tags"]["dagster/data_version"] == planted[HEALTH][0].state_hash_after
    )
    assert {event["facts"]["ao/kind"] for event in web.events(CAPACITY)} == {"revert"}
