"""The two `dagster.yaml` files, the code location as `dagster` loads it, and a whole cycle on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, copy_sqlite, environment, errors_of, sandbox
from ao_pipeline_tests.stress.postgres import fresh_database

ROOT = PROJECT_DIR / "dagster.yaml"
TWIN = PROJECT_DIR / "deploy" / "dagster-postgres" / "dagster.yaml"


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def test_the_two_instance_files_differ_in_their_storage_only() -> None:
    root, twin = _load(ROOT), _load(TWIN)

    assert list(root.pop("storage")) == ["sqlite"]
    assert list(twin.pop("storage")) == ["postgres"]
    assert root == twin


def test_what_must_not_be_left_to_defaults_is_set() -> None:
    root = _load(ROOT)

    assert root["telemetry"] == {"enabled": False}
    assert root["run_monitoring"]["enabled"]
    assert root["run_monitoring"]["max_runtime_seconds"] > 0
    assert root["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert root["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    assert {"key": "ao/lane", "value": "cycle", "limit": 1} in root["concurrency"]["runs"]["tag_concurrency_limits"]
    assert root["freshness"]["enabled"]
    assert root["retention"]["sensor"]["purge_after_days"]["skipped"] >= 1


def test_the_root_file_loads_as_an_instance(tmp_path: Path) -> None:
    text = ROOT.read_text(encoding="utf-8").replace("var/dagster", str(tmp_path / "storage"))
    (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs() == []
        assert instance.run_retries_enabled
    assert (tmp_path / "storage" / "history" / "runs.db").is_file()


def test_definitions_validate_from_the_projects_root(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AO_", "DAGSTER_"))}

    done = subprocess.run(
        [str(Path(sys.executable).parent / "dagster"), "definitions", "validate"],
        cwd=PROJECT_DIR,
        env=variables | {"AO_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    said = done.stderr + done.stdout
    assert [word for word in ("BetaWarning", "PreviewWarning", "DeprecationWarning") if word in said] == []


@pytest.fixture
def postgres_plant(
    key_folder: Path, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Plant]:
    """State store and Dagster's storage both on PostgreSQL, Dagster's as `deploy/` configures it."""
    with ExitStack() as stack:
        state, dagster = (stack.enter_context(fresh_database(postgres_url)) for _ in range(2))
        monkeypatch.setenv("AO_DAGSTER_POSTGRES_URL", dagster)
        home = tmp_path / "home"
        home.mkdir()
        text = TWIN.read_text(encoding="utf-8").replace("var/dagster", str(tmp_path / "storage"))
        (home / "dagster.yaml").write_text(text, encoding="utf-8")
        box = stack.enter_context(sandbox(tmp_path / "data", key_folder))
        settings = stack.enter_context(
            environment(
                AO_DATA_DIR=str(tmp_path / "data"),
                AO_SANDBOX_PORT=str(box.port),
                AO_GOOGLE_CREDENTIALS_FILE=str(box.credentials_path),
                AO_STATE_URL=state,
            )
        )
        yield Plant(box, settings, stack.enter_context(dg.DagsterInstance.from_config(str(home))))


def test_a_cycle_on_postgres_gives_the_same_states_as_on_sqlite(
    postgres_plant: Plant, first_cycle: Path, tmp_path: Path
) -> None:
    copy_sqlite(first_cycle, tmp_path / "sqlite" / "state.db")
    embedded = StateStore(Database(f"sqlite:///{tmp_path / 'sqlite' / 'state.db'}"), ALL_SPECS)
    on_sqlite = {asset: head.state_hash for asset, head in embedded.heads().items()}
    embedded.close()

    first = postgres_plant.cycle(FIRST)
    hashes = postgres_plant.state_hashes()
    second = postgres_plant.cycle(SECOND)

    assert (errors_of(first), errors_of(second)) == ({}, {})
    assert (first.status, second.status) == ("success", "success")
    assert sum(item.inserted + item.updated + item.deleted for item in second.assets) == 0
    assert postgres_plant.state_hashes() == hashes == on_sqlite
    assert postgres_plant.findings() == []
    assert {run.status for run in postgres_plant.instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
