"""Every source under every fault, on a first and on a following collection: the right error, or the right rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from ao_pipeline.adapters.sources.diagnose import sources
from ao_pipeline.adapters.sources.http import THREADS
from ao_pipeline.adapters.sources.registry import COLLECTORS
from ao_pipeline.collect.volume import VolumeDropError
from ao_pipeline.errors import (
    AoError,
    AuthError,
    BudgetExhaustedError,
    ContractError,
    CursorExpiredError,
    PermanentError,
    TransientError,
    category_of,
)
from ao_pipeline.resilience.breaker_state import EventKind
from ao_pipeline.resilience.evidence import Failure, judge_jobs
from ao_pipeline.sandbox.fault_bodies import GOOGLE
from ao_pipeline.sandbox.faults import KINDS
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine, FakeTime
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

ASSETS: Final = {
    "asana": "raw/asana_tasks",
    "gmail": "raw/gmail_messages",
    "calendar": "raw/calendar_events",
    "chat": "raw/chat_messages",
    "gtasks": "raw/gtasks_tasks",
    "people": "raw/people_contacts",
    "drive": "raw/drive_files",
    "xero": "raw/xero_invoices",
}
RECORD_PATHS: Final = {
    "asana": "/tasks",
    "gmail": "/messages/",
    "calendar": "/events",
    "chat": "/messages",
    "gtasks": "/lists/",
    "people": "/connections",
    "drive": "/files",
    "xero": "/Invoices",
}


@dataclass(frozen=True)
class Cell:
    """One fault and what comes of it: an error, or the truth when `error` is None.

    `is_retried` says whether one request is tried again, `feeds` whether the error counts against the circuit breaker.
    """

    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)
    error: type[AoError] | tuple[type[AoError], ...] | None = None
    is_retried: bool = False
    feeds: bool = False
    most_hits: int = THREADS
    """Requests that may meet the fault when none is retried: as many as were under way."""


def passing(kind: str, **details: Any) -> Cell:
    """Return the cell of a fault that may pass: tried again, and counted when it does not pass."""
    return Cell(kind, details, TransientError, is_retried=True, feeds=True)


FAILING: Final = {
    "server error": passing("status", status=500),
    "bad gateway in HTML": passing("status", status=502, body="<html>"),
    "unavailable": passing("status", status=503, headers={"Retry-After": "2"}),
    "429 without a time": passing("status", status=429),
    "429 with a time": passing("status", status=429, headers={"Retry-After": "3"}),
    "429 with a date": passing("status", status=429, headers={"Retry-After": "Fri, 20 Nov 2026 09:00:05 GMT"}),
    "429 for hours": Cell(
        "status", {"status": 429, "headers": {"Retry-After": "66975"}}, BudgetExhaustedError, feeds=True
    ),
    # A token may be revoked early, so each request asks once more with a fresh one.
    "revoked credentials": Cell("status", {"status": 401}, AuthError, most_hits=2 * THREADS),
    "not found": Cell("status", {"status": 404}, PermanentError, most_hits=2 * THREADS),
    "hang": passing("hang", seconds=5.0),
    "reset mid-body": passing("disconnect"),
    "truncated JSON": passing("truncated"),
    "HTML with 200": passing("html"),
    "foreign JSON": Cell("foreign", {}, ContractError),
    "a renamed list": Cell("renamed_list", {}, ContractError),
    "an empty answer": Cell("empty", {}, (ContractError, VolumeDropError), most_hits=3 * THREADS),
}
HARMLESS: Final = {
    # Whoever brings these feeds no breaker: nothing fails.
    "latency": Cell("latency", {"seconds": 0.01, "count": 3}),
    "an unknown field": Cell("unknown_field"),
    "duplicate rows": Cell("duplicate_rows"),
    "reordered rows": Cell("reordered_rows"),
    "a clock a day ahead": Cell("skewed_clock", {"seconds": 86_400.0}),
    "a clock a day behind": Cell("skewed_clock", {"seconds": -86_400.0}),
    "one error in passing": Cell("status", {"status": 500, "count": 1}),
    "one reset in passing": Cell("disconnect", {"count": 1}),
    "errors now and then": Cell("status", {"status": 503, "rate": 0.2, "seed": 4}),
}
ELSEWHERE: Final = {"revoke_subject", "malformed_record", "rate_limit"}
"""Kinds with a test of their own below."""

PROMISED: Final = {
    "latency", "hang", "reset mid-body", "429 with a time", "429 with a date", "429 without a time", "server error",
    "unavailable", "bad gateway in HTML", "truncated JSON", "foreign JSON", "a renamed list", "an unknown field",
    "an empty answer", "duplicate rows", "reordered rows", "revoked credentials", "a clock a day ahead",
    "a clock a day behind",
}  # fmt: skip
"""Every fault that the README promises a cell for; cursor expiry has its own test, because only some have a cursor."""

EXPIRING: Final = {"gmail", "calendar", "people", "drive"}
ASKED_BY_TIME: Final = {"asana", "chat", "gtasks", "xero"}
"""These vendors give no cursor that could expire."""

CELLS: Final = [
    (source, name, is_first)
    for source in ASSETS
    for name in FAILING
    for is_first in (True, False)
    # A quiet history and a quiet sync hold no list that could be renamed.
    if is_first or name != "a renamed list" or source not in {"gmail", "people"}
]
TINY: Final = replace(
    SMALL,
    projects=6,
    tasks=60,
    mail_threads=6,
    chat_messages=60,
    spaces=3,
    calendars=3,
    events=24,
    invoices=30,
    google_tasks=20,
    people=20,
    files=24,
)
State = tuple[dict[Any, Any], Any]


@pytest.fixture(scope="module")
def still_box(keys_folder: Path) -> Iterator[RunningSandbox]:
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=TINY)) as box:
        yield box


@pytest.fixture(scope="module")
def baselines() -> dict[str, State]:
    """Rows and cursor after a first collection, by source; made when first needed."""
    return {}


@pytest.fixture
def prepared(still_engine: Engine, baselines: dict[str, State]) -> Engine:
    """An engine that reads fast-failing answers; each source's first collection is made once for the module."""
    still_engine.settings = still_engine.settings.model_copy(update={"read_timeout_seconds": 0.3, "call_attempts": 2})
    for source, asset in ASSETS.items():
        if source not in baselines:
            still_engine.run(asset)
            baselines[source] = (still_engine.rows[asset], still_engine.cursors[asset])
        rows, cursor = baselines[source]
        still_engine.rows[asset], still_engine.cursors[asset] = dict(rows), copy.deepcopy(cursor)
    return still_engine


def inject(box: RunningSandbox, source: str, cell: Cell) -> int:
    box.fault(source, cell.kind, **cell.details)
    return int(box.state()["fault_hits"])


def feeds_the_breaker(error: AoError) -> bool:
    """Return whether a job that ends in this error counts as failed."""
    category = category_of(error)
    failure = Failure("raw/one", "2026-11-20-09:00", "run", 1, type(error).__name__, category, str(error), 0)
    return judge_jobs([], [failure])["raw/one"].kind is EventKind.FAILED


@pytest.mark.parametrize(("source", "name", "is_first"), CELLS)
def test_a_fault_that_stays_ends_in_its_error_and_changes_nothing(
    prepared: Engine, source: str, name: str, is_first: bool
) -> None:
    asset, cell = ASSETS[source], FAILING[name]
    if is_first:
        prepared.cursors.pop(asset)
    before = copy.deepcopy((prepared.rows[asset], prepared.cursors.get(asset)))
    clock = FakeTime()
    hits = inject(prepared.box, source, cell)

    assert cell.error is not None
    with pytest.raises(cell.error) as caught:
        prepared.read(asset, clock=clock)

    hits = prepared.box.state()["fault_hits"] - hits
    attempts = prepared.settings.call_attempts
    assert (attempts if cell.is_retried else 1) <= hits <= (attempts * THREADS if cell.is_retried else cell.most_hits)
    assert clock.seconds <= prepared.settings.source_budget_seconds
    assert feeds_the_breaker(caught.value) == cell.feeds
    assert (prepared.rows[asset], prepared.cursors.get(asset)) == before
    if is_first:
        return  # Its recovery is the first collection of every other test.
    prepared.box.clear_faults()
    prepared.run(asset)
    assert_equals_truth(prepared, asset)


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "next"])
@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("source", ASSETS)
def test_a_fault_that_can_be_borne_leaves_the_truth(prepared: Engine, source: str, name: str, is_first: bool) -> None:
    asset, cell = ASSETS[source], HARMLESS[name]
    if is_first:
        prepared.cursors.pop(asset)
    prepared.settings = prepared.settings.model_copy(update={"call_attempts": 6})
    inject(prepared.box, source, cell)

    prepared.run(asset)

    assert_equals_truth(prepared, asset)


@pytest.mark.parametrize("source", ASSETS)
def test_a_403_is_a_limit_at_google_and_a_permission_elsewhere(prepared: Engine, source: str) -> None:
    prepared.box.fault(source, "status", status=403)

    with pytest.raises(TransientError if source in GOOGLE else AuthError) as caught:
        prepared.read(ASSETS[source])

    assert feeds_the_breaker(caught.value) == (source in GOOGLE)


@pytest.mark.parametrize("source", ASSETS)
def test_a_record_that_breaks_its_contract_is_set_aside_alone(prepared: Engine, source: str) -> None:
    asset = ASSETS[source]
    prepared.cursors.pop(asset)
    before = set(prepared.rows[asset])
    prepared.box.fault(source, "malformed_record", path_contains=RECORD_PATHS[source])

    result = prepared.run(asset)

    assert result.quarantined
    assert set(prepared.rows[asset]) == before


@pytest.mark.parametrize("source", sorted(GOOGLE))
def test_a_revoked_subject_needs_a_human(prepared: Engine, source: str) -> None:
    prepared.box.fault("google_token", "revoke_subject", subject="ops@agency.example")

    with pytest.raises(AuthError, match=r"ops@agency\.example") as caught:
        prepared.read(ASSETS[source])

    assert not feeds_the_breaker(caught.value)


@pytest.mark.parametrize("source", ASSETS)
def test_an_enforced_rate_limit_is_waited_for_within_the_budget(prepared: Engine, source: str) -> None:
    prepared.box.fault(source, "rate_limit", per_minute=1)
    clock = FakeTime()

    with suppress(TransientError):  # A source that asks once is within it the first time.
        prepared.read(ASSETS[source], clock=clock)
    with pytest.raises(TransientError) as caught:  # The sandbox's minute is real, the waits are not: it stays closed.
        prepared.read(ASSETS[source], clock=clock)

    assert feeds_the_breaker(caught.value)
    assert clock.seconds <= prepared.settings.source_budget_seconds


def test_the_same_seed_scripts_the_same_faults(prepared: Engine) -> None:
    first = prepared.box.script_faults(7, count=6, within_seconds=600)
    again = prepared.box.script_faults(7, count=6, within_seconds=600)

    assert first == again
    assert len({item["after_seconds"] for item in first}) == 6
    assert prepared.box.state()["faults"] == 12


@pytest.mark.parametrize("source", sorted(EXPIRING))
def test_an_expired_cursor_fails_nothing_and_reads_everything_anew(prepared: Engine, source: str) -> None:
    asset = ASSETS[source]
    before = prepared.cursors[asset]["generation"]
    prepared.box.expire_cursors(source)
    prepared.advance(minutes=1)

    result = prepared.run(asset)

    assert result.cursor["generation"] == before + 1
    assert not feeds_the_breaker(CursorExpiredError("expired"))
    assert_equals_truth(prepared, asset)


def test_no_kind_of_fault_is_left_out() -> None:
    covered = {cell.kind for cell in (*FAILING.values(), *HARMLESS.values())} | ELSEWHERE

    assert covered == KINDS
    assert FAILING.keys() | HARMLESS.keys() >= PROMISED


def test_no_source_is_left_out() -> None:
    asked = {asset.split("/")[1].split("_")[0] for asset in COLLECTORS}

    assert set(ASSETS) == asked == set(sources()) == set(RECORD_PATHS) == EXPIRING | ASKED_BY_TIME
    assert len(CELLS) == len(ASSETS) * len(FAILING) * 2 - len({"gmail", "people"})
