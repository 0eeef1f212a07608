"""What is promised about failures: each promise has a test that is named after it and a section of the runbook.

Truth and snapshot that fail are tested here; the other promises where their machinery is.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NoReturn

import pytest

from ao_pipeline.errors import PermanentError
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.pipeline.alerting import Watch
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, THIRD, Plant, errors_of

RUNBOOK = (PROJECT_DIR / "docs" / "runbook.md").read_text(encoding="utf-8")

PROMISES = {
    "a request fails and may succeed later": ("test_retry_after_is_honoured", "A source is down or refuses"),
    "a request is refused for good": ("test_permanent_failures_feed_no_breaker", "A source is down or refuses"),
    "a step fails": ("test_every_step_has_the_one_step_retry", "A source is down or refuses"),
    "a job fails three times": (
        "test_a_job_that_fails_three_cycles_in_a_row_opens_its_breaker",
        "A circuit breaker is open",
    ),
    "an upstream asset failed": (
        "test_a_failed_source_is_followed_up_with_what_it_kept_from_running",
        "A source is down or refuses",
    ),
    "truth fails": (
        "test_truth_fails_and_the_snapshot_stands_on_the_last_good_one_and_says_so",
        "Truth or the snapshot fails",
    ),
    "the snapshot fails": (
        "test_the_snapshot_fails_and_the_last_good_one_stays_published_and_people_are_told",
        "Truth or the snapshot fails",
    ),
    "a notification fails": (
        "test_notification_fails_and_neither_a_full_nor_a_dead_outbox_fails_the_cycle",
        "Notifications are not delivered",
    ),
    "a source returns far fewer rows": (
        "test_a_fault_that_stays_ends_in_its_error_and_changes_nothing",
        "A listing shrank (volume drop)",
    ),
    "a cursor expired": (
        "test_an_expired_cursor_fails_nothing_and_reads_everything_anew",
        "A cursor expired",
    ),
    "a step needs too much memory": (
        "test_a_step_needs_more_memory_than_its_limit_it_alone_fails_and_the_rest_of_the_run_goes_on",
        "A step needs too much memory, takes too long or makes no progress",
    ),
    "a step makes no progress": (
        "test_a_step_makes_no_progress_it_alone_fails_and_the_rest_of_the_run_goes_on",
        "A step needs too much memory, takes too long or makes no progress",
    ),
    "the run's process is killed": (
        "test_the_runs_process_is_killed_and_the_run_is_executed_again",
        "A run died, hangs or is stuck",
    ),
    "it is killed with the code server": (
        "test_the_runs_process_is_killed_together_with_the_code_server",
        "A run died, hangs or is stuck",
    ),
    "a pool's slot is leaked": (
        "test_leaked_slots_are_freed_and_held_ones_are_not",
        "A pool's slot is held by nobody, a run is stuck in QUEUED, STARTING or CANCELING",
    ),
    "a process of the engine dies or hangs": (
        "test_the_daemon_code_server_or_exporter_dies_or_hangs",
        "The daemon, code server, UI, exporter or sandbox dies or hangs",
    ),
    "the database is locked": (
        "test_the_database_is_locked_waits_for_a_bounded_time_and_nothing_is_half_written",
        "The database is locked, away, full, read-only or damaged",
    ),
    "the database is unreachable": (
        "test_the_database_is_unreachable_waits_with_bounded_backoff_and_says_so",
        "The database is locked, away, full, read-only or damaged",
    ),
    "the machine was off for hours": (
        "test_the_machine_was_off_for_hours_costs_one_catch_up_run",
        "The machine was off",
    ),
    "a freshness policy fails": (
        "test_a_failed_freshness_policy_requests_the_asset_again",
        "An asset is stale",
    ),
    "a blocking check refuses a commit": (
        "test_a_collapse_is_taken_back_and_held_and_the_cycle_is_published_degraded",
        "An asset is on hold",
    ),
}
"""By what happens: its test and its section."""


def test_each_promise_has_its_test_and_its_section_of_the_runbook() -> None:
    files = (PROJECT_DIR / "ao_pipeline_tests").rglob("test_*.py")
    tests = {name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)}
    sections = set(re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE))

    assert {test for test, _ in PROMISES.values()} <= tests
    assert {section for _, section in PROMISES.values()} <= sections


def raise_refusal(*_args: object, **_named: object) -> NoReturn:
    raise PermanentError("the rule refuses its input")


def test_truth_fails_and_the_snapshot_stands_on_the_last_good_one_and_says_so(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plant.state_hashes()
    with monkeypatch.context() as patch:
        patch.setattr("ao_pipeline.truth.client_health.score_clients", raise_refusal)
        plant.box.advance(60)
        plant.box.mutate("task", "create", name="Makes truth due")
        outcome = plant.cycle(SECOND)

    after = plant.state_hashes()
    assert list(errors_of(outcome)) == ["truth/client_health"]
    assert outcome.status == "degraded"
    assert after["truth/client_health"] == before["truth/client_health"]
    assert plant.report(SECOND)["missing"] == ["truth/client_health"]
    assert "truth/client_health" in plant.trust()["stale_sources"]
    assert plant.cycle(THIRD).status == "success"


def test_the_snapshot_fails_and_the_last_good_one_stays_published_and_people_are_told(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(plant, monkeypatch)
    before = plant.table("snapshot/agency")
    with monkeypatch.context() as patch:
        patch.setattr("ao_pipeline.defs.snapshot.build_snapshot", raise_refusal)
        plant.box.advance(60)
        plant.box.mutate("task", "create", name="Makes a snapshot due")
        watch.cycle(SECOND)
    told = len(watch.texts())

    watch.at(SECOND.end + timedelta(minutes=1))

    assert before.num_rows > 0
    assert plant.table("snapshot/agency").equals(before)
    assert plant.report(SECOND)["recorded"] == "failed"
    with plant.store() as store:
        head = store.head("snapshot/agency")
    assert head is not None
    assert head.state_cycle == FIRST.key, "what was not written counts as fresh"
    assert "cycle_failed" in watch.kinds()
    assert any("A cycle failed" in text for text in watch.texts()[told:])
