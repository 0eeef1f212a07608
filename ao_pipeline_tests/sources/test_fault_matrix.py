"""Every source under every fault, on a first and on a following collection: the right error, or the right rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from ao_pipeline.adapters.sources.http import THREADS
from ao_pipeline.collect.volume import VolumeDropError
from ao_pipeline.errors import AoError, AuthError, BudgetExhaustedError, ContractError, PermanentError, TransientError
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
    """One fault and what comes of it: an error, or the truth when `error` is None."""

    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)
    error: type[AoError] | tuple[type[AoError], ...] | None = None
    most_hits: int | None = None


FAILING: Final = {
    "server error": Cell("status", {"status": 500}, TransientError),
    "bad gateway in HTML": Cell("status", {"status": 502, "body": "<html>"}, TransientError),
    "unavailable": Cell("status", {"status": 503, "headers": {"Retry-After": "2"}}, TransientError),
    "429 without a time": Cell("status", {"status": 429}, TransientError),
    "429 with a time": Cell("status", {"status": 429, "headers": {"Retry-After": "3"}}, TransientError),
    "429 with a date": Cell(
        "status", {"status": 429, "headers": {"Retry-After": "Fri, 20 Nov 2026 09:00:05 GMT"}}, TransientError
    ),
    "429 for hours": Cell(
        "status", {"status": 429, "headers": {"Retry-After": "66975"}}, BudgetExhaustedError, THREADS
    ),
    "not authorised": Cell("status", {"status": 401}, AuthError, 2 * THREADS),
    "not found": Cell("status", {"status": 404}, PermanentError),
    "hang": Cell("hang", {"seconds": 5.0}, TransientError),
    "reset mid-body": Cell("disconnect", {}, TransientError),
    "truncated": Cell("truncated", {}, TransientError),
    "HTML with 200": Cell("html", {}, TransientError),
    "foreign JSON": Cell("foreign", {}, ContractError, THREADS),
    "a renamed list": Cell("renamed_list", {}, ContractError, THREADS),
    "{}": Cell("empty", {}, (ContractError, VolumeDropError)),
}
HARMLESS: Final = {
    "latency": Cell("latency", {"seconds": 0.01, "count": 3}),
    "an unknown field": Cell("unknown_field"),
    "rows twice": Cell("duplicate_rows"),
    "rows in another order": Cell("reordered_rows"),
    "a clock a day ahead": Cell("skewed_clock", {"seconds": 86_400.0}),
    "a clock a day behind": Cell("skewed_clock", {"seconds": -86_400.0}),
    "one error in passing": Cell("status", {"status": 500, "count": 1}),
    "one reset in passing": Cell("disconnect", {"count": 1}),
    "errors now and then": Cell("status", {"status": 503, "rate": 0.2, "seed": 4}),
}
ELSEWHERE: Final = {"revoke_subject", "malformed_record", "rate_limit"}
"""Kinds with a test of their own below."""

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
    assert 1 <= hits <= (cell.most_hits or prepared.settings.call_attempts * THREADS)
    assert clock.seconds <= prepared.settings.source_budget_seconds
    assert isinstance(caught.value, TransientError) == (cell.error in (TransientError, BudgetExhaustedError))
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

    with pytest.raises(TransientError if source in GOOGLE else AuthError):
        prepared.read(ASSETS[source])


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

    with pytest.raises(AuthError, match=r"ops@agency\.example"):
        prepared.read(ASSETS[source])


@pytest.mark.parametrize("source", ASSETS)
def test_an_enforced_rate_limit_is_waited_for_within_the_budget(prepared: Engine, source: str) -> None:
    prepared.box.fault(source, "rate_limit", per_minute=1)
    clock = FakeTime()

    with suppress(TransientError):  # A source that asks once is within it the first time.
        prepared.read(ASSETS[source], clock=clock)
    with pytest.raises(TransientError):  # The sandbox's minute is real, the waits are not: it stays closed.
        prepared.read(ASSETS[source], clock=clock)

    assert clock.seconds <= prepared.settings.source_budget_seconds


def test_the_same_seed_scripts_the_same_faults(prepared: Engine) -> None:
    first = prepared.box.script_faults(7, count=6, within_seconds=600)
    again = prepared.box.script_faults(7, count=6, within_seconds=600)

    assert first == again
    assert len({item["after_seconds"] for item in first}) == 6
    assert prepared.box.state()["faults"] == 12


def test_no_kind_of_fault_is_left_out() -> None:
    covered = {cell.kind for cell in (*FAILING.values(), *HARMLESS.values())} | ELSEWHERE

    assert covered == KINDS
