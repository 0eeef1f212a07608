"""Everything that the code location holds, spelled out by hand: a change here is a change that somebody sees."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Final

import dagster as dg
import pytest

from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.defs.checks import CHECKS
from ao_pipeline.defs.inventory import ALL_ASSETS
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.partitions import CYCLES
from ao_pipeline.settings import PROJECT_DIR

ASSETS: Final = [
    "ref/brands",
    "ref/client_identities",
    "ref/clients",
    "ref/lanes",
    "ref/team",
    "raw/asana_projects",
    "raw/asana_sections",
    "raw/asana_stories",
    "raw/asana_tasks",
    "raw/asana_users",
    "raw/calendar_calendars",
    "raw/calendar_events",
    "raw/chat_members",
    "raw/chat_messages",
    "raw/chat_spaces",
    "raw/drive_files",
    "raw/gmail_messages",
    "raw/gtasks_lists",
    "raw/gtasks_tasks",
    "raw/people_contacts",
    "raw/drive_files",
    "raw/gtasks_lists",
    "raw/gtasks_tasks",
    "raw/people_contacts",
    "raw/xero_contacts",
    "raw/xero_credit_notes",
    "raw/xero_invoices",
    "raw/xero_payments",
    "norm/gates",
    "norm/invoice_links",
    "norm/invoices",
    "norm/meetings",
    "norm/message_links",
    "norm/messages",
    "norm/project_links",
    "norm/projects",
    "norm/task_links",
    "norm/tasks",
    "truth/capacity",
    "truth/client_health",
    "truth/commitments",
    "truth/time_blocks",
    "snapshot/agency",
    "notify/deliveries",
    "ops/cycle_report",
]
JOBS: Final = {"cycle", "checks"}
SCHEDULES: Final = {"cycle_schedule": "*/15 * * * *", "checks_schedule": "50 * * * *"}
SENSORS: Final = {"alert", "catch_up", "follow_up", "heal_stale", "recover", "report_breakers", "report_lost_events"}
RESOURCES: Final = {"state"}
IN_CYCLE_CHECKS: Final = {
    "norm/gates:no_blocking_gate_failed",
    "truth/client_health:row_count_has_not_collapsed",
    "truth/commitments:row_count_has_not_collapsed",
}


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


def _name(key: dg.AssetKey) -> str:
    return "/".join(key.path)


def test_the_assets_are_these(repository: dg.RepositoryDefinition) -> None:
    found = {_name(key) for key in repository.asset_graph.get_all_asset_keys()}

    assert found == set(ASSETS)


def test_jobs_schedules_sensors_and_resources_are_these(repository: dg.RepositoryDefinition) -> None:
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}

    assert jobs == JOBS
    assert {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs} == SCHEDULES
    assert {sensor.name for sensor in repository.sensor_defs} == SENSORS
    assert set(repository.get_top_level_resources()) == RESOURCES


def test_schedules_and_sensors_are_on_by_default(repository: dg.RepositoryDefinition) -> None:
    off = [s.name for s in repository.schedule_defs if s.default_status != dg.DefaultScheduleStatus.RUNNING]
    off += [s.name for s in repository.sensor_defs if s.default_status != dg.DefaultSensorStatus.RUNNING]

    assert off == []


def test_the_cycle_job_runs_every_asset_and_only_the_blocking_checks() -> None:
    job = build_definitions().resolve_job_def("cycle")

    assert {_name(key) for key in job.asset_layer.selected_asset_keys} == set(ASSETS)
    checks = {f"{_name(key.asset_key)}:{key.name}" for key in job.asset_layer.asset_graph.asset_check_keys}
    assert checks == IN_CYCLE_CHECKS
    assert job.executor_def is dg.in_process_executor


@pytest.mark.parametrize("definition", ALL_ASSETS, ids=lambda definition: _name(definition.key))
def test_an_asset_says_all_that_people_and_dagster_ask_of_it(definition: dg.AssetsDefinition) -> None:
    key = definition.key
    spec = definition.specs_by_key[key]
    stage = key.path[0]

    assert spec.group_name == stage
    assert spec.owners == ["team:agency-operations"]
    assert spec.kinds
    assert spec.tags["stage"] == stage
    assert spec.code_version
    assert spec.description
    assert spec.description.endswith(".")
    assert spec.freshness_policy is not None
    assert spec.partitions_def == CYCLES
    assert definition.backfill_policy == dg.BackfillPolicy.single_run()
    assert definition.op.retry_policy == dg.RetryPolicy(max_retries=1, delay=30)
    assert spec.metadata["dagster/table_name"]
    if stage != "ops":
        assert spec.metadata["dagster/column_schema"].columns


def test_asset_table_and_function_have_one_name() -> None:
    tables = {spec.asset: spec.name for spec in ALL_SPECS}

    for definition in ALL_ASSETS:
        asset = _name(definition.key)
        if asset in tables:
            metadata = definition.specs_by_key[definition.key].metadata
            assert tables[asset] == metadata["dagster/table_name"] == asset.replace("/", "_")
            assert definition.op.name.replace("__", "/") == asset


def test_every_table_has_exactly_one_writer() -> None:
    writers = Counter(_name(definition.key) for definition in ALL_ASSETS)

    assert {spec.asset: writers[spec.asset] for spec in ALL_SPECS} == {spec.asset: 1 for spec in ALL_SPECS}
    assert len({spec.name for spec in ALL_SPECS}) == len(ALL_SPECS)


def test_every_collector_has_a_cadence_and_a_pool_of_its_source() -> None:
    raw = {_name(d.key): d for d in ALL_ASSETS if d.key.path[0] == "raw"}

    assert set(CADENCE.interval_minutes) == set(raw)
    assert {asset: d.op.pool for asset, d in raw.items()} == {asset: asset.split("/")[1].split("_")[0] for asset in raw}


def test_every_table_has_its_three_standing_checks() -> None:
    found = {f"{_name(key.asset_key)}:{key.name}" for checks in CHECKS for key in checks.check_keys}
    found |= IN_CYCLE_CHECKS

    wanted = {"keys_are_unique", "bundle_chain_is_intact", "row_count_has_not_collapsed"}
    missing = [f"{s.asset}:{name}" for s in ALL_SPECS for name in wanted if f"{s.asset}:{name}" not in found]
    assert missing == []


def test_data_flows_one_way_through_the_stages() -> None:
    order = ["ref", "raw", "norm", "truth", "snapshot", "notify", "ops"]

    backwards = [
        f"{_name(up)} -> {_name(definition.key)}"
        for definition in ALL_ASSETS
        for up in definition.asset_deps[definition.key]
        if order.index(up.path[0]) > order.index(definition.key.path[0])
    ]
    assert backwards == []


def test_the_definitions_load_without_one_warning_of_ours() -> None:
    code = "import ao_pipeline.definitions as d; d.defs.get_repository_def()"
    foreign = "ignore:The `__fields__` attribute is deprecated:DeprecationWarning"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", foreign, "-c", code],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
