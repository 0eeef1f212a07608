"""Alert rules, units and the hang check: right by their own tools, and in step with the code."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from ao_pipeline.cli.probe import SUBJECTS
from ao_pipeline.clock import to_micros
from ao_pipeline.exporter.metrics import Scrape, render
from ao_pipeline.observability.health import assess
from ao_pipeline.observability.view import AssetHead, BundleTotals, DagsterFigures, OpenCycle, OperationsView
from ao_pipeline.supervisor.specs import CODE_SERVER_THREADS
from ao_pipeline_tests.exporter.exporter_stage import FIRST, NOW

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
SYSTEMD = DEPLOY / "systemd"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]

FULL = OperationsView(
    heads=(AssetHead("raw/asana_tasks", FIRST.key, FIRST.key, 1, 1, "materialize", 0),),
    last_completed=FIRST.key,
    last_successful=FIRST.key,
    open_cycles=(OpenCycle(FIRST.key, "run-1", to_micros(NOW)),),
    totals=(BundleTotals("raw/asana_tasks", "materialize", 1, 1, 0, 0),),
    deliveries={("chat_webhook", "pending"): 1},
    breakers={"raw/asana_tasks": "open"},
    quarantined={"raw/asana_tasks": 1},
    db_size_bytes={"state": 1},
)


def rendered() -> str:
    dagster = DagsterFigures({"SENSOR": NOW}, {"queued": 1}, NOW - timedelta(minutes=1), NOW, 1, {"catch_up": False})
    health = assess(FULL, now=NOW, started_at=NOW, cadence_minutes={}, dagster=dagster)
    return render(Scrape(health, NOW, 0.01, FULL, dagster, 0)).decode()


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@needs_promtool
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
)
def test_prometheus_own_tool_accepts_the_rules(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_own_tool_finds_no_fault_in_the_metrics() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=rendered(), capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_has_its_entry_and_uses_metrics_that_exist(rule: dict[str, object]) -> None:
    exported = set(re.findall(r"^(ao_\w+)", rendered(), re.MULTILINE))
    used = set(re.findall(r"\bao_\w+", str(rule["expr"])))
    path, _, anchor = str(rule["annotations"]["runbook_url"]).partition("#")  # type: ignore[index]
    headings = re.findall(r"^## (.+)$", (DEPLOY.parent / path).read_text(), re.MULTILINE)

    assert used <= exported
    assert anchor in [heading.lower() for heading in headings]
    assert rule["alert"] in headings


def test_no_entry_is_about_an_alert_that_does_not_exist() -> None:
    headings = re.findall(r"^## (.+)$", (PROMETHEUS / "alerts.md").read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)


@pytest.mark.parametrize("name", ["code-server", "daemon", "webserver", "exporter"])
def test_a_unit_restarts_its_process_whatever_its_exit(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(SYSTEMD / f"ao-{name}.service")

    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["WorkingDirectory"] == "/opt/ao"


@pytest.mark.parametrize(
    ("verdicts", "restarted"),
    [
        ([0, 0, 0], 0),
        ([1, 1, 1], 1),
        ([1, 1, 0, 1, 1], 0),
        ([1, 2, 1, 2, 1], 1),
        ([2, 2, 2, 2], 0),
        ([1, 1, 1, 1, 1, 1], 2),
    ],
)
def test_the_hang_check_restarts_after_three_failures(tmp_path: Path, verdicts: list[int], restarted: int) -> None:
    for name, text in {
        "systemctl": 'echo "$@" >> "$(dirname "$0")/calls"',
        "probe": 'test "$1" != daemon || exit $(cat "$0.verdict")',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HANG_CHECK_STATE": str(tmp_path / "state"),
        "HANG_CHECK_SYSTEMCTL": str(tmp_path / "systemctl"),
        "HANG_CHECK_PROBE": str(tmp_path / "probe"),
    }

    for verdict in verdicts:
        (tmp_path / "probe.verdict").write_text(str(verdict))
        subprocess.run([str(SYSTEMD / "hang-check.sh")], env=environment, check=True, timeout=30)

    calls = tmp_path / "calls"
    assert (calls.read_text() if calls.exists() else "") == "restart ao-daemon.service\n" * restarted


def test_the_code_server_has_as_many_threads_under_systemd() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(SYSTEMD / "ao-code-server.service")

    assert unit["Service"]["ExecStart"].endswith(f"--max-workers {CODE_SERVER_THREADS}")


def test_the_hang_check_asks_the_probes_that_there_are() -> None:
    asked = re.findall(r"^judge ao-([a-z-]+) (\w+)$", (SYSTEMD / "hang-check.sh").read_text(), re.MULTILINE)

    assert {unit: SUBJECTS[subject] for unit, subject in asked} == {
        name: name for name in ("exporter", "code-server", "daemon", "webserver")
    }


def test_the_pod_runs_what_the_units_run_with_the_same_probes() -> None:
    service, pod = yaml.safe_load_all((DEPLOY / "kubernetes" / "ao.yaml").read_text())
    containers = {item["name"]: item for item in pod["spec"]["template"]["spec"]["containers"]}

    assert (service["kind"], pod["kind"], pod["spec"]["replicas"]) == ("Service", "StatefulSet", 1)
    for name, container in containers.items():
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.read(SYSTEMD / f"ao-{name}.service")
        listens = {"127.0.0.1": "0.0.0.0"} if name == "webserver" else {}
        started = [listens.get(word, word) for word in unit["Service"]["ExecStart"].split()]
        assert container["command"] == [started[0].rpartition("/")[2], *started[1:]]
        ao, probe, subject = container["livenessProbe"]["exec"]["command"]
        assert (ao, probe, SUBJECTS[subject]) == ("ao", "probe", name)
        assert container["livenessProbe"]["timeoutSeconds"] >= 5  # A probe has to start Python first.
    assert set(containers) == {"exporter", "code-server", "daemon", "webserver"}
