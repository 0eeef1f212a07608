"""Incidents and alerts as pure rules: once, once over, and no storm."""

from __future__ import annotations

import itertools
import random

import pytest

from ao_pipeline.resilience.conditions import Condition, IncidentKind
from ao_pipeline.resilience.incidents import (
    DEFAULT_ALERT_POLICY,
    Alert,
    Incident,
    compose,
    is_due,
    reconcile,
    tried,
)

MINUTE = 60_000_000
START = 1_000_000 * MINUTE
FAILED = Condition(IncidentKind.CYCLE_FAILED, "cycle", "it published nothing")
BREAKER = Condition(IncidentKind.BREAKER_OPEN, "source:asana", "three time-outs")
STALE = Condition(IncidentKind.STALE, "raw/xero_invoices", "as of yesterday")


class Desk:
    """The operator's desk: evaluates conditions at chosen minutes and keeps what was told."""

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self.alerts: list[Alert] = []

    def see(self, minute: float, *conditions: Condition) -> None:
        """Evaluate once."""
        now = START + round(minute * MINUTE)
        open_ones = [incident for incident in self.incidents.values() if incident.is_open]
        self.incidents |= {i.incident_id: i for i in reconcile(open_ones, conditions, now_us=now)}
        told = compose(
            list(self.incidents.values()), now_us=now, sent_lately_us=[alert.created_at_us for alert in self.alerts]
        )
        if told is not None:
            self.alerts.append(told[0])
            self.incidents |= {incident.incident_id: incident for incident in told[1]}

    @property
    def open(self) -> list[Incident]:
        return [incident for incident in self.incidents.values() if incident.is_open]


def test_one_condition_is_one_incident_however_often_it_is_seen() -> None:
    desk = Desk()

    for half_minute in range(500):
        desk.see(half_minute / 2, FAILED)

    assert len(desk.incidents) == len(desk.alerts) == 1
    assert desk.open[0].count == 1


def test_an_end_is_told_once_after_it_settled() -> None:
    desk = Desk()
    desk.see(0, FAILED)

    for minute in range(1, 60):
        desk.see(minute)

    assert [alert.title.startswith("Resolved") for alert in desk.alerts] == [False, True]
    assert desk.open == []


def test_a_flapping_condition_is_told_once() -> None:
    desk = Desk()

    for cycle in range(40):
        for minute in range(15):
            desk.see(cycle * 15 + minute, *([FAILED] if cycle % 2 == 0 else []))

    assert len(desk.alerts) == 1
    assert desk.open[0].count == 20


def test_what_passes_before_it_is_told_stays_silent() -> None:
    desk = Desk()
    for minute in range(4):
        desk.see(minute, STALE)

    for minute in range(4, 60):
        desk.see(minute)

    assert desk.alerts == []
    assert desk.open == []


def test_what_lasts_is_told_after_its_delay() -> None:
    desk = Desk()

    for minute in range(10):
        desk.see(minute, STALE)

    assert [alert.created_at_us for alert in desk.alerts] == [START + 5 * MINUTE]


def test_many_incidents_at_once_are_one_message() -> None:
    desk = Desk()
    storm = [Condition(IncidentKind.FAILING, f"raw/table_{n}", "again") for n in range(40)]

    desk.see(0, *storm)

    (alert,) = desk.alerts
    assert alert.title == "40 problems"
    assert alert.body.count("\n") == DEFAULT_ALERT_POLICY.max_lines
    assert "25 more" in alert.body
    assert all(incident.opened_alert == alert.alert_id for incident in desk.open)


def test_what_opens_one_after_the_other_is_gathered() -> None:
    desk = Desk()

    for half_minute in range(20):
        conditions = [Condition(IncidentKind.FAILING, f"raw/table_{n}", "again") for n in range(half_minute + 1)]
        desk.see(half_minute / 2, *conditions)

    assert len(desk.alerts) <= 6


def test_an_alert_storm_has_a_limit_and_loses_nothing() -> None:
    desk = Desk()

    for minute in range(0, 300, 3):
        desk.see(minute, *(Condition(IncidentKind.FAILING, f"raw/table_{n}", "again") for n in range(minute + 1)))

    made = [alert.created_at_us for alert in desk.alerts]
    busiest = max(sum(1 for other in made if 0 <= other - one < 60 * MINUTE) for one in made)
    assert busiest <= DEFAULT_ALERT_POLICY.max_per_hour
    assert [i for i in desk.open if i.opened_alert is None and i.opened_at_us < START + 240 * MINUTE] == []


def test_every_incident_is_told_at_most_once_and_its_end_at_most_once_whatever_happens() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    pool = [FAILED, BREAKER, STALE, *(Condition(IncidentKind.FAILING, f"raw/t{n}", "x") for n in range(5))]
    desk, minute = Desk(), 0.0
    for _ in range(3_000):
        minute += dice.choice([0.5, 0.5, 0.5, 3, 30, -60, 24 * 60]) if dice.random() < 0.2 else 0.5
        minute += dice.random() / 1_000  # A clock that was set back does not meet the same microsecond again.
        desk.see(minute, *dice.sample(pool, dice.randrange(len(pool) + 1) if dice.random() < 0.3 else 0))

    keys = [(i.kind, i.subject) for i in desk.open]
    assert len(keys) == len(set(keys))
    assert len({alert.alert_id for alert in desk.alerts}) == len(desk.alerts)
    assert all(i.opened_alert is not None for i in desk.incidents.values() if i.resolved_alert is not None)


def test_a_clock_that_was_set_back_opens_nothing_twice() -> None:
    desk = Desk()
    desk.see(24 * 60, FAILED)

    for minute in range(30):
        desk.see(minute, FAILED)
    for minute in range(30, 60):
        desk.see(minute)

    assert len(desk.incidents) == 1
    assert desk.open == []


@pytest.mark.parametrize(
    ("error", "is_permanent", "status"),
    [(None, False, "sent"), ("TransientError", False, "pending"), ("PermanentError", True, "dead")],
)
def test_a_try_ends_as_its_error_says(error: str | None, is_permanent: bool, status: str) -> None:
    after = tried(Alert("a", "t", "b"), now_us=START, error=error, is_permanent=is_permanent)

    assert (after.status, after.attempts, after.last_error) == (status, 1, error)


def test_an_alert_is_tried_with_growing_waits_and_then_given_up() -> None:
    alert, now, tries = Alert("a", "t", "b", created_at_us=START), START, []

    while alert.status == "pending":
        if is_due(alert, now_us=now):
            tries.append(now)
            alert = tried(alert, now_us=now, error="TransientError")
        now += MINUTE // 4

    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert len(tries) == DEFAULT_ALERT_POLICY.max_attempts
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (MINUTE // 2, 30 * MINUTE)
    assert alert.status == "dead"
