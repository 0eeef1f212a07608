"""When healing may ask, for what, and how it stops."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from ao_pipeline.clock import to_micros
from ao_pipeline.cycle import Cycle
from ao_pipeline.resilience.stale_states import DEFAULT_HEAL_POLICY, Asked, not_now, plan_healing

NOW = datetime(2026, 11, 20, 10, 5, tzinfo=UTC)
NEWEST = Cycle.last_closed(NOW)
STALE = {"truth/capacity": "its state is as of 2026-11-20-09:00"}


@pytest.mark.parametrize(
    ("now", "closed_cycle", "closed_at", "is_live", "may"),
    [
        (NOW, NEWEST.key, NOW - timedelta(minutes=3), False, True),
        (NOW, NEWEST.key, NOW - timedelta(minutes=3), True, False),
        (NOW, NEWEST.key, NOW - timedelta(minutes=1), False, False),
        (NOW, NEWEST.shift(-1).key, NOW - timedelta(minutes=9), False, False),
        (NOW, "", None, False, False),
        (NOW + timedelta(minutes=8), NEWEST.key, NOW, False, False),
        (NOW, NEWEST.key, NOW + timedelta(hours=24), False, True),  # The clock was set back since.
    ],
)
def test_nothing_is_healed_while_a_cycle_is_live_or_due(
    now: datetime, closed_cycle: str, closed_at: datetime | None, is_live: bool, may: bool
) -> None:
    reason = not_now(now, closed_cycle=closed_cycle, closed_at=closed_at, is_live=is_live)

    assert (reason is None) is may, reason


def test_what_somebody_else_takes_care_of_is_left_alone() -> None:
    plan = plan_healing(STALE, others={"truth/capacity": "it is on hold"}, asked={}, now_us=to_micros(NOW))

    assert plan.heal == {}
    assert plan.left_alone == {"truth/capacity": "it is on hold"}


def test_a_stale_state_that_is_nobodys_is_asked_for_with_its_reason() -> None:
    plan = plan_healing(STALE, others={}, asked={}, now_us=to_micros(NOW))

    assert plan.heal == STALE


def test_healing_never_loops() -> None:
    """A state that no request heals: asked for every minute of a week."""
    requests: list[int] = []
    minute = 60_000_000
    for now_us in range(to_micros(NOW), to_micros(NOW) + 7 * 24 * 60 * minute, minute):
        window = now_us // (15 * minute)
        asked = Asked(
            sum(1 for at in requests if at // (15 * minute) == window), len(requests), requests[-1] if requests else 0
        )
        if plan_healing(STALE, others={}, asked={"truth/capacity": asked}, now_us=now_us).heal:
            requests.append(now_us)

    per_cycle = [sum(1 for other in requests if other // (15 * minute) == at // (15 * minute)) for at in requests]
    gaps = [later - earlier for earlier, later in itertools.pairwise(requests[1:])]
    assert len(requests) == DEFAULT_HEAL_POLICY.most
    assert max(per_cycle) <= DEFAULT_HEAL_POLICY.per_cycle
    assert gaps == sorted(gaps)


def test_a_clock_that_was_set_back_does_not_stop_healing() -> None:
    asked = {"truth/capacity": Asked(in_cycle=0, since_computed=1, last_at_us=to_micros(NOW + timedelta(hours=24)))}

    assert plan_healing(STALE, others={}, asked=asked, now_us=to_micros(NOW)).heal == STALE
