"""When is the process behind a run dead or hung? Edges of every limit, and what must never be touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.resilience.run_recovery import RUN_POLICY, Seen, Worker, is_suspect, judge_waiting, judge_worker

STATES: tuple[Seen, ...] = ("running", "waiting for disk", "stopped", "traced", "gone", "unseen")


@pytest.mark.parametrize(
    ("seen", "age", "is_computing", "kind"),
    [
        ("gone", 0.0, False, "process_gone"),
        ("running", 25.0, False, None),
        ("running", 25.1, False, "process_silent"),
        ("running", 25.1, True, None),
        ("stopped", 8.0, False, None),
        ("stopped", 8.1, False, "process_stopped"),
        ("unseen", 60.0, False, None),
        ("unseen", 60.1, False, "process_silent"),
        ("traced", 10_000.0, False, None),
        ("waiting for disk", 10_000.0, False, None),
    ],
)
def test_a_process_is_judged_by_what_is_seen_of_it(
    seen: Seen, age: float, is_computing: bool, kind: str | None
) -> None:
    verdict = judge_worker(Worker(is_here=True, seen=seen, beat_age=age, is_computing=is_computing))

    assert (verdict.kind if verdict else None) == kind


@given(seen=st.sampled_from([state for state in STATES if state != "gone"]), age=st.floats(0, RUN_POLICY.stopped))
def test_a_slow_run_that_beats_is_left_alone(seen: Seen, age: float) -> None:
    assert judge_worker(Worker(is_here=True, seen=seen, beat_age=age)) is None


@given(age=st.floats(0, 1e9))
def test_a_silent_run_that_computes_is_left_alone(age: float) -> None:
    assert judge_worker(Worker(is_here=True, seen="running", beat_age=age, is_computing=True)) is None


@given(seen=st.sampled_from(STATES), age=st.floats(0, 1e9))
def test_a_run_on_another_host_is_left_to_that_host(seen: Seen, age: float) -> None:
    worker = Worker(is_here=False, seen=seen, beat_age=age)

    assert judge_worker(worker) is None
    assert not is_suspect(worker)


@pytest.mark.parametrize("seen", ["gone", "unseen"])
def test_only_a_process_that_is_there_is_killed(seen: Seen) -> None:
    verdict = judge_worker(Worker(is_here=True, seen=seen, beat_age=1e6))

    assert verdict is not None
    assert not verdict.must_kill


@pytest.mark.parametrize(
    ("status", "limit"),
    [
        ("STARTING", RUN_POLICY.unstarted),
        ("CANCELING", RUN_POLICY.canceling),
        ("NOT_STARTED", RUN_POLICY.unsubmitted),
        ("QUEUED", RUN_POLICY.queued),
    ],
)
def test_a_run_that_waits_beyond_its_limit_is_resolved(status: str, limit: float) -> None:
    assert judge_waiting(status, limit, is_alone=True) is None

    verdict = judge_waiting(status, limit + 0.1, is_alone=True)

    assert verdict is not None
    assert verdict.kind == f"stuck_{status.lower()}"


def test_a_queued_run_waits_for_as_long_as_others_run() -> None:
    assert judge_waiting("QUEUED", 1e6, is_alone=False) is None


def test_a_started_run_is_never_judged_by_its_age() -> None:
    assert judge_waiting("STARTED", 1e9, is_alone=True) is None
