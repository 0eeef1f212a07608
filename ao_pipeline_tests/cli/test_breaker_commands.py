"""`ao breakers`: what is left alone, why and until when; switched by hand with a reason and an end."""

from __future__ import annotations

import pytest

from ao_pipeline import clock
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind, Phase
from ao_pipeline_tests.cli.history import FOURTH, Ao, answer
from ao_pipeline_tests.stress.breaker_races import damage

NOW = FOURTH.shift(9).end
BILLS = "raw/bills"


def fail(store: StateStore, name: str, times: int) -> None:
    for number in range(times):
        cycle = FOURTH.shift(number)
        event = BreakerEvent(
            EventKind.FAILED, clock.to_micros(cycle.end), cycle=cycle.key, reason="TransientError: 503"
        )
        store.breakers.record({name: event})


def test_the_list_shows_what_is_not_closed_and_why(store: StateStore, ao: Ao) -> None:
    fail(store, BILLS, 3)
    fail(store, "truth/totals", 1)

    (shown,) = answer(ao("breakers", "--json"))["breakers"]

    assert (shown["name"], shown["state"], shown["failures"]) == (BILLS, "open", 3)
    assert shown["reason"] == "3 failed cycles in a row: TransientError: 503"
    assert shown["opened_at"] == clock.to_iso(FOURTH.shift(2).end)
    assert shown["next_probe_at"] > shown["opened_at"]
    assert BILLS in ao("breakers").stdout
    assert len(answer(ao("breakers", "--all", "--json"))["breakers"]) == 2


def test_all_closed_is_said_and_no_error(ao: Ao) -> None:
    result = ao("breakers")

    assert (result.exit_code, result.stderr) == (0, "Every circuit breaker is closed.\n")


def test_show_tells_everything_that_moved_a_breaker(store: StateStore, ao: Ao) -> None:
    fail(store, BILLS, 3)
    ao("breakers", "reset", BILLS, "--reason", "upstream is back")

    shown = answer(ao("breakers", "show", BILLS, "--json"))

    assert [(event["kind"], event["to"]) for event in shown["events"]] == [
        ("reset", "closed"),
        ("failed", "open"),
        ("failed", "closed"),
        ("failed", "closed"),
    ]
    assert shown["events"][0]["reason"] == "upstream is back"
    assert shown["events"][0]["actor"].startswith("operator:")
    assert "upstream is back" in ao("breakers", "show", BILLS).stdout


def test_a_breaker_opened_by_hand_has_a_reason_and_an_end(store: StateStore, ao: Ao) -> None:
    result = ao("breakers", "open", "source:xero", "--reason", "their maintenance", "--for", "2h")

    assert (result.exit_code, result.stdout) == (
        0,
        f"source:xero is open until {NOW.strftime('%Y-%m-%dT')}{(NOW.hour + 2):02d}{NOW.strftime(':%M:%S.000Z')}: their maintenance\n",
    )
    state = store.breakers.get("source:xero")
    assert (state.state.value, state.forced, state.reason) == ("open", "open", "their maintenance")
    assert state.forced_until_us == clock.to_micros(NOW) + 2 * 3600 * 1_000_000


def test_a_breaker_closed_by_hand_lets_its_job_run(store: StateStore, ao: Ao) -> None:
    fail(store, BILLS, 3)

    result = ao("breakers", "close", BILLS, "--reason", "needed for the audit", "--for", "90m")

    assert result.exit_code == 0
    assert store.breakers.get(BILLS).state.value == "closed"


@pytest.mark.parametrize("text", ["2", "0h", "1w", "31d", "-1h", "1.5h"])
def test_a_time_that_is_none_is_refused(ao: Ao, text: str) -> None:
    result = ao("breakers", "open", BILLS, "--reason", "r", "--for", text)

    assert result.exit_code == 2
    assert "is no time up to 30 days" in result.stderr


@pytest.mark.parametrize(
    "command", [("show",), ("open", "--reason", "r"), ("close", "--reason", "r"), ("reset", "--reason", "r")]
)
def test_an_unknown_name_is_refused_and_the_sources_are_named(ao: Ao, command: tuple[str, ...]) -> None:
    result = ao("breakers", *command, "source:nowhere")

    assert result.exit_code == 2
    assert "source:xero" in result.stderr


def test_releasing_a_hold_closes_the_breaker_that_came_with_it_and_no_other(store: StateStore, ao: Ao) -> None:
    for asset, until_us in [(BILLS, None), ("truth/totals", clock.to_micros(NOW) + 10**12)]:
        store.hold(asset, reason="check failed", actor="engine")
        store.breakers.force(asset, Phase.OPEN, reason="check failed", actor="engine", until_us=until_us)

    ao("hold", "release", BILLS)
    ao("hold", "release", "truth/totals")

    assert store.breakers.get(BILLS).state is Phase.CLOSED
    assert store.breakers.get("truth/totals").state is Phase.OPEN


def test_verify_finds_a_breaker_that_was_changed_behind_the_store(store: StateStore, ao: Ao) -> None:
    fail(store, BILLS, 2)
    assert ao("verify").exit_code == 0
    damage(store.database, BILLS)

    result = ao("verify", "--json")

    assert result.exit_code == 1
    assert [(found["asset"], found["problem"]) for found in answer(result)["findings"]] == [
        (BILLS, "the breaker's state is not what its events add up to")
    ]
