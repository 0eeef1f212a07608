"""What a cycle tells the breakers: only what a later try could change counts as a failure."""

from __future__ import annotations

import pytest

from ao_pipeline.resilience.breaker_state import EventKind
from ao_pipeline.resilience.evidence import Call, Failure, judge_jobs, judge_sources

SOURCES = {"raw/asana_tasks": "asana", "raw/asana_stories": "asana", "raw/xero_invoices": "xero"}


def failure(asset: str, category: str, *, attempt: int = 1) -> Failure:
    return Failure(
        asset, "2026-11-22-10:00", "run-1", attempt, "SomeError", category, "it broke", attempt * 10, "run-1"
    )


@pytest.mark.parametrize("category", ["transient", "bug"])
def test_transient_failures_and_bugs_feed_a_breaker(category: str) -> None:
    jobs = judge_jobs([], [failure("truth/capacity", category)])

    assert jobs["truth/capacity"].kind is EventKind.FAILED
    assert jobs["truth/capacity"].reason == "SomeError: it broke"


def test_permanent_failures_feed_no_breaker() -> None:
    jobs = judge_jobs([], [failure("raw/asana_tasks", "permanent")])

    assert jobs["raw/asana_tasks"].kind is EventKind.INCONCLUSIVE
    assert judge_sources(jobs, [], SOURCES)["source:asana"].kind is EventKind.INCONCLUSIVE


def test_a_step_that_was_killed_feeds_no_breaker() -> None:
    assert judge_jobs([], []) == {}
    assert judge_sources({}, [], SOURCES) == {}


def test_a_job_whose_second_attempt_came_through_is_good() -> None:
    jobs = judge_jobs([Call("raw/asana_tasks", 100)], [failure("raw/asana_tasks", "transient")])

    assert jobs["raw/asana_tasks"].kind is EventKind.SUCCEEDED


def test_the_last_attempt_counts() -> None:
    failures = [failure("raw/asana_tasks", "permanent", attempt=2), failure("raw/asana_tasks", "transient", attempt=1)]

    assert judge_jobs([], failures)["raw/asana_tasks"].kind is EventKind.INCONCLUSIVE


@pytest.mark.parametrize(("duration_ms", "is_slow"), [(59_999, False), (60_000, True)])
def test_a_call_of_a_minute_is_slow(duration_ms: int, is_slow: bool) -> None:
    assert judge_jobs([Call("raw/asana_tasks", duration_ms)], [])["raw/asana_tasks"].is_slow is is_slow


def test_a_source_fails_when_no_job_of_it_came_through() -> None:
    calls = [Call("raw/xero_invoices", 10)]
    jobs = judge_jobs(calls, [failure("raw/asana_tasks", "transient"), failure("raw/asana_stories", "permanent")])

    sources = judge_sources(jobs, calls, SOURCES)

    assert {name: outcome.kind.value for name, outcome in sources.items()} == {
        "source:asana": "failed",
        "source:xero": "succeeded",
    }


def test_a_source_that_answers_some_of_its_jobs_is_not_down() -> None:
    calls = [Call("raw/asana_stories", 10)]
    jobs = judge_jobs(calls, [failure("raw/asana_tasks", "transient")])

    assert judge_sources(jobs, calls, SOURCES)["source:asana"].kind is EventKind.SUCCEEDED


def test_a_job_that_had_nothing_to_ask_says_nothing_about_its_source() -> None:
    calls = [Call("raw/asana_stories", 10, reached_upstream=False)]
    jobs = judge_jobs(calls, [failure("raw/asana_tasks", "transient")])

    assert judge_sources(jobs, calls, SOURCES)["source:asana"].kind is EventKind.FAILED
    assert judge_sources(judge_jobs(calls, []), calls, SOURCES)["source:asana"].kind is EventKind.INCONCLUSIVE


def test_a_source_is_slow_when_everything_that_reached_it_was() -> None:
    calls = [Call("raw/asana_tasks", 70_000), Call("raw/asana_stories", 10)]

    assert judge_sources(judge_jobs(calls, []), calls, SOURCES)["source:asana"].is_slow is False
    assert judge_sources(judge_jobs(calls[:1], []), calls[:1], SOURCES)["source:asana"].is_slow is True
