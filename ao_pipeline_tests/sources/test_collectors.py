"""Every collector against the simulated upstreams: complete, incremental, and never deleting on doubt."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from ao_pipeline.adapters.sources import chat_messages
from ao_pipeline.adapters.sources.outcome import MAX_HOLDS
from ao_pipeline.adapters.sources.registry import COLLECTORS, collect
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.collect.volume import VolumeDropError
from ao_pipeline.errors import AuthError, ContractError, TransientError, UnknownNameError
from ao_pipeline_tests.sources.source_engine import SPECS, START, Engine, FakeTime
from ao_pipeline_tests.sources.source_truth import FULL_EACH_TIME, assert_equals_truth

ASSETS = sorted(set(COLLECTORS) - {"raw/asana_stories"})
"""Stories follow another table, a bounded number of tasks at a time; `test_asana_stories` has them."""


@pytest.mark.parametrize("asset", ASSETS)
def test_the_first_collection_equals_the_truth(still_engine: Engine, asset: str) -> None:
    result = still_engine.run(asset)

    assert result.is_full
    assert not result.quarantined
    assert conform(SPECS[asset], result.rows).equals(result.rows)
    assert_equals_truth(still_engine, asset)


@pytest.mark.parametrize("asset", ASSETS)
def test_a_second_collection_of_a_world_that_stands_still_brings_nothing(still_engine: Engine, asset: str) -> None:
    still_engine.run(asset)
    before = dict(still_engine.rows[asset])

    result = still_engine.run(asset)

    assert still_engine.rows[asset] == before
    assert result.deleted.num_rows == 0
    assert result.is_full == (asset in FULL_EACH_TIME)
    assert result.rows.num_rows == (len(before) if asset in FULL_EACH_TIME else 0)


def test_a_world_that_goes_on_for_days_is_followed(engine: Engine) -> None:
    for asset in ASSETS:
        engine.run(asset)

    for _ in range(3):
        engine.advance(hours=25)
        for asset in ASSETS:
            engine.run(asset)

    for asset in ASSETS:
        assert_equals_truth(engine, asset)


def test_created_changed_and_deleted_objects_arrive_in_the_next_collection(engine: Engine) -> None:
    for asset in ASSETS:
        engine.run(asset)
    box = engine.box
    engine.advance(minutes=20)
    first = {asset: next(iter(engine.rows[asset])) for asset in ASSETS}
    box.mutate("task", "create", gid="1399", name="مهمة 🚀")
    box.mutate("task", "update", key=first["raw/asana_tasks"][0], name="Renamed")
    mailbox, mail = first["raw/gmail_messages"]
    box.mutate("mail", "create", place=mailbox, subject="Hello")
    box.mutate("mail", "update", key=mail, place=mailbox, labelIds=["TRASH"])
    gone = next(key for key in engine.rows["raw/gmail_messages"] if key[0] == mailbox and key[1] != mail)
    box.mutate("mail", "delete", key=gone[1], place=mailbox)
    event = next(
        key
        for key, row in engine.rows["raw/calendar_events"].items()
        if not row["recurring_event_id"] and row["recurrence_json"] == "[]"
    )
    box.mutate("event", "delete", key=event[1], place=event[0])
    box.mutate("event", "create", place=event[0], summary="New")
    chats = sorted(engine.rows["raw/chat_messages"].values(), key=lambda row: row["created_at"], reverse=True)
    edited, removed = [row for row in chats if not row["is_deleted"]][:2]
    box.mutate("message", "update", key=edited["message_name"], place=edited["space_name"], text="edited")
    box.mutate("message", "delete", key=removed["message_name"], place=removed["space_name"])
    box.mutate("invoice", "delete", key=first["raw/xero_invoices"][0])
    box.mutate("contact", "delete", key=first["raw/xero_contacts"][0])

    results = {asset: engine.run(asset) for asset in ASSETS}

    for asset in ASSETS:
        assert_equals_truth(engine, asset)
    assert results["raw/gmail_messages"].deleted.to_pylist() == [{"mailbox": gone[0], "message_id": gone[1]}]
    assert {"calendar_id": event[0], "event_id": event[1]} in results["raw/calendar_events"].deleted.to_pylist()
    assert engine.rows["raw/chat_messages"][(removed["message_name"],)]["is_deleted"]


def test_a_deleted_task_vanishes_with_the_daily_comparison_of_keys(engine: Engine) -> None:
    engine.run("raw/asana_tasks")
    victim = next(key for key, row in engine.rows["raw/asana_tasks"].items() if not row["subtask_count"])
    engine.box.mutate("task", "delete", key=victim[0])

    soon = engine.run("raw/asana_tasks")
    engine.now = START.replace(day=21)
    later = engine.run("raw/asana_tasks")

    assert soon.deleted.num_rows == 0
    assert later.deleted.to_pylist() == [{"task_gid": victim[0]}]
    assert not later.is_full
    assert_equals_truth(engine, "raw/asana_tasks")


@pytest.mark.parametrize(("source", "asset"), [("gmail", "raw/gmail_messages"), ("calendar", "raw/calendar_events")])
def test_an_expired_cursor_lists_everything_again_in_a_new_generation(engine: Engine, source: str, asset: str) -> None:
    engine.run(asset)
    key = next(iter(engine.rows[asset]))
    kind = {"gmail": "mail", "calendar": "event"}[source]
    engine.advance(minutes=1)
    engine.box.mutate(kind, "delete", key=key[1], place=key[0])
    engine.box.expire_cursors(source)
    engine.advance(minutes=1)
    engine.box.mutate(kind, "create", place=key[0])

    result = engine.run(asset)

    assert result.cursor["generation"] == 2
    assert_equals_truth(engine, asset)


def test_one_expired_mailbox_is_reconciled_alone(engine: Engine) -> None:
    asset = "raw/gmail_messages"
    engine.run(asset)
    boxes = sorted(engine.cursors[asset]["mailboxes"])
    victim = next(key for key in engine.rows[asset] if key[0] == boxes[0])
    engine.box.mutate("mail", "delete", key=victim[1], place=boxes[0])
    engine.cursors[asset]["mailboxes"][boxes[0]]["history_id"] = "1"

    result = engine.run(asset)

    assert not result.is_full
    assert result.cursor["generation"] == 2
    assert result.deleted.to_pylist() == [{"mailbox": victim[0], "message_id": victim[1]}]
    assert_equals_truth(engine, asset)


@pytest.mark.parametrize(
    ("asset", "source", "path", "name"),
    [
        ("raw/gmail_messages", "gmail", "accounts@agency.example", "mailbox accounts@agency.example"),
        ("raw/calendar_events", "calendar", "/calendars/ops", "calendar ops@agency.example"),
        ("raw/chat_messages", "chat", "/messages", "spaces/"),
        ("raw/asana_tasks", "asana", "/api/1.0/tasks", "project "),
    ],
)
def test_one_failing_part_fails_the_whole_collection_by_name(
    still_engine: Engine, asset: str, source: str, path: str, name: str
) -> None:
    still_engine.run(asset)
    still_engine.now += timedelta(hours=25)
    still_engine.box.fault(source, "status", status=503, path_contains=path)

    with pytest.raises(TransientError, match=name):
        still_engine.read(asset)


@pytest.mark.parametrize(
    ("asset", "kind"),
    [*((asset, "disconnect") for asset in ASSETS), *(("raw/asana_users", k) for k in ("truncated", "html"))],
)
def test_a_passing_fault_is_retried_and_leaves_no_trace(still_engine: Engine, asset: str, kind: str) -> None:
    source = SPECS[asset].asset.split("/")[1].split("_")[0]
    still_engine.box.fault(source, kind, count=2)

    result = still_engine.run(asset)

    assert result.retries == 2
    assert_equals_truth(still_engine, asset)


@pytest.mark.parametrize("asset", sorted(FULL_EACH_TIME | {"raw/asana_tasks"}))
def test_an_empty_or_foreign_answer_never_deletes(still_engine: Engine, asset: str) -> None:
    source = SPECS[asset].asset.split("/")[1].split("_")[0]
    still_engine.run(asset)
    still_engine.now += timedelta(hours=25)
    still_engine.box.fault(source, "empty")

    with pytest.raises((ContractError, VolumeDropError)):
        still_engine.read(asset)


@pytest.mark.parametrize("asset", ["raw/asana_users", "raw/xero_invoices", "raw/calendar_events", "raw/gmail_messages"])
def test_a_broken_record_is_quarantined_and_heals(still_engine: Engine, asset: str) -> None:
    source = SPECS[asset].asset.split("/")[1].split("_")[0]
    still_engine.run(asset)
    before = set(still_engine.rows[asset])
    still_engine.cursors.pop(asset)
    path = "/messages/" if source == "gmail" else "/events" if source == "calendar" else ""
    still_engine.box.fault(source, "malformed_record", count=1, path_contains=path)

    broken = still_engine.run(asset)
    still_there = set(still_engine.rows[asset])
    still_engine.run(asset)

    assert len(broken.quarantined) == 1
    assert not broken.is_full
    assert still_there == before
    assert_equals_truth(still_engine, asset)


def test_an_unknown_field_is_counted_and_kept_out(still_engine: Engine) -> None:
    still_engine.box.fault("xero", "unknown_field")

    result = still_engine.run("raw/xero_contacts")

    assert result.drift == {"xero.contact.unknown_field:x_new_vendor_field": 1}
    assert_equals_truth(still_engine, "raw/xero_contacts")


def test_a_mailbox_too_large_for_one_collection_is_finished_by_the_next(still_engine: Engine) -> None:
    asset = "raw/gmail_messages"
    clock = FakeTime()
    budget = still_engine.settings.source_budget_seconds

    def monotonic() -> float:
        clock.seconds += budget / 150  # Every look at the clock costs time, so the first collection stops half-way.
        return clock.seconds

    part = collect(
        asset,
        settings=still_engine.settings,
        cursor=None,
        stored_keys=SPECS[asset].empty,
        now=START,
        monotonic=monotonic,
    )
    still_engine.commit(asset, part)
    pending = sum(len(state["pending"]) for state in part.cursor["mailboxes"].values())
    still_engine.run(asset)

    assert 0 < part.rows.num_rows < part.rows.num_rows + pending
    assert not part.is_full
    assert_equals_truth(still_engine, asset)


def test_a_revoked_mailbox_needs_a_human(still_engine: Engine) -> None:
    still_engine.box.fault("google_token", "revoke_subject", subject="accounts@agency.example")

    with pytest.raises(AuthError, match=r"accounts@agency.example.*invalid_grant"):
        still_engine.read("raw/gmail_messages")


def test_a_wrong_asana_token_needs_a_human(still_engine: Engine) -> None:
    wrong = still_engine.settings.model_copy(
        update={"asana_token": type(still_engine.settings.asana_token)("wrong-secret")}
    )

    with pytest.raises(AuthError) as caught:
        still_engine.read("raw/asana_users", settings=wrong)

    assert "wrong-secret" not in str(caught.value)


def test_an_unknown_asset_is_named(still_engine: Engine) -> None:
    with pytest.raises(UnknownNameError, match="raw/nothing"):
        still_engine.read("raw/nothing")


def test_a_record_that_stays_broken_holds_its_cursor_three_times_only(still_engine: Engine) -> None:
    asset = "raw/xero_invoices"
    still_engine.box.fault("xero", "malformed_record", path_contains="Invoices")

    moved = ["watermark" in still_engine.run(asset).cursor for _ in range(MAX_HOLDS + 1)]

    assert moved == [False] * MAX_HOLDS + [True]


def test_a_mailbox_that_is_read_no_more_takes_its_rows_along(still_engine: Engine) -> None:
    asset = "raw/gmail_messages"
    still_engine.run(asset)
    count = Counter(key[0] for key in still_engine.rows[asset])
    (kept, _), (left, left_count) = count.most_common(2)
    settings = still_engine.settings.model_copy(update={"gmail_mailboxes": kept})

    result = still_engine.read(asset, settings=settings)
    still_engine.rows[asset] = {key: row for key, row in still_engine.rows[asset].items() if key[0] == left}

    assert {row["mailbox"] for row in result.deleted.to_pylist()} == {left}
    assert result.deleted.num_rows == left_count
    with pytest.raises(VolumeDropError):
        still_engine.read(asset, settings=settings)


@pytest.mark.parametrize("asset", ASSETS)
def test_a_cursor_survives_its_storage_as_json(still_engine: Engine, asset: str) -> None:
    still_engine.run(asset)
    still_engine.cursors[asset] = json.loads(json.dumps(still_engine.cursors[asset]))
    before = dict(still_engine.rows[asset])

    still_engine.run(asset)

    assert still_engine.rows[asset] == before


@pytest.mark.parametrize(("asset", "path"), [("raw/gmail_messages", "/messages"), ("raw/chat_messages", "/messages")])
def test_an_empty_answer_to_a_first_listing_is_made_good(still_engine: Engine, asset: str, path: str) -> None:
    still_engine.box.fault(asset.split("/")[1].split("_")[0], "empty", count=1, path_contains=path)

    with suppress(ContractError):
        still_engine.run(asset)
    still_engine.run(asset)

    assert_equals_truth(still_engine, asset)


def test_an_empty_answer_after_days_without_collections_hides_no_message(engine: Engine) -> None:
    asset = "raw/chat_messages"
    engine.run(asset)
    space = next(iter(engine.rows[asset].values()))["space_name"]
    engine.advance(minutes=1)
    made = [engine.box.mutate("message", "create", place=space)["key"]]
    engine.advance(days=9)
    made.append(engine.box.mutate("message", "create", place=space)["key"])
    engine.box.fault("chat", "empty", count=1, path_contains=f"/{space}/messages")

    engine.run(asset)
    engine.box.clear_faults()
    engine.run(asset)

    assert {(key,) for key in made} <= engine.rows[asset].keys()


def test_an_empty_answer_of_a_space_that_fell_silent_meanwhile_is_believed_the_second_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_messages, "EDIT_WINDOW", timedelta(0))
    asset = "raw/chat_messages"
    engine.run(asset)
    space = next(iter(engine.rows[asset].values()))["space_name"]
    engine.advance(minutes=1)
    made = engine.box.mutate("message", "create", place=space)["key"]
    engine.advance(hours=15, minutes=20)  # Past midnight, where the window begins.
    engine.box.fault("chat", "empty", count=1, path_contains=f"/{space}/messages")

    engine.run(asset)
    doubted = engine.cursors[asset]["spaces"][space]
    engine.box.clear_faults()
    engine.run(asset)
    found = (made,) in engine.rows[asset]
    engine.box.fault("chat", "empty", path_contains=f"/{space}/messages")
    engine.cursors[asset]["spaces"][space] = doubted
    engine.run(asset)

    assert (doubted.endswith(" again"), found) == (True, True)
    assert not engine.cursors[asset]["spaces"][space].endswith(" again")
