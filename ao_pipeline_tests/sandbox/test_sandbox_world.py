"""The simulated agency: one seed and instant, one world; shaped like a real one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ao_pipeline.clock import to_micros
from ao_pipeline.sandbox.world.agency import build_agency
from ao_pipeline.sandbox.world.draw import Draw
from ao_pipeline.sandbox.world.size import DAY_MICROS, MINUTE_MICROS, SIZE_L, SIZE_M, SIZE_S
from ao_pipeline.sandbox.world.world import World

SEED = 20260101
NOW = to_micros(datetime(2026, 11, 22, 10, 0, tzinfo=UTC))
ANCHOR = to_micros(datetime(2026, 11, 22, tzinfo=UTC))
AGENCY = build_agency(SEED, size=SIZE_S)
SMALL = build_agency(SEED, size=replace(SIZE_S, tasks=300, mail_threads=100, chat_messages=300, events=150))


def objects(world: World) -> dict[str, Any]:
    return {
        name: {key: record.data for key, record in sorted({**c.records, **c.tombstones}.items())}
        for name, c in world.collections.items()
    }


@pytest.fixture(scope="module")
def world() -> World:
    return World(AGENCY, anchor=ANCHOR, now=NOW)


def kind(world: World, name: str) -> list[dict[str, Any]]:
    found = [collection for key, collection in world.collections.items() if key.split(":")[0] == name]
    return [record.data for collection in found for record in collection.records.values()]


def test_the_same_seed_and_instant_give_the_same_objects(world: World) -> None:
    again = World(build_agency(SEED, size=SIZE_S), anchor=ANCHOR, now=NOW)

    assert objects(again) == objects(world)


def test_another_seed_gives_another_world(world: World) -> None:
    other = World(build_agency(SEED + 1, size=SIZE_S), anchor=ANCHOR, now=NOW)

    assert kind(other, "tasks") != kind(world, "tasks")


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=2 * DAY_MICROS), min_size=1, max_size=6))
def test_one_long_step_equals_many_short_ones(steps: list[int]) -> None:
    walked = World(SMALL, anchor=ANCHOR, now=ANCHOR)
    at = ANCHOR
    for step in steps:
        at += step
        walked.advance(at)

    jumped = World(SMALL, anchor=ANCHOR, now=at)

    assert objects(walked) == objects(jumped)
    assert {n: c.sequence for n, c in walked.collections.items()} == {
        n: c.sequence for n, c in jumped.collections.items()
    }


def test_a_later_anchor_keeps_the_objects_that_both_reach() -> None:
    later = World(SMALL, anchor=ANCHOR + 3 * DAY_MICROS, now=ANCHOR + 3 * DAY_MICROS)
    earlier = World(SMALL, anchor=ANCHOR, now=ANCHOR + 3 * DAY_MICROS)

    shared = later["invoices"].records.keys() & earlier["invoices"].records.keys()

    assert len(shared) > 140
    assert all(later["invoices"].records[key].data == earlier["invoices"].records[key].data for key in shared)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("tasks", 950, 1050),
        ("mails", 800, 1000),
        ("chats", 1900, 2100),
        ("events", 270, 330),
        ("invoices", 145, 155),
        ("projects", 60, 60),
        ("spaces", 10, 10),
        ("calendars", 8, 8),
        ("contacts", 40, 40),
    ],
)
def test_counts_are_those_of_size_s(world: World, name: str, low: int, high: int) -> None:
    assert low <= len(kind(world, name)) <= high


def share(rows: list[dict[str, Any]], holds: Any) -> float:
    return sum(1 for row in rows if holds(row)) / len(rows)


def test_tasks_are_shaped_like_real_ones(world: World) -> None:
    tasks = kind(world, "tasks")

    assert 0.15 < share(tasks, lambda t: t["completed"]) < 0.25
    assert 0.58 < share(tasks, lambda t: t["projects"]) < 0.68
    assert 0.10 < share(tasks, lambda t: not t["completed"] and (t["due_on"] or "9") < "2026-11-22") < 0.16
    assert any(len(t["projects"]) == 2 for t in tasks)
    assert all(t["assignee"] for t in tasks if not t["projects"] and not t["parent"])


def test_subtasks_have_present_parents_that_count_them(world: World) -> None:
    tasks = {task["gid"]: task for task in kind(world, "tasks")}
    counted = Counter(task["parent"]["gid"] for task in tasks.values() if task["parent"])

    assert 50 < sum(counted.values()) < 150
    assert all(tasks[gid]["num_subtasks"] == count for gid, count in counted.items())


def test_an_eighth_of_the_mail_is_linked_to_clients(world: World) -> None:
    domains = {client.domain for client in AGENCY.clients}
    from_to = [str(mail["payload"]["headers"][:2]) for mail in kind(world, "mails")]

    assert 0.08 < sum(any(domain in text for domain in domains) for text in from_to) / len(from_to) < 0.16


def test_mails_come_in_every_awkward_shape(world: World) -> None:
    payloads = [mail["payload"] for mail in kind(world, "mails")]

    assert {"text/html", "text/plain", "multipart/alternative", "multipart/mixed"} == {p["mimeType"] for p in payloads}
    assert any("windows-1256" in str(p) for p in payloads)
    assert any("=?utf-8?" in str(p["headers"][0]) for p in payloads)
    assert any(part.get("filename") for p in payloads for part in p.get("parts", []))


def test_events_come_in_every_awkward_shape(world: World) -> None:
    events = kind(world, "events")

    assert any("date" in event["start"] for event in events)
    assert any("recurrence" in event for event in events)
    assert any("recurringEventId" in event for event in events)
    assert any(event["start"].get("dateTime", "")[:10] < event["end"].get("dateTime", "")[:10] for event in events), (
        "no event crosses midnight"
    )
    assert any(c.tombstones for n, c in world.collections.items() if n.startswith("events:"))


def test_invoices_have_every_status_and_several_currencies(world: World) -> None:
    invoices = kind(world, "invoices")

    assert {"AUTHORISED", "PAID", "VOIDED", "DELETED"} <= {invoice["Status"] for invoice in invoices}
    assert {"ACCREC", "ACCPAY"} == {invoice["Type"] for invoice in invoices}
    assert len({invoice["CurrencyCode"] for invoice in invoices}) >= 3
    assert 300 < sum(len(invoice["LineItems"]) for invoice in invoices) < 500


def test_an_open_invoice_owes_what_is_neither_paid_nor_credited(world: World) -> None:
    for invoice in kind(world, "invoices"):
        if invoice["Status"] in ("AUTHORISED", "PAID"):
            settled = invoice["AmountPaid"] + invoice["AmountCredited"]
            assert invoice["AmountDue"] == pytest.approx(invoice["Total"] - settled, abs=0.011)


def test_about_three_changes_happen_every_quarter_of_an_hour() -> None:
    world = World(AGENCY, anchor=ANCHOR, now=ANCHOR)

    changes = world.advance(ANCHOR + 4 * DAY_MICROS)

    assert 2 <= changes / (4 * 96) <= 6


def test_every_kind_changes_within_two_days() -> None:
    world = World(SMALL, anchor=ANCHOR, now=ANCHOR)
    before = {name: collection.sequence for name, collection in world.collections.items()}

    world.advance(ANCHOR + 2 * DAY_MICROS)

    moved = {name.split(":")[0] for name, c in world.collections.items() if c.sequence > before[name]}
    assert {"tasks", "mails", "chats", "events", "invoices", "projects"} <= moved


def test_sequences_grow_even_when_the_clock_stands_still() -> None:
    still = World(SMALL, anchor=ANCHOR, now=NOW)
    key = next(iter(still["tasks"].records))

    seen = []
    for name in ("a", "b", "c"):
        still.mutate("tasks", key, "patch", {"name": name})
        seen.append(still["tasks"].sequence)

    assert seen == sorted(set(seen))


def test_a_start_sixty_days_after_the_anchor_is_quick_and_equal_to_running_through() -> None:
    late = ANCHOR + 60 * DAY_MICROS
    world = World(SMALL, anchor=ANCHOR, now=ANCHOR)
    for minutes in range(0, 60 * 24 * 60, 60 * 12):
        world.advance(ANCHOR + minutes * MINUTE_MICROS)
    world.advance(late)

    assert objects(World(SMALL, anchor=ANCHOR, now=late)) == objects(world)


def test_a_world_cannot_start_before_its_anchor() -> None:
    with pytest.raises(ValueError, match="before the anchor"):
        World(AGENCY, anchor=ANCHOR, now=ANCHOR - 1)


def test_two_clients_share_a_name_and_some_people_left() -> None:
    names = Counter(client.name for client in AGENCY.clients)

    assert max(names.values()) == 2
    assert len({client.client_id for client in AGENCY.clients}) == 20
    assert 0 < sum(not member.is_active for member in AGENCY.members) < 6


@pytest.mark.parametrize("size", [SIZE_S, SIZE_M, SIZE_L])
def test_ids_are_unique_at_every_size(size: Any) -> None:
    agency = build_agency(SEED, size=size)

    for ids in (
        [client.client_id for client in agency.clients],
        [client.domain for client in agency.clients],
        [brand.brand_id for brand in agency.brands],
        [member.email for member in agency.members],
        [space for space, _ in agency.spaces],
    ):
        assert len(set(ids)) == len(ids), [key for key, count in Counter(ids).items() if count > 1][:3]


@given(st.integers(min_value=0, max_value=2**64), st.integers(min_value=1, max_value=1000))
def test_draws_repeat_and_stay_in_range(seed: int, limit: int) -> None:
    first, second = Draw(seed, "a", 1), Draw(seed, "a", 1)

    drawn = [first.below(limit) for _ in range(5)]

    assert drawn == [second.below(limit) for _ in range(5)]
    assert all(0 <= value < limit for value in drawn)


def test_due_dates_lie_around_now_whatever_now_is() -> None:
    for day in (datetime(2026, 2, 3, tzinfo=UTC), datetime(2031, 7, 9, tzinfo=UTC)):
        now = to_micros(day)
        world = World(SMALL, anchor=now, now=now)
        dues = [t["due_on"] for t in kind(world, "tasks") if t["due_on"] and not t["completed"]]
        week = {(day + timedelta(days=shift)).date().isoformat() for shift in range(-3, 4)}
        assert len([due for due in dues if due in week]) > 5
