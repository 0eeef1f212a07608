"""The watchdog of a step: what takes too long or makes no progress ends, what works is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ao_pipeline import clock
from ao_pipeline.adapters.step_watch import Watchdog
from ao_pipeline.errors import StepLimitError, StepStalledError, StepTimeoutError
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline.resilience.progress import beat

Body = Callable[[], object]


@pytest.fixture(scope="module")
def watchdog() -> Watchdog:
    """A watchdog in a hurry."""
    return Watchdog(look_seconds=0.02, insist_seconds=0.2)


def watched(
    watchdog: Watchdog, body: Body, *, seconds: float = 30.0, stall: float = 30.0, grace: float = 30.0
) -> list[str]:
    """Run the body under watch; return what the watchdog did beside raising."""
    done: list[str] = []
    allowance = Allowance("truth/slow", seconds, 0, stall_seconds=stall, grace_seconds=grace)
    with watchdog.watching(allowance, abort=lambda: done.append("abort"), die=lambda _: done.append("die")):
        body()
    return done


def sleep_without_progress() -> None:
    time.sleep(20)


def compute_for_ever() -> None:
    while True:
        sum(range(1_000))


@pytest.mark.parametrize("body", [sleep_without_progress, compute_for_ever, threading.Event().wait])
def test_a_step_that_takes_too_long_is_interrupted(watchdog: Watchdog, body: Body) -> None:
    began = clock.monotonic_seconds()

    with pytest.raises(StepTimeoutError, match="truth/slow took longer than"):
        watched(watchdog, body, seconds=0.2)

    assert clock.monotonic_seconds() - began < 5


@pytest.mark.parametrize("body", [sleep_without_progress, threading.Event().wait])
def test_a_step_that_makes_no_progress_it_alone_fails(watchdog: Watchdog, body: Body) -> None:
    with pytest.raises(StepStalledError, match="truth/slow made no progress"):
        watched(watchdog, body, stall=0.2)

    assert watched(watchdog, lambda: None) == []


def test_slow_but_healthy_steps_are_never_interrupted(watchdog: Watchdog) -> None:
    """A hundred steps, each of them slower than the stall limit, by beats and by computing."""

    def beating() -> None:
        for _ in range(6):
            time.sleep(0.01)
            beat()

    def computing() -> None:
        until = clock.cpu_seconds() + 0.06
        while clock.cpu_seconds() < until:
            sum(range(1_000))

    def waiting_on_purpose() -> None:
        beat(wait_seconds=0.3)
        time.sleep(0.06)

    killed = 0
    for number in range(100):
        body = (beating, waiting_on_purpose)[number % 2]
        try:
            watched(watchdog, body, stall=0.05 if body is waiting_on_purpose else 0.5)
        except StepLimitError:
            killed += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ao_pipeline.adapters.step_watch.PROGRESS_CPU_SECONDS", 0.001)
        for _ in range(5):
            watched(watchdog, computing, stall=0.5)

    assert killed == 0


def test_a_step_that_swallows_the_interrupt_is_interrupted_again_and_what_it_waits_for_is_broken(
    watchdog: Watchdog,
) -> None:
    done: list[str] = []

    def stubborn() -> None:
        for _ in range(2):
            try:
                time.sleep(20)
            except StepLimitError:
                done.append("swallowed")
        time.sleep(20)

    allowance = Allowance("truth/slow", 0.1, 0)
    with (
        pytest.raises(StepTimeoutError),
        watchdog.watching(allowance, abort=lambda: done.append("abort"), die=lambda _: done.append("die")),
    ):
        stubborn()

    assert done[:3] == ["swallowed", "abort", "swallowed"]
    assert "die" not in done


def test_an_error_that_the_broken_connection_caused_is_still_a_timeout(watchdog: Watchdog) -> None:
    broken = threading.Event()

    def waits_in_the_driver() -> None:
        try:
            time.sleep(20)
        except StepLimitError:
            broken.wait(20)
            raise OSError("connection reset") from None

    allowance = Allowance("truth/slow", 0.1, 0)
    with pytest.raises(StepTimeoutError), watchdog.watching(allowance, abort=broken.set, die=lambda _: None):
        waits_in_the_driver()


def test_a_step_that_cannot_be_interrupted_ends_its_process_after_a_grace(watchdog: Watchdog) -> None:
    died = threading.Event()
    reasons: list[StepLimitError] = []

    def die(reason: StepLimitError) -> None:
        reasons.append(reason)
        died.set()

    def stuck() -> None:
        while not died.is_set():
            try:
                died.wait(20)
            except StepLimitError:
                continue
        raise RuntimeError("the end of the process is only pretended")

    allowance = Allowance("truth/stuck", 0.1, 0, grace_seconds=0.5)
    with pytest.raises(StepTimeoutError), watchdog.watching(allowance, abort=lambda: None, die=die):
        stuck()

    assert [type(reason) for reason in reasons] == [StepTimeoutError]


def test_nothing_is_raised_after_the_step_has_ended(watchdog: Watchdog) -> None:
    """Steps that end just when they are judged: three hundred of them, and what follows each is never interrupted."""
    late = 0
    ended = {"in time": 0, "interrupted": 0}
    for number in range(300):
        pause = 0.001 + (number % 40) * 0.001
        try:
            watched(watchdog, lambda pause=pause: time.sleep(pause), seconds=0.02)
            ended["in time"] += 1
        except StepTimeoutError:
            ended["interrupted"] += 1
        try:
            for _ in range(200):
                pass
        except StepLimitError:
            late += 1

    assert late == 0
    assert min(ended.values()) > 20, ended  # Else it was no race.


def test_a_process_that_was_paused_is_not_blamed_on_its_step(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.monotonic_seconds
    jump = [0.0]
    monkeypatch.setattr(clock, "monotonic_seconds", lambda: real() + jump[0])

    def body() -> None:
        time.sleep(0.1)
        jump[0] = 3_600.0
        time.sleep(0.2)

    assert watched(watchdog, body, seconds=5.0, stall=2.0) == []


def test_in_another_thread_the_step_ends_at_its_next_beat(watchdog: Watchdog) -> None:
    caught: list[type[BaseException]] = []

    def body() -> None:
        for _ in range(1_000):
            time.sleep(0.01)
            beat()

    def run() -> None:
        try:
            watched(watchdog, body, seconds=0.1)
        except StepLimitError as error:
            caught.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert caught == [StepTimeoutError]


def test_a_step_inside_a_step_is_watched_once(watchdog: Watchdog) -> None:
    def inner() -> Iterator[str]:
        yield from watched(watchdog, lambda: None, seconds=0.01)

    assert watched(watchdog, lambda: list(inner())) == []


def test_the_watch_costs_a_step_less_than_a_millisecond(watchdog: Watchdog) -> None:
    for _ in range(50):
        watched(watchdog, lambda: None)
    began = clock.cpu_seconds()
    for _ in range(200):
        watched(watchdog, lambda: None)

    assert (clock.cpu_seconds() - began) / 200 < 0.001
