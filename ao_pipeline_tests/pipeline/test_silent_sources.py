"""A source that hangs costs a run its patience once."""

import pytest

from ao_pipeline.defs.silence import waited_for_once
from ao_pipeline.errors import PermanentError, TransientError


def fail_slowly(monkeypatch: pytest.MonkeyPatch, run: str, *, seconds: float) -> None:
    """Let `raw/asana_tasks` fail after so long."""
    instants = iter([0.0, seconds])
    monkeypatch.setattr("ao_pipeline.clock.monotonic_seconds", lambda: next(instants))
    with pytest.raises(TransientError), waited_for_once(run, "asana", "raw/asana_tasks", patience_seconds=10):
        raise TransientError("no answer")
    monkeypatch.undo()


def test_the_other_collectors_of_a_silent_source_are_left_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_slowly(monkeypatch, "run-a", seconds=31)

    with (
        pytest.raises(PermanentError, match="asana let raw/asana_tasks wait in vain"),
        waited_for_once("run-a", "asana", "raw/asana_users", patience_seconds=10),
    ):
        pytest.fail("the source was asked again")


def test_the_one_that_waited_other_sources_and_other_runs_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_slowly(monkeypatch, "run-b", seconds=31)
    asked = []

    for run, source, asset in [
        ("run-b", "asana", "raw/asana_tasks"),
        ("run-b", "xero", "raw/xero_invoices"),
        ("run-c", "asana", "raw/asana_users"),
    ]:
        with waited_for_once(run, source, asset, patience_seconds=10):
            asked.append(asset)

    assert asked == ["raw/asana_tasks", "raw/xero_invoices", "raw/asana_users"]


def test_a_quick_failure_says_nothing_about_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_slowly(monkeypatch, "run-d", seconds=2)
    asked = []

    with waited_for_once("run-d", "asana", "raw/asana_users", patience_seconds=10):
        asked.append("raw/asana_users")

    assert asked == ["raw/asana_users"]
