"""`ao cycle`, `checks`, `up`, `migrate`, `snapshot`, `settings`: exit codes follow from outcomes, secrets stay secret."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.model import Intent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.canonical import canonical_json, conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.cli import main
from ao_pipeline.cli.session import Session
from ao_pipeline.errors import AoError, StandbyError, TransientError, UnknownNameError
from ao_pipeline.settings import Settings, variable_of
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline_tests.cli.history import FIRST, FOURTH, Ao, answer


@dataclass(frozen=True)
class AssetOutcome:
    """As `defs.operate` has it, without loading Dagster."""

    asset: str
    status: str
    inserted: int
    updated: int
    deleted: int
    rows: int
    duration_ms: int
    note: str


@dataclass(frozen=True)
class CycleOutcome:
    """As `defs.operate` has it, without loading Dagster."""

    cycle: str
    status: str
    run_id: str
    duration_ms: int
    assets: tuple[AssetOutcome, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.status == "success"


@dataclass(frozen=True)
class CheckOutcome:
    """As `defs.operate` has it, without loading Dagster."""

    asset: str
    name: str
    passed: bool
    facts: dict[str, Any] = field(default_factory=dict)


def outcome(status: str) -> CycleOutcome:
    asset = AssetOutcome("raw/bills", "ok", 3, 1, 0, 42, 12, "")
    return CycleOutcome(FIRST.key, status, "run-1", 1500, (asset,))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownNameError("cycle 2026-11-22-09:00 was overtaken"), 2),
        (StandbyError("standby: another engine acts on this store"), 1),
        (TransientError("state store: locked"), 1),
    ],
)
def test_a_cycle_that_is_refused_exits_with_its_reason(ao: Ao, error: AoError, code: int) -> None:
    def refuse(_cycle: object) -> CycleOutcome:
        raise error

    result = ao("cycle", run_cycle=refuse)

    assert (result.exit_code, result.stderr) == (code, f"ao: {error}\n")


@pytest.mark.parametrize(("status", "code"), [("success", 0), ("degraded", 1), ("failed", 1)])
def test_a_cycle_exits_0_only_if_it_was_good(ao: Ao, status: str, code: int) -> None:
    result = ao("cycle", run_cycle=lambda _cycle: outcome(status))

    assert result.exit_code == code
    assert [line.split() for line in result.stdout.splitlines()[:2]] == [
        ["asset", "status", "+", "~", "-", "rows", "ms", "note"],
        ["raw/bills", "ok", "+3", "~1", "0", "42", "12"],
    ]
    assert result.stdout.splitlines()[-1] == f"{FIRST}: {status} in 1.5 s, run run-1"


def test_a_cycle_can_be_named(ao: Ao) -> None:
    asked: list[object] = []

    ao("cycle", "--cycle", "latest", "--json", run_cycle=lambda cycle: asked.append(cycle) or outcome("success"))

    assert asked == [FOURTH]


def test_a_failed_check_exits_1(ao: Ao) -> None:
    good = CheckOutcome("raw/bills", "keys_are_unique", passed=True, facts={})
    bad = CheckOutcome("raw/bills", "rows_did_not_collapse", passed=False, facts={"rows": 0})

    assert ao("checks", run_checks=lambda: [good]).exit_code == 0
    assert ao("checks", run_checks=lambda: [good, bad]).exit_code == 1
    assert ao("checks", run_checks=list).exit_code == 1  # No check at all proves nothing.


def test_up_exits_as_the_supervisor_does(ao: Ao) -> None:
    assert ao("up", run_supervised=lambda: 3).exit_code == 3


def test_a_database_that_is_away_is_one_line() -> None:
    def open_store() -> StateStore:
        raise TransientError("state store: cannot read: it is away")

    result = CliRunner().invoke(main, ["log"], obj=Session(open_store=open_store))

    assert (result.exit_code, result.stderr) == (1, "ao: state store: cannot read: it is away\n")


def test_migrate_names_the_store_without_its_password(ao: Ao) -> None:
    result = ao("migrate")

    assert result.stdout.startswith("sqlite:///")
    assert "newest schema" in result.stdout


def test_every_setting_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AO_STATE_URL", "postgresql+psycopg2://ao:hunter2@db.agency.example/ao")
    monkeypatch.setenv("AO_SANDBOX_SEED", "7")

    result = CliRunner().invoke(main, ["settings", "--json"])

    listed = {item["variable"]: item for item in json.loads(result.stdout)["settings"]}
    assert listed.keys() == {variable_of(name) for name in Settings.model_fields}
    assert (listed["AO_SANDBOX_SEED"]["value"], listed["AO_SANDBOX_SEED"]["is_set"]) == (7, True)
    assert listed["AO_STATE_URL"]["value"] == "********"
    assert "hunter2" not in result.output
    assert all(item["description"] for item in listed.values())


def test_settings_are_listed_even_when_they_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AO_EXPORTER_PORT", "0")
    monkeypatch.setenv("AO_SANBOX_SEED", "7")

    result = CliRunner().invoke(main, ["settings"])

    assert result.exit_code == 2
    assert "AO_SANDBOX_SEED" in result.stdout
    assert "AO_SANBOX_SEED is not a setting" in result.stderr
    assert "AO_EXPORTER_PORT: " in result.stderr


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory) -> StateStore:
    """A store with an empty snapshot table."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}")
    managed = sa.MetaData()
    managed_tables([SNAPSHOT_AGENCY], managed)
    for metadata in (ENGINE, managed):
        metadata.create_all(database.engine)
    return StateStore(database, [SNAPSHOT_AGENCY])


def test_no_snapshot_yet_is_a_negative_outcome(published: StateStore) -> None:
    result = CliRunner().invoke(main, ["snapshot"], obj=Session(open_store=lambda: published))

    assert (result.exit_code, result.stdout) == (1, "No snapshot yet.\n")


def test_the_snapshot_s_sections_are_printed_as_json(published: StateStore) -> None:
    body = canonical_json({"as_of": FIRST.key, "message_count": 2})
    rows = [{"section": "messages", "position": 1, "status": "fresh", "item_count": 2, "body_json": body}]
    writer = published.begin(Intent(SNAPSHOT_AGENCY, FIRST, FIRST, "run"))
    published.commit(writer, Change(conform(SNAPSHOT_AGENCY, rows), is_full=True))

    result = CliRunner().invoke(main, ["snapshot", "--json"], obj=Session(open_store=lambda: published))

    assert answer(result)["sections"]["messages"]["body"] == {"as_of": FIRST.key, "message_count": 2}
