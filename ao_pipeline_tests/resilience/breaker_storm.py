"""Random events for a breaker and its naive twin: days of cycles, lost probes, hands on the switch, a clock that jumps."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from ao_pipeline.resilience.breaker import ask, fold
from ao_pipeline.resilience.breaker_state import BreakerEvent, BreakerPolicy, BreakerState, EventKind
from ao_pipeline_tests.resilience.naive_breaker import HOUR, MINUTE, QUARTER, NaiveBreaker

START = 1_800_000_000 * 1_000_000 // QUARTER * QUARTER
DAY = 24 * HOUR


@dataclass
class Storm:
    """Drives both with the same events; `differences` stays empty when they agree."""

    draw: random.Random
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = START
        self.number = 0
        self.renew()

    def renew(self) -> None:
        """Start over with a fresh pair."""
        self.number += 1
        self.real = BreakerState(f"job/{self.number}")
        self.naive = NaiveBreaker(f"job/{self.number}")
        self.probe: int | None = None
        self.mood = self.draw.choice([0.02, 0.3, 0.9])

    def step(self) -> None:
        """Let one thing happen to both, and compare."""
        draw = self.draw.random()
        if draw < 0.55:
            self._outcome()
        elif draw < 0.93:
            self._ask()
        elif draw < 0.95:
            self._by_hand()
        elif draw < 0.99:
            self.now += self.draw.choice([0, QUARTER, QUARTER, 4 * QUARTER, HOUR * 5])
        else:
            self._jump()
        self.compare()

    def compare(self) -> None:
        """Note where the two differ."""
        real, naive = self.real, self.naive
        seen = (real.state.value, real.failures, real.next_probe_at_us, real.good_probes, real.probe_holder or None)
        told = (naive.phase, naive.failures, naive.due, naive.good, naive.holder)
        more = (real.seq, real.at_us, real.forced, real.forced_until_us, real.spacing_seconds)
        same = (naive.events, naive.newest, naive.forced, naive.forced_end, naive.wait_minutes * 60)
        if (seen, more) != (told, same) and len(self.differences) < 20:
            self.differences.append(f"breaker {self.number}: {seen} {more} is not {told} {same}")
            self.renew()

    def _fold(self, event: BreakerEvent) -> None:
        before = self.real
        self.real = fold(before, event, self.policy)
        if self.real.state is not before.state:
            self.counts[f"to_{self.real.state.value}"] += 1

    def _outcome(self) -> None:
        when = self.probe if self.probe is not None and self.draw.random() < 0.8 else self._about_now()
        kind = EventKind.FAILED if self.draw.random() < self.mood else EventKind.SUCCEEDED
        if self.draw.random() < 0.03:
            kind = EventKind.INCONCLUSIVE
        slow = self.draw.random() < 0.1
        for _ in range(1 + (self.draw.random() < 0.1)):  # Closing a cycle twice tells the same twice.
            self._fold(BreakerEvent(kind, when, is_slow=slow, reason="tried"))
            ok = None if kind is EventKind.INCONCLUSIVE else kind is EventKind.SUCCEEDED
            self.naive.finish(when, ok=ok, slow=slow)
        self.probe = None if when == self.probe else self.probe
        self.counts["outcomes"] += 1

    def _about_now(self) -> int:
        if self.draw.random() < 0.7:
            self.now += QUARTER
        return self.now - (self.draw.choice([1, 2, 6]) * QUARTER if self.draw.random() < 0.1 else 0)

    def _ask(self) -> None:
        if self.draw.random() < 0.8:
            self.now += QUARTER
        holder = f"run {self.draw.randrange(3)}"
        answer = ask(self.real, at_us=self.now, holder=holder, cycle="", policy=self.policy)
        if answer.event is not None:
            self._fold(answer.event)
        allowed = self.naive.may_pass(self.now, holder)
        if answer.passes != allowed:
            self.differences.append(f"breaker {self.number}: {holder} may pass: {answer.passes}, not {allowed}")
        if answer.passes and self.real.probe_holder == holder:
            self.probe = self.now if self.draw.random() < 0.85 else None
        self.counts["asked"] += 1
        self.counts["passed"] += answer.passes

    def _by_hand(self) -> None:
        until = self.draw.choice([None, self.now + 2 * HOUR, self.now + 10 * MINUTE])
        match self.draw.randrange(3):
            case 0:
                reason = self.draw.choice(["a", "b"])
                self._fold(BreakerEvent(EventKind.FORCED_OPEN, self.now, until_us=until, reason=reason))
                self.naive.force_open(self.now, until, reason)
            case 1:
                self._fold(BreakerEvent(EventKind.FORCED_CLOSED, self.now, until_us=until))
                self.naive.force_closed(self.now, until)
            case _:
                self._fold(BreakerEvent(EventKind.RESET, self.now))
                self.naive.reset(self.now)
        self.counts["by_hand"] += 1

    def _jump(self) -> None:
        self.now += self.draw.choice([-DAY, DAY, -DAY, DAY, -HOUR, HOUR * 3])
        self.counts["jumps"] += 1


def run_storm(events: int, seed: int) -> Storm:
    """Return a storm of so many events over."""
    storm = Storm(random.Random(seed))
    for number in range(events):
        if number % 2_000 == 0:
            storm.renew()
        storm.step()
    storm.counts["events"] = events
    return storm
