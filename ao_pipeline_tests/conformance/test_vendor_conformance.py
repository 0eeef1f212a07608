"""The sandbox answers and the collectors ask as the vendors describe it. Skipped where the descriptions are not at hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ao_pipeline_tests.conformance.recorded_session import Exchange
from ao_pipeline_tests.conformance.vendor_documents import CONTRACTS, SOURCES, description, is_present

pytestmark = pytest.mark.skipif(
    not is_present(), reason=f"the vendors' descriptions are not in {CONTRACTS.name}/ beside the project"
)


DELIBERATE = {
    "asana": (
        r"/projects/?.* at data/.*current_status: .*\"aqua\"",  # The service gives a colour that its description lacks.
        r"/tasks/{task_gid}/stories 200 at data/\d+/created_by: null is not of type",  # System stories have no author.
        r"/users 200 at data/\d+/email: null is not of type",  # So does it hide addresses from a narrow token.
    )
}
"""Where the sandbox follows the vendor's service against the vendor's description."""


def of_source(exchanges: list[Exchange], source: str) -> list[Exchange]:
    found = [exchange for exchange in exchanges if exchange.source == source]
    assert len(found) >= 3, f"the session asked {source} {len(found)} times"
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_every_request_is_an_operation_of_the_vendor(exchanges: list[Exchange], source: str) -> None:
    strangers = {
        exchange.url for exchange in of_source(exchanges, source) if description(source).operation(exchange.url) is None
    }

    assert not strangers


@pytest.mark.parametrize("source", SOURCES)
def test_every_query_name_is_one_of_the_vendor(exchanges: list[Exchange], source: str) -> None:
    vendor = description(source)
    unknown = set()
    for exchange in of_source(exchanges, source):
        operation = vendor.operation(exchange.url)
        assert operation is not None
        unknown |= {(operation.path, name) for name in exchange.names - operation.query.keys()}

    assert not unknown


@pytest.mark.parametrize("source", SOURCES)
def test_every_word_of_a_closed_list_is_one_of_the_vendor(exchanges: list[Exchange], source: str) -> None:
    vendor = description(source)
    unknown = set()
    for exchange in of_source(exchanges, source):
        operation = vendor.operation(exchange.url)
        assert operation is not None
        for name, value in exchange.query:
            schema = operation.query[name]
            words = schema.get("enum") or schema.get("items", {}).get("enum")
            if words:
                unknown |= {(operation.path, name, word) for word in value.split(",") if word not in words}

    assert sorted(unknown) == []


@pytest.mark.parametrize("source", SOURCES)
def test_every_answer_satisfies_the_vendor(exchanges: list[Exchange], source: str) -> None:
    vendor = description(source)
    problems = set()
    for exchange in of_source(exchanges, source):
        operation = vendor.operation(exchange.url)
        assert operation is not None
        problems |= set(vendor.problems(operation, exchange.status, exchange.body))

    excused = re.compile("|".join(DELIBERATE.get(source, ("$^",))))
    assert sorted(problem for problem in problems if not excused.match(problem))[:10] == []


@pytest.mark.parametrize("source", SOURCES)
def test_an_answer_of_another_shape_is_noticed(exchanges: list[Exchange], source: str) -> None:
    vendor = description(source)
    listing = next(one for one in of_source(exchanges, source) if isinstance(one.body, dict) and list_key(one.body))
    operation = vendor.operation(listing.url)
    assert operation is not None

    key = list_key(listing.body)
    found = vendor.problems(
        operation, listing.status, {**listing.body, key: [{"id": 1, "gid": 1, "name": [], "UpdatedDateUTC": 1}, 1]}
    )

    assert found, f"{operation.path} accepts anything under {key}"


def list_key(body: dict[str, Any]) -> str:
    """Return the name of a page's list, empty when there is none."""
    return next((name for name, value in body.items() if isinstance(value, list) and value), "")


def test_the_session_meets_everything_that_changes_a_request(exchanges: list[Exchange]) -> None:
    statuses = {(exchange.source, exchange.status) for exchange in exchanges}
    names = {(exchange.source, name) for exchange in exchanges for name in exchange.names}

    assert {("gmail", 404), ("calendar", 410), ("people", 400)} <= statuses
    assert {
        ("asana", "modified_since"),
        ("gmail", "startHistoryId"),
        ("calendar", "syncToken"),
        ("chat", "filter"),
        ("gtasks", "updatedMin"),
        ("people", "syncToken"),
        ("drive", "pageToken"),
        ("xero", "page"),
    } <= names
