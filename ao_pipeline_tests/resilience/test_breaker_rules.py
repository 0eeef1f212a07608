"""The rules of circuit breakers, one by one, and against a naive twin over random events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ao_pipeline.resilience import breaker as machine
from ao_pipeline.resilience.breaker import ask, fold
from ao_pipeline.resilience.breaker_state import POLICY, BreakerEvent, BreakerState, EventKind, Phase
from ao_pipeline_tests.resilience.breaker_storm import DAY, START, run_storm
from ao_pipeline_tests.resilience.naive_breaker import HOUR, QUARTER

EVENTS_IN_SUITE = 50_000
"""`make stress-breakers` runs a million."""


def outcome(breaker: BreakerState, at_us: int, *, ok: bool, slow: bool = False) -> BreakerState:
    kind = EventKind.SUCCEEDED if ok else EventKind.FAILED
    return fold(breaker, BreakerEvent(kind, at_us, is_slow=slow, reason="tried"))


def tried(breaker: BreakerState, at_us: int, holder: str = "run") -> tuple[bool, BreakerState]:
    """Ask; return whether it passes, and the breaker afterwards."""
    answer = ask(breaker, at_us=at_us, holder=holder, cycle="")
    return answer.passes, breaker if answer.event is None else fold(breaker, answer.event)


def opened() -> BreakerState:
    """A breaker that three failed cycles opened at START."""
    state = BreakerState("truth/capacity")
    for number in range(3):
        state = outcome(state, START - (2 - number) * QUARTER, ok=False)
    assert state.state is Phase.OPEN
    return state


def probed(state: BreakerState) -> tuple[BreakerState, int]:
    """The breaker with its probe under way, and the cycle of the probe."""
    at_us = START
    for _ in range(40):
        at_us += QUARTER
        passes, state = tried(state, at_us)
        if passes:
            return state, at_us
    raise AssertionError("no probe in ten hours")


def test_a_job_that_fails_three_cycles_in_a_row_opens_its_breaker() -> None:
    state = BreakerState("truth/capacity")

    phases = []
    for number, ok in enumerate([False, False, True, False, False, False]):
        state = outcome(state, START + number * QUARTER, ok=ok)
        phases.append(state.state.value)

    assert phases == ["closed"] * 5 + ["open"]


def test_slow_calls_open_without_a_failure() -> None:
    state = BreakerState("source:asana")

    slow = [True, False, True, False, True, False, True, False, True]
    phases = []
    for number, flag in enumerate(slow):
        state = outcome(state, START + number * QUARTER, ok=True, slow=flag)
        phases.append(state.state.value)

    assert phases == ["closed"] * 8 + ["open"], "five of the last ten open it, four do not"
    assert "5 of the last 10 calls took 60 s or more" in state.reason


def test_slow_calls_that_lie_far_apart_do_not_open() -> None:
    state = BreakerState("source:asana")

    for number in range(300):
        state = outcome(state, START + number * QUARTER, ok=True, slow=number % 3 == 0)

    assert state.state is Phase.CLOSED


def test_an_outcome_that_is_fed_again_changes_nothing() -> None:
    state = outcome(BreakerState("truth/capacity"), START, ok=False)

    again = outcome(outcome(outcome(state, START, ok=False), START, ok=True), START, ok=False)

    assert again is state


def test_a_cycle_that_closes_late_does_not_undo_a_newer_one() -> None:
    state = outcome(outcome(BreakerState("truth/capacity"), START, ok=False), START + QUARTER, ok=False)

    assert outcome(state, START - QUARTER, ok=True) is state


def test_while_open_nothing_passes_until_the_next_cycle() -> None:
    state = opened()

    assert not tried(state, START)[0]
    assert tried(state, START + QUARTER)[0]


def test_a_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    state = opened()
    waits = []
    at_us = START
    for _ in range(7):
        passes = False
        began = at_us
        while not passes:
            at_us += QUARTER
            passes, state = tried(state, at_us)
        waits.append((at_us - began) // QUARTER)
        state = outcome(state, at_us, ok=False)

    full = [1, 2, 4, 8, 16, 16, 16]
    assert all(wanted * 3 / 4 <= wait <= wanted for wait, wanted in zip(waits, full, strict=True)), waits
    assert state.spacing_seconds == POLICY.max_spacing_seconds


def test_breakers_that_open_together_do_not_probe_together() -> None:
    waits = set()
    for number in range(50):
        state = replace(opened(), name=f"job/{number}")
        for _ in range(4):
            state = fold(state, BreakerEvent(EventKind.PROBE_TAKEN, state.next_probe_at_us or 0, holder="run"))
            state = outcome(state, state.probe_at_us, ok=False)
        waits.add(((state.next_probe_at_us or 0) - state.at_us) // QUARTER)

    assert len(waits) >= 3


def test_one_probe_at_a_time() -> None:
    state, at_us = probed(opened())

    answers = [tried(state, at_us, holder=f"other {number}")[0] for number in range(5)]

    assert answers == [False] * 5
    assert tried(state, at_us, holder="run") == (True, state), "the same request asked again gets the same answer"


def test_a_lost_probe_is_replaced_after_two_cycles() -> None:
    state, at_us = probed(opened())

    first, state = tried(state, at_us + QUARTER, holder="next")
    second, state = tried(state, at_us + 2 * QUARTER, holder="after")

    assert (first, second) == (False, True)
    assert outcome(state, at_us, ok=False) is state, "the lost probe's outcome came after all, and counted"


def test_it_closes_after_five_good_probes_and_not_before() -> None:
    state, at_us = probed(opened())

    phases = []
    for _ in range(5):
        state = outcome(state, at_us, ok=True)
        phases.append(state.state.value)
        at_us += QUARTER
        state = tried(state, at_us)[1]

    assert phases == ["half_open"] * 4 + ["closed"]
    assert (state.failures, state.opened_at_us) == (0, None)


def test_a_slow_probe_is_not_a_good_one() -> None:
    state, at_us = probed(opened())

    state = outcome(state, at_us, ok=True, slow=True)

    assert (state.state, state.spacing_seconds) == (Phase.OPEN, 2 * POLICY.first_spacing_seconds)


def test_a_probe_that_says_nothing_gives_its_token_back() -> None:
    state, at_us = probed(opened())

    state = fold(state, BreakerEvent(EventKind.INCONCLUSIVE, at_us))

    assert (state.state, state.probe_holder) == (Phase.HALF_OPEN, "")
    assert tried(state, at_us + QUARTER, holder="next")[0]


def test_outcomes_of_what_was_let_through_by_hand_do_not_move_an_open_breaker() -> None:
    state = opened()

    assert outcome(state, START + QUARTER, ok=True) is state


def test_forced_open_lets_nothing_through_until_its_end_and_is_probed_then() -> None:
    end = START + 2 * HOUR
    event = BreakerEvent(
        EventKind.FORCED_OPEN, START, until_us=end, reason="upstream moves house", actor="operator:sam"
    )

    state = fold(BreakerState("source:xero"), event)

    assert [tried(state, START + n * QUARTER)[0] for n in range(9)] == [False] * 8 + [True]
    assert (state.reason, state.forced) == ("upstream moves house", "open")
    assert tried(state, end)[1].forced == ""


def test_forced_open_without_an_end_waits_for_its_hold() -> None:
    state = fold(BreakerState("truth/capacity"), BreakerEvent(EventKind.FORCED_OPEN, START, reason="check failed"))

    assert not tried(state, START + 400 * DAY)[0]
    assert fold(state, BreakerEvent(EventKind.RESET, START + DAY)).state is Phase.CLOSED


def test_forced_closed_counts_and_does_not_open_until_its_end() -> None:
    state = fold(opened(), BreakerEvent(EventKind.FORCED_CLOSED, START, until_us=START + HOUR))

    phases = []
    for number in range(1, 6):
        state = outcome(state, START + number * QUARTER, ok=False)
        phases.append(state.state.value)

    assert phases == ["closed", "closed", "closed", "open", "open"]


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_no_jump_of_the_clock_closes_it(jump: int) -> None:
    state, at_us = probed(opened())

    for number in range(200):
        at_us += jump if number % 2 else QUARTER
        passes, state = tried(state, at_us, holder=f"run {number}")
        if passes and number % 3 == 0:
            state = fold(state, BreakerEvent(EventKind.INCONCLUSIVE, at_us))

    assert state.state is not Phase.CLOSED


@pytest.mark.parametrize("failed_probes", range(6))
@pytest.mark.parametrize("waited", [0, 1, 3])
def test_a_clock_that_jumps_back_never_waits_longer_than_one_spacing(failed_probes: int, waited: int) -> None:
    state, at_us = probed(opened())
    for _ in range(failed_probes):
        state = outcome(state, at_us, ok=False)
        passes = False
        while not passes:
            at_us += QUARTER
            passes, state = tried(state, at_us)
    state = outcome(state, at_us, ok=False)
    spacing = state.spacing_seconds * 1_000_000
    for _ in range(waited):
        at_us += QUARTER
        passes, state = tried(state, at_us)
        if passes:
            return

    at_us -= DAY
    true_waiting = 0
    while True:
        passes, state = tried(state, at_us, holder="after the jump")
        if passes:
            break
        at_us, true_waiting = at_us + QUARTER, true_waiting + QUARTER

    assert true_waiting <= spacing


def test_a_clock_that_jumps_ahead_makes_no_second_probe() -> None:
    state, at_us = probed(opened())

    passes, state = tried(state, at_us + DAY, holder="other")

    assert not passes, "the first probe still runs"
    assert tried(state, at_us + DAY, holder="third")[0] is False


def test_random_events_end_where_the_naive_breaker_ends() -> None:
    seed = 20261123

    storm = run_storm(EVENTS_IN_SUITE, seed)

    assert storm.differences == [], f"seed {seed}"
    assert min(storm.counts[name] for name in ("to_open", "to_half_open", "to_closed", "jumps", "by_hand")) > 100


def _without_doubling(base, event, policy):  # type: ignore[no-untyped-def]
    return machine_after_probe(base, event, replace(policy, spacing_factor=1))


def _never_moved_back(breaker, _at_us):  # type: ignore[no-untyped-def]
    return breaker


def _full_credit(breaker, at_us, _policy):  # type: ignore[no-untyped-def]
    return max(at_us - breaker.at_us, 0) // 1_000_000


machine_after_probe = machine._after_probe


@pytest.mark.parametrize(
    ("part", "broken"),
    [("_after_probe", _without_doubling), ("_moved_back", _never_moved_back), ("_credit_seconds", _full_credit)],
)
def test_the_naive_breaker_finds_planted_bugs(part: str, broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, part, broken)

    storm = run_storm(20_000, 7)

    assert storm.differences
