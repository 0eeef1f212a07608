"""What counts as wrong: each cause once, and nothing that follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.conditions import (
    CycleSeen,
    FailureSeen,
    HoldSeen,
    Reading,
    current_conditions,
)

NOW = datetime(2026, 11, 20, 10, 2, tzinfo=UTC)
NEWEST = Cycle.last_closed(NOW)
GOOD = Reading(
    NOW, cycles=tuple(CycleSeen(NEWEST.shift(-n).key, "success") for n in range(5)), last_completed=NEWEST.key
)
LACKING = tuple(CycleSeen(NEWEST.shift(-n).key, "degraded", ("raw/asana_tasks",)) for n in range(3))


def found(reading: Reading) -> list[tuple[str, str]]:
    """Return kind and subject of everything wrong."""
    conditions = current_conditions(reading, source_of=lambda asset: asset.split("/")[1].split("_")[0])
    return [(condition.kind.value, condition.subject) for condition in conditions]


def failure(asset: str, error: str, *, cycle: Cycle = NEWEST) -> FailureSeen:
    """Return a failure of an asset."""
    return FailureSeen(asset, cycle.key, error, "permanent", "no")


def test_all_well_is_nothing() -> None:
    assert found(GOOD) == []
    assert found(Reading(NOW)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"now": NOW + timedelta(minutes=40)}, [("cycle_missing", "cycle")]),
        ({"now": NOW - timedelta(hours=24)}, [("cycle_missing", "cycle")]),
        ({"cycles": (CycleSeen(NEWEST.key, "failed"),)}, [("cycle_failed", "cycle")]),
        ({"cycles": (CycleSeen(NEWEST.key, "degraded"),)}, [("cycle_degraded", "cycle")]),
        (
            {"cycles": (*GOOD.cycles[:1], CycleSeen(NEWEST.shift(-1).key, "interrupted", (), NOW))},
            [("cycle_interrupted", "cycle")],
        ),
        (
            {
                "cycles": (
                    *GOOD.cycles[:1],
                    CycleSeen(NEWEST.shift(-1).key, "interrupted", (), NOW - timedelta(hours=1)),
                )
            },
            [],
        ),
        ({"breakers": {"truth/capacity": "x"}}, [("breaker_open", "truth/capacity")]),
        ({"breakers": {"source:asana": "x", "raw/asana_tasks": "x"}}, [("breaker_open", "source:asana")]),
        ({"holds": (HoldSeen("truth/capacity", "check failed", "engine"),)}, [("auto_reverted", "truth/capacity")]),
        ({"holds": (HoldSeen("truth/capacity", "looking into it", "amal"),)}, []),
        ({"refused": {"raw/xero_invoices": 10}}, []),
        ({"refused": {"raw/xero_invoices": 11}}, [("quarantine_grows", "raw/xero_invoices")]),
        ({"dead_messages": 1}, [("messages_dead", "notifications")]),
        ({"waiting_messages": 101}, [("messages_dead", "notifications")]),
        ({"undelivered": 2}, [("alerts_undelivered", "alerts")]),
        ({"healers": {"catch_up": "boom"}}, [("healer_failing", "catch_up")]),
        ({"switched_off": ("cycle_schedule",)}, [("switched_off", "cycle_schedule")]),
        ({"failed_checks": {"keys_are_unique of raw/x": "raw/x"}}, [("check_failed", "keys_are_unique of raw/x")]),
        (
            {
                "failed_checks": {"row_count_has_not_collapsed of truth/x": "truth/x"},
                "holds": (HoldSeen("truth/x", "check failed", "engine"),),
            },
            [("auto_reverted", "truth/x")],
        ),
        ({"manual_runs": {"run 1": "x"}}, [("manual_run_failed", "run 1")]),
        ({"heartbeat_error": "503"}, [("heartbeat_unheard", "dead-man's switch")]),
        ({"stale": {"truth/capacity": "x"}}, [("stale", "truth/capacity")]),
    ],
)
def test_each_thing_wrong_is_named(change: dict[str, object], expected: list[tuple[str, str]]) -> None:
    assert found(replace(GOOD, **change)) == expected  # type: ignore[arg-type]


def test_one_revoked_token_is_one_incident_whatever_it_stops() -> None:
    failures = tuple(failure(f"raw/asana_{name}", "AuthError") for name in ("tasks", "users", "stories"))

    reading = replace(GOOD, failures=failures, stale={"raw/asana_tasks": "x"})

    assert found(reading) == [("access_refused", "asana")]


def test_a_refusal_is_over_once_the_asset_was_computed_again() -> None:
    reading = replace(
        GOOD, failures=(failure("raw/asana_tasks", "ContractError"),), computed={"raw/asana_tasks": NEWEST.key}
    )

    assert found(reading) == []


def test_an_asset_that_fails_in_three_cycles_in_a_row_is_told_of() -> None:
    assert ("failing", "raw/asana_tasks") in found(replace(GOOD, cycles=LACKING))
    assert ("failing", "raw/asana_tasks") not in found(replace(GOOD, cycles=(*LACKING[:2], GOOD.cycles[2])))


@pytest.mark.parametrize("breaker", ["raw/asana_tasks", "source:asana"])
def test_what_a_breaker_explains_is_not_told_again(breaker: str) -> None:
    reading = replace(GOOD, cycles=LACKING, breakers={breaker: "x"}, stale={"raw/asana_tasks": "x"})

    assert found(reading) == [("cycle_degraded", "cycle"), ("breaker_open", breaker)]


def test_nothing_is_stale_by_itself_while_no_cycle_comes() -> None:
    reading = replace(GOOD, now=NOW + timedelta(hours=5), stale={"truth/capacity": "x", "norm/tasks": "x"})

    assert found(reading) == [("cycle_missing", "cycle")]
