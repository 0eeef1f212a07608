"""A circuit breaker told again in the plainest words, to compare the real one with. It shares no code with it.

It remembers every outcome, looks at the end of that list to decide, and keeps one deadline of each kind. Only the numbers of
the policy and the way jitter is drawn (from the name and the number of the event) are the same by agreement.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

MINUTE = 60 * 1_000_000
QUARTER = 15 * MINUTE
HOUR = 60 * MINUTE


@dataclass
class NaiveBreaker:
    """Phase is a word; times are microseconds; None is no deadline."""

    name: str
    phase: str = "closed"
    events: int = 0
    newest: int = 0
    counted: int = 0
    results: list[tuple[bool, bool]] = field(default_factory=list)
    failures: int = 0
    due: int | None = None
    wait_minutes: int = 0
    good: int = 0
    holder: str | None = None
    holds_for: int = 0
    patience: int = 0
    forced: str = ""
    forced_end: int | None = None

    def finish(self, when: int, *, ok: bool | None, slow: bool) -> None:
        """A cycle that ends at `when` was good, bad, or (None) said nothing."""
        if self.phase == "open":
            return
        if self.phase == "half_open":
            if self.holder is None or self.holds_for != when:
                return
            now = self._happen(when, is_outcome=True)
            self.holder = None
            self.due = now + QUARTER
            if ok is None:
                return
            if not ok or slow:
                self._open(now, min(self.wait_minutes * 2, 240))
                return
            self.good += 1
            if self.good == 5:
                self._close()
            return
        if ok is None or when <= self.counted <= when + HOUR:
            return
        before = self._memory()
        after = [*self.results, (ok, slow)]
        if self._memory(after) == before:
            return
        now = self._happen(when, is_outcome=True)
        self.results, self.counted = after, when
        self.failures = self._memory()[0]
        if self.forced == "closed" and (self.forced_end is None or now < self.forced_end):
            return
        too_slow = slow and sum(flag for _, flag in after[-10:]) >= 5
        if self.failures >= 3 or too_slow:
            self._open(now, 15)

    def may_pass(self, when: int, holder: str) -> bool:
        """Somebody asks to run in the cycle that ends at `when`."""
        if self.phase == "closed":
            return True
        if self.holder is not None:
            if self.holder == holder:
                return True
            passed = max(0, min(when - self.newest, QUARTER))
            if passed >= self.patience:
                self._hand_over(when, holder)
                return True
            if passed > 0 or when < self.newest:
                self._happen(when)
                self.patience -= passed
            return False
        back = max(0, self.newest - when)
        if self.due is not None and when >= self.due - back:
            self._hand_over(when, holder)
            return True
        if back:
            self._happen(when)
        return False

    def force_open(self, when: int, until: int | None, reason: str) -> None:
        """A person opens it."""
        moved_end = None if self.forced_end is None else self.forced_end - max(0, self.newest - when)
        if self.phase == "open" and (self.forced, moved_end, self._reason) == ("open", until, reason):
            return
        now = self._happen(when)
        self._open(now, 15)
        self.forced, self.forced_end, self.due, self._reason = "open", until, until, reason

    def force_closed(self, when: int, until: int | None) -> None:
        """A person closes it."""
        self._happen(when)
        self._close()
        self.forced, self.forced_end = "closed", until

    def reset(self, when: int) -> None:
        """A person starts over."""
        self._happen(when)
        self._close()

    _reason: str = ""

    def _memory(self, results: list[tuple[bool, bool]] | None = None) -> tuple[int, tuple[bool, ...]]:
        """What counts of the past: bad ones at its end, and which of the last ten were slow."""
        outcomes = self.results if results is None else results
        bad = 0
        for ok, _ in reversed(outcomes):
            if ok:
                break
            bad += 1
        slow = [flag for _, flag in outcomes[-10:]]
        return bad, tuple([False] * (10 - len(slow)) + slow)

    def _happen(self, when: int, *, is_outcome: bool = False) -> int:
        """Count an event; when the clock went back, take every deadline along."""
        self.events += 1
        back = self.newest - when
        if back <= 0 or (is_outcome and back <= HOUR):
            self.newest = max(self.newest, when)
            return self.newest
        self.newest = when
        self.due = None if self.due is None else self.due - back
        self.forced_end = None if self.forced_end is None else self.forced_end - back
        return when

    def _hand_over(self, when: int, holder: str) -> None:
        self._happen(when)
        if self.phase == "open":
            self.good = 0
        self.phase, self.holder, self.holds_for, self.patience = "half_open", holder, when, 2 * QUARTER
        self.forced, self.forced_end = "", None

    def _open(self, now: int, wait_minutes: int) -> None:
        draw = int(hashlib.sha256(f"{self.name}/{self.events}".encode()).hexdigest()[:8], 16) / 16**8
        self.phase, self.wait_minutes = "open", wait_minutes
        self.due = now + round(wait_minutes * MINUTE * (1 - 0.25 * draw))
        self.results, self.good, self.holder = [(False, False)] * self.failures, 0, None
        self.forced, self.forced_end = "", None

    def _close(self) -> None:
        self.phase, self.due, self.results, self.failures = "closed", None, [], 0
        self.good, self.holder, self.wait_minutes, self.forced, self.forced_end = 0, None, 0, "", None
