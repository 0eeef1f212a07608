"""`ao doctor`: every source is asked, and what is wrong comes with what to do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from ao_pipeline.adapters.sources.diagnose import Diagnosis, diagnose, sources
from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.cli import main
from ao_pipeline.errors import UnknownNameError
from ao_pipeline.settings import use_settings
from ao_pipeline_tests.sources.source_engine import START, Engine


def of(found: list[Diagnosis], source: str) -> list[Diagnosis]:
    return [item for item in found if item.source == source]


@pytest.fixture
def live(still_engine: Engine) -> Engine:
    """A world whose clock is the machine's."""
    still_engine.box.freeze(None)
    return still_engine


def test_a_healthy_sandbox_is_good_in_every_question(live: Engine) -> None:
    found = diagnose(live.settings)

    assert {item.source for item in found} == set(sources()) == set(SANDBOX_PATHS) - {"xero_token", "webhook"}
    assert [item for item in found if not item.is_good] == []
    assert all(item.skew_seconds is not None and abs(item.skew_seconds) < 5 for item in found)


@pytest.mark.parametrize(
    ("source", "kind", "details", "problem", "fix"),
    [
        ("asana", "status", {"status": 401}, "401", "AO_ASANA_TOKEN"),
        ("xero", "status", {"status": 403}, "403", "AO_XERO_CLIENT_SECRET"),
        ("drive", "status", {"status": 404}, "404", "AO_DRIVE_BASE_URL"),
        ("gtasks", "disconnect", {}, "connection failed", "AO_TASKS_BASE_URL"),
        ("people", "html", {}, "not JSON", "AO_PEOPLE_BASE_URL"),
        ("calendar", "skewed_clock", {"seconds": 900.0}, "ahead", "NTP"),
        ("asana", "foreign", {}, "does not see workspace", "AO_ASANA_BASE_URL"),
        (
            "xero",
            "status",
            {"status": 429, "headers": {"Retry-After": "66975"}},
            "asked to wait",
            "rate limit is used up",
        ),
        ("asana", "status", {"status": 429}, "429", "rate limit is used up"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(
    live: Engine, source: str, kind: str, details: dict[str, Any], problem: str, fix: str
) -> None:
    live.box.fault(source, kind, **details)

    found = diagnose(live.settings, [source])

    assert not found[0].is_good
    assert problem in found[0].problem
    assert fix in found[0].fix


def test_a_simulated_day_is_no_fault_of_the_clock(still_engine: Engine) -> None:
    """The sandbox may stand still on any day; the doctor once called for NTP."""
    still_engine.box.freeze(START)

    with use_settings(still_engine.settings):
        result = CliRunner().invoke(main, ["doctor", "--json"])

    assert result.exit_code == 0, result.output
    assert {item["skew_seconds"] for item in json.loads(result.stdout)["sources"]} == {0.0}


def test_a_simulated_day_that_goes_on_is_none_either(still_engine: Engine) -> None:
    still_engine.box.freeze(None)
    still_engine.box.advance(timedelta(days=3).total_seconds())

    found = diagnose(still_engine.settings, ["drive", "xero"])

    assert all(item.is_good for item in found)


def test_a_clock_that_is_wrong_on_a_simulated_day_is_found(still_engine: Engine) -> None:
    still_engine.box.freeze(START)
    still_engine.box.fault("chat", "skewed_clock", seconds=-3600.0)

    found = diagnose(still_engine.settings, ["chat"])

    assert "behind" in found[0].problem


def test_a_mailbox_that_is_not_delegated_is_named_alone(live: Engine) -> None:
    live.box.fault("google_token", "revoke_subject", subject="accounts@agency.example")

    gmail = of(diagnose(live.settings, ["gmail"]), "gmail")

    assert [(item.asked.rpartition(" ")[2], item.is_good) for item in gmail] == [
        ("accounts@agency.example", False),
        ("ops@agency.example", True),
    ]
    assert "gmail.readonly" in gmail[0].fix


def test_a_source_that_does_not_exist_is_named(live: Engine) -> None:
    with pytest.raises(UnknownNameError, match="moon"):
        diagnose(live.settings, ["moon"])


def test_the_command_exits_with_the_verdict(live: Engine) -> None:
    with use_settings(live.settings):
        good = CliRunner().invoke(main, ["doctor", "drive", "--json"])
        live.box.fault("drive", "status", status=500)
        bad = CliRunner().invoke(main, ["doctor", "drive"])

    assert (good.exit_code, json.loads(good.stdout)["failed"]) == (0, 0)
    assert bad.exit_code == 1
    assert "vendor's status page" in bad.stdout
