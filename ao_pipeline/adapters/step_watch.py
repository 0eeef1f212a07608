"""A watchdog for the step that this process works on: it ends what takes too long and what makes no progress.

Progress is a beat (`resilience.progress`) or computing time. A step that must end gets a signal, which raises in the main
thread wherever it waits; if that does not help, whatever it waits for is broken (`abort`); a step that sits in foreign code
where no signal reaches it is ended with its process (`die`), because Dagster then runs what is left in a new one.

Invariants:
1. Nothing is raised outside the watched body (`test_nothing_is_raised_after_the_step_has_ended`).
2. A step that gives beats or computes is never called stalled (`test_slow_but_healthy_steps_are_never_interrupted`).
3. Time in which the whole process stood still counts for nobody (`test_a_process_that_was_paused_is_not_blamed_on_its_step`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from ao_pipeline import clock
from ao_pipeline.errors import StepLimitError, StepStalledError, StepTimeoutError
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline.resilience.progress import PULSE

LOOK_SECONDS: Final = 0.5
"""Between two looks at a step."""

PROGRESS_CPU_SECONDS: Final = 0.5
"""Computing time that counts as progress. The process's other threads use some milliseconds a minute."""

INSIST_SECONDS: Final = 5.0
"""Between an interrupt and the next: time to roll back. From the second on, what the step waits for is broken as well."""

PAUSE_SECONDS: Final = 10.0
"""A look that comes this late was not late by itself: the process was stopped, or the machine slept."""

SIGNAL: Final = getattr(signal, "SIGRTMIN", signal.SIGUSR2) + (3 if hasattr(signal, "SIGRTMIN") else 0)
"""A real-time signal that nothing else uses: Dagster has SIGINT and SIGTERM, test runners SIGALRM."""


@dataclass
class Watched:
    """One step under watch. Written by its own thread at the start, by the watchdog afterwards."""

    allowance: Allowance
    abort: Callable[[], None]
    die: Callable[[StepLimitError], None]
    thread: int
    is_main: bool
    deadline: float
    beats: int
    cpu_seconds: float
    progressed_at: float
    looked_at: float
    verdict: StepLimitError | None = None
    insist_at: float = 0.0
    judged_at: float = 0.0
    interrupts: int = 0
    is_given_up: bool = field(default=False)


class Watchdog:
    """Looks after one step at a time, from a thread of its own that sleeps while there is none."""

    def __init__(self, *, look_seconds: float = LOOK_SECONDS, insist_seconds: float = INSIST_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._insist_seconds = insist_seconds
        self._changed = threading.Condition()
        self._current: Watched | None = None
        self._thread: threading.Thread | None = None
        self._is_idle = False

    @contextmanager
    def watching(
        self, allowance: Allowance, *, abort: Callable[[], None], die: Callable[[StepLimitError], None]
    ) -> Iterator[None]:
        """Watch the body. One at a time: a body inside another one's is not watched by itself.

        Args:
            allowance: Its time and patience.
            abort: Breaks what the step may be waiting for; called from the watchdog's thread.
            die: Ends the process; called from the watchdog's thread when nothing else has helped.

        Raises:
            StepTimeoutError: It took too long.
            StepStalledError: It made no progress.
        """
        if self._current is not None:
            yield
            return
        watched = self._begin(allowance, abort, die)
        try:
            try:
                yield
            finally:
                self._end(watched)
        except StepLimitError:
            self._end(watched)  # The interrupt may have hit the line above.
            raise
        except Exception as error:
            self._end(watched)
            if (
                watched.interrupts
            ):  # What the body made of the interrupt, or of the connection that was broken under it.
                assert watched.verdict is not None
                raise type(watched.verdict)(str(watched.verdict)) from error
            raise

    def _begin(self, allowance: Allowance, abort: Callable[[], None], die: Callable[[StepLimitError], None]) -> Watched:
        now = clock.monotonic_seconds()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(SIGNAL) is not _on_signal:
            signal.signal(SIGNAL, _on_signal)  # For good: a late signal must find it.
        watched = Watched(
            allowance,
            abort,
            die,
            thread=threading.get_ident(),
            is_main=is_main,
            deadline=now + allowance.seconds,
            beats=PULSE.count,
            cpu_seconds=clock.cpu_seconds(),
            progressed_at=now,
            looked_at=now,
        )
        with self._changed:
            PULSE.verdict = None
            self._current = watched
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="step-watchdog", daemon=True)
                self._thread.start()
            elif self._is_idle:
                self._changed.notify()
        if is_main:
            _raised_for.append(watched)
        return watched

    def _end(self, watched: Watched) -> None:
        _raised_for.clear()
        with self._changed:
            if self._current is watched:
                self._current = None
            PULSE.verdict = None

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._current is None:
                    self._is_idle = True
                    self._changed.wait()
                    self._is_idle = False
                self._changed.wait(self._look_seconds)
                if self._current is not None:
                    self._look(self._current)

    def _look(self, watched: Watched) -> None:
        """Judge the step; called with the lock held, so that it cannot end in between."""
        now = clock.monotonic_seconds()
        paused = now - watched.looked_at
        watched.looked_at = now
        if paused > PAUSE_SECONDS and watched.verdict is None:
            watched.deadline += paused
            watched.progressed_at += paused
            return
        if watched.verdict is None:
            self._note_progress(watched, now)
            watched.verdict = _judge(watched, now)
            if watched.verdict is None:
                return
            PULSE.verdict = (type(watched.verdict), str(watched.verdict))
            watched.judged_at = watched.insist_at = now
        if now >= watched.insist_at:
            watched.insist_at = now + self._insist_seconds
            watched.interrupts += 1
            if watched.interrupts > 1:
                watched.abort()
            if watched.is_main:
                signal.pthread_kill(watched.thread, SIGNAL)
        if watched.is_main and not watched.is_given_up and now - watched.judged_at > watched.allowance.grace_seconds:
            watched.is_given_up = True
            watched.die(watched.verdict)

    @staticmethod
    def _note_progress(watched: Watched, now: float) -> None:
        cpu = clock.cpu_seconds()
        if PULSE.count != watched.beats:
            watched.beats = PULSE.count
            watched.cpu_seconds = cpu
            watched.progressed_at = max(watched.progressed_at, now + PULSE.wait_seconds)
        elif cpu - watched.cpu_seconds >= PROGRESS_CPU_SECONDS:
            watched.cpu_seconds = cpu
            watched.progressed_at = max(watched.progressed_at, now)


def _judge(watched: Watched, now: float) -> StepLimitError | None:
    allowance = watched.allowance
    if now > watched.deadline:
        return StepTimeoutError(
            f"{allowance.asset} took longer than the {allowance.seconds:.0f} s that it may in this run; "
            "it is tried again in the next cycle",
            asset=allowance.asset,
            limit_seconds=allowance.seconds,
        )
    if now - watched.progressed_at > allowance.stall_seconds:
        return StepStalledError(
            f"{allowance.asset} made no progress for {allowance.stall_seconds:.0f} s: no answer, no page, no commit and no "
            "computing; it is tried again in the next cycle",
            asset=allowance.asset,
            stall_seconds=allowance.stall_seconds,
        )
    return None


_raised_for: Final[list[Watched]] = []
"""The step of the main thread that a signal may raise in; empty outside of its body."""


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if _raised_for and (verdict := _raised_for[-1].verdict) is not None:
        raise type(verdict)(str(verdict), **verdict.details)


WATCHDOG: Final = Watchdog()
"""One, because a process executes one step at a time."""
