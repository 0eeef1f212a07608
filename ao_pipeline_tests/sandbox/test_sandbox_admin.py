"""The sandbox's own door: clock, mutations, faults, truth, webhook; and the process around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ao_pipeline.errors import ConfigError, TransientError
from ao_pipeline.sandbox.admin import TRUTH
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.reference import agency_of, reference_files
from ao_pipeline.sandbox.server import serve
from ao_pipeline.sandbox.site import Site
from ao_pipeline.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from conftest import Upstreams

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CREATED = {
    "task": ("raw_asana_tasks", {"name": "Call 📞"}),
    "project": ("raw_asana_projects", {"name": "Internal: Tests"}),
    "user": ("raw_asana_users", {"name": "New Person"}),
    "mail": ("raw_gmail_messages", {"snippet": "hello"}),
    "event": ("raw_calendar_events", {"summary": "Standup"}),
    "message": ("raw_chat_messages", {"text": "hi"}),
    "member": ("raw_chat_members", {"role": "ROLE_MANAGER"}),
    "gtask": ("raw_gtasks_tasks", {"title": "Buy tea"}),
    "person": ("raw_people_contacts", {"names": [{"displayName": "New Person"}]}),
    "file": ("raw_drive_files", {"name": "brief.pdf"}),
    "contact": ("raw_xero_contacts", {"Name": "Somebody FZE"}),
    "invoice": ("raw_xero_invoices", {"InvoiceNumber": "INV-X"}),
    "payment": ("raw_xero_payments", {"Reference": "late"}),
}


@pytest.mark.parametrize("kind", CREATED)
def test_what_is_created_updated_and_deleted_is_the_truth_each_time(upstreams: Upstreams, kind: str) -> None:
    sandbox, (table, fields) = upstreams.sandbox, CREATED[kind]
    before = len(sandbox.truth(table))

    made = sandbox.mutate(kind, "create", **fields)
    created = [row["object"] for row in sandbox.truth(table) if row["object"] == made["object"]]
    name = next(iter(fields))
    updated = sandbox.mutate(kind, "update", key=made["key"], place=made["in"], **{name: "other"})["object"]
    sandbox.mutate(kind, "delete", key=made["key"], place=made["in"])

    assert len(created) == 1
    assert fields.items() <= created[0].items()
    assert updated[name] == "other"
    kept = {"event", "message", "contact", "invoice", "payment"}
    assert len(sandbox.truth(table)) == before + (1 if kind in kept else 0)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "planet", "action": "create"},
        {"kind": "task", "action": "explode"},
        {"kind": "task", "action": "update", "key": "1"},
        {"kind": "mail", "action": "create", "in": "nobody@agency.example"},
    ],
)
def test_a_wrong_mutation_changes_nothing(still: Upstreams, body: dict[str, str]) -> None:
    before = still.sandbox.state()["changes_applied"]

    answer = requests.post(still.sandbox.url + "/admin/mutate", json=body, timeout=10)

    assert answer.status_code == 400
    assert still.sandbox.state()["changes_applied"] == before


def test_a_frozen_world_stands_still_and_an_advanced_one_moves(upstreams: Upstreams) -> None:
    sandbox = upstreams.sandbox
    first, second = sandbox.state(), sandbox.state()

    moved = sandbox.advance(6 * 3600)
    answer = upstreams.asana().ask("/users")

    assert {**first, "requests_served": 0} == {**second, "requests_served": 0}
    assert answer.headers["Date"] == "Sun, 22 Nov 2026 16:00:00 GMT"
    assert moved["now"] == "2026-11-22T16:00:00.000Z"
    assert moved["changes_applied"] > first["changes_applied"]


def test_the_clock_may_go_back_and_the_world_with_it(upstreams: Upstreams) -> None:
    sandbox = upstreams.sandbox
    before = sandbox.truth("raw_asana_tasks")

    sandbox.advance(86_400)
    sandbox.freeze(NOW)

    assert sandbox.truth("raw_asana_tasks") == before


def test_a_clock_that_steps_back_a_little_keeps_the_world_and_its_explicit_changes(options: SandboxOptions) -> None:
    site = Site(options)
    site.world().mutate("projects", "1201000000000001", "patch", {"name": "Explicit"})
    sequence = site.world()["projects"].sequence

    site.clock.frozen_at = NOW - timedelta(seconds=2)

    assert site.world()["projects"].records["1201000000000001"].data["name"] == "Explicit"
    assert site.world()["projects"].sequence == sequence


def test_cursors_survive_a_restart_two_days_later(upstreams: Upstreams, options: SandboxOptions) -> None:
    gmail, calendar = upstreams.gmail(), upstreams.calendar()
    history_id = gmail.get("/profile")["historyId"]
    listing = calendar.get("/calendars/primary/events", showDeleted="true")
    known = {item["id"] for item in listing["items"]}

    with serve(replace(options, frozen_at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC))) as later:
        gmail.base = gmail.base.replace(upstreams.sandbox.url, later.url)
        calendar.base = calendar.base.replace(upstreams.sandbox.url, later.url)
        history = gmail.get("/history", startHistoryId=history_id, maxResults=500)["history"]
        synced = calendar.get("/calendars/primary/events", showDeleted="true", syncToken=listing["nextSyncToken"])[
            "items"
        ]
        full = calendar.get("/calendars/primary/events", showDeleted="true")["items"]

    assert len(history) > 10
    assert known | {item["id"] for item in synced} == {item["id"] for item in full}
    unchanged = {item["id"]: item for item in listing["items"]}
    unchanged.update({item["id"]: item for item in synced})
    assert sorted(unchanged.values(), key=lambda e: str(e["id"])) == sorted(full, key=lambda e: str(e["id"]))


def test_a_status_fault_hits_as_often_as_asked_then_ends(upstreams: Upstreams) -> None:
    asana = upstreams.asana()
    upstreams.sandbox.fault("asana", "status", status=429, headers={"Retry-After": "30"}, count=2, skip=1)

    answers = [asana.ask("/users") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "30"
    assert answers[1].json()["errors"]


def test_a_fault_stays_with_its_source_and_path(upstreams: Upstreams) -> None:
    upstreams.sandbox.fault("asana", "status", path_contains="/projects")

    assert upstreams.asana().ask("/users").status_code == 200
    assert upstreams.asana().ask("/projects").status_code == 503
    assert upstreams.chat().ask("/spaces").status_code == 200
    upstreams.sandbox.clear_faults()
    assert upstreams.asana().ask("/projects").status_code == 200


def test_every_way_to_spoil_a_body_is_seen_by_the_client(upstreams: Upstreams) -> None:
    sandbox, asana = upstreams.sandbox, upstreams.asana()
    good = asana.get("/users", limit=3)
    for kind in ("truncated", "html", "empty", "unknown_field", "malformed_record"):
        sandbox.fault("asana", kind, count=1)

    truncated, page, empty, unknown, malformed = (asana.ask("/users", limit=3) for _ in range(5))

    with pytest.raises(ValueError, match=r"."):
        truncated.json()
    assert page.headers["content-type"].startswith("text/html")
    assert empty.json() == {}
    assert unknown.json()["x_new_vendor_field"] == {"since": "today"}
    assert unknown.json()["data"][1:] == good["data"][1:]
    assert malformed.json()["data"][0] == {"gid": good["data"][0]["gid"]} | dict.fromkeys(
        ("resource_type", "name"), {"unexpected": [1]}
    )


def test_a_disconnect_and_a_hang_look_like_lost_connections(upstreams: Upstreams) -> None:
    sandbox, asana = upstreams.sandbox, upstreams.asana()
    sandbox.fault("asana", "disconnect", count=1)
    sandbox.fault("asana", "hang", count=1, seconds=1)

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        asana.ask("/users")
    with pytest.raises(requests.exceptions.ReadTimeout):
        asana.session.get(asana.base + "/users", timeout=0.2)


def test_a_revoked_subject_gets_no_token_until_faults_are_cleared(upstreams: Upstreams) -> None:
    upstreams.sandbox.fault("google_token", "revoke_subject", subject="accounts@agency.example")

    with pytest.raises(Exception, match="invalid_grant"):
        upstreams.google_token("accounts@agency.example", "gmail.readonly")
    upstreams.sandbox.clear_faults()
    assert upstreams.google_token("accounts@agency.example", "gmail.readonly")


@pytest.mark.parametrize(
    "body", [{"source": "moon", "kind": "status"}, {"source": "asana", "kind": "x"}, {"kind": "html"}]
)
def test_a_wrong_fault_is_refused_by_name(still: Upstreams, body: dict[str, str]) -> None:
    answer = requests.post(still.sandbox.url + "/admin/fault", json=body, timeout=10)

    assert answer.status_code == 400
    assert "fault" in answer.json()["error"]


def test_a_field_that_a_fault_does_not_have_is_named_with_those_it_has(still: Upstreams) -> None:
    body = {"source": "asana", "kind": "status", "details": {"status": 503}}

    error = requests.post(still.sandbox.url + "/admin/fault", json=body, timeout=10).json()["error"]

    assert "'details'" in error
    assert "status" in error.split("known are")[1]


def test_faults_of_a_file_are_in_force_from_the_start(options: SandboxOptions, tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(
        "- {source: asana, kind: status, status: 503, count: 1}\n- {source: '*', kind: latency, seconds: 0.01}\n"
    )
    with serve(replace(options, faults_file=path)) as box:
        answers = [requests.get(box.url + "/asana/api/1.0/workspaces", timeout=10).status_code for _ in range(2)]

        assert answers == [503, 401]
        assert requests.get(box.url + "/admin/state", timeout=10).json()["fault_hits"] == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {source: asana, kind: status}\n- {source: moon, kind: status}\n", "fault 2: fault needs a source of"),
        ("- {source: asana, kind: latency, after_seconds: soon}\n", "fault 1"),
        ("source: asana\n", "must hold a list"),
        ("[", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_of_faults_stops_the_start_and_is_named(
    options: SandboxOptions, tmp_path: Path, text: str | None, problem: str
) -> None:
    path = tmp_path / "faults.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigError, match=problem) as caught, serve(replace(options, faults_file=path)):
        pass

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("table", TRUTH)
def test_every_raw_table_has_a_truth(still: Upstreams, table: str) -> None:
    assert still.sandbox.truth(table)


def post_webhook(upstreams: Upstreams, body: Any, **params: str) -> requests.Response:
    return requests.post(upstreams.sandbox.upstream_url("webhook"), json=body, params=params, timeout=10)


def test_the_webhook_takes_a_request_id_once(upstreams: Upstreams) -> None:
    first = post_webhook(upstreams, {"text": "one"}, requestId="a")
    second = post_webhook(upstreams, {"text": "one again"}, requestId="a")
    post_webhook(upstreams, {"cardsV2": [{"cardId": "c"}]})

    arrived = upstreams.sandbox.webhook_messages()
    assert second.json() == first.json()
    assert [(item["deliveries"], item["message"].get("text")) for item in arrived] == [(2, "one"), (1, None)]


def test_a_webhook_fault_hits_senders_and_leaves_the_list_of_what_arrived(upstreams: Upstreams) -> None:
    upstreams.sandbox.fault("webhook", "status", status=500)

    assert post_webhook(upstreams, {"text": "lost"}).status_code == 500
    assert upstreams.sandbox.webhook_messages() == []


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "x" * 5000}, []])
def test_the_webhook_refuses_what_chat_refuses(still: Upstreams, body: Any) -> None:
    assert post_webhook(still, body).status_code == 400


def test_the_credentials_are_private_keep_their_key_and_point_at_the_port(options: SandboxOptions) -> None:
    with serve(options) as first:
        one = json.loads(first.credentials_path.read_text())
        mode = first.credentials_path.stat().st_mode & 0o777
    with serve(options) as second:
        two = json.loads(second.credentials_path.read_text())

    assert mode == 0o600
    assert one["private_key"] == two["private_key"]
    assert two["token_uri"] == f"{second.url}/google/token"


def test_a_taken_port_is_named(still: Upstreams, options: SandboxOptions) -> None:
    with pytest.raises(TransientError, match=str(still.sandbox.port)), serve(replace(options, port=still.sandbox.port)):
        pass


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_it_is_ready_and_stops_quickly(options: SandboxOptions, signal_number: int) -> None:
    command = [sys.executable, "-m", "ao_pipeline.sandbox", "--port", "0", "--data-dir", str(options.data_dir)]
    process = subprocess.Popen(
        [*command, "--frozen-at", "2026-11-22T10:00:00Z"], stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split("url=")[1].split()[0]
        assert requests.get(url + "/health", timeout=5).json() == {"status": "ok"}

        started = time.monotonic()
        os.kill(process.pid, signal_number)
        process.wait(timeout=5)

        assert time.monotonic() - started < 3
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_the_committed_reference_files_are_those_of_the_default_seed() -> None:
    files = reference_files(agency_of(Settings()))

    folder: Path = PROJECT_DIR / "deploy" / "reference"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")} == files
