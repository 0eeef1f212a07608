"""The sandbox's Gmail and Calendar: tokens, pages, cursors and how they die."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import google.auth.exceptions
import pytest
import requests

if TYPE_CHECKING:
    from conftest import Upstreams

DAY = 86_400


def mailbox_ids(gmail: Any, **params: Any) -> list[str]:
    page = gmail.get("/messages", **params)
    ids = [item["id"] for item in page.get("messages", [])]
    while "nextPageToken" in page:
        page = gmail.get("/messages", pageToken=page["nextPageToken"], **params)
        ids += [item["id"] for item in page.get("messages", [])]
    return ids


@pytest.mark.parametrize("mailbox", ["ops@agency.example", "accounts@agency.example"])
def test_pages_hold_every_message_once_newest_first(still: Upstreams, mailbox: str) -> None:
    ids = mailbox_ids(still.gmail(mailbox), maxResults=50, includeSpamTrash="true")

    truth = [row["object"] for row in still.sandbox.truth("raw_gmail_messages") if row["in"] == mailbox]
    assert sorted(ids) == sorted(message["id"] for message in truth)
    dates = {message["id"]: int(message["internalDate"]) for message in truth}
    assert [dates[key] for key in ids] == sorted(dates.values(), reverse=True)


def test_trash_is_hidden_unless_asked_for(still: Upstreams) -> None:
    gmail = still.gmail()

    visible, everything = mailbox_ids(gmail), mailbox_ids(gmail, includeSpamTrash="true")
    trashed = mailbox_ids(gmail, labelIds="TRASH")

    assert trashed
    assert sorted(visible + trashed) == sorted(everything)


def test_bodies_decode_in_their_own_charset(still: Upstreams) -> None:
    gmail, seen = still.gmail(), set()
    for message_id in mailbox_ids(gmail)[:150]:
        parts = [gmail.get(f"/messages/{message_id}", format="full")["payload"]]
        while parts:
            part = parts.pop()
            parts += part.get("parts", [])
            if "data" in part["body"]:
                charset = part["headers"][0]["value"].split('"')[1] if part["partId"] else "utf-8"
                data = base64.urlsafe_b64decode(part["body"]["data"])
                assert len(data) == part["body"]["size"]
                if part["partId"]:
                    assert "Hello" in data.decode(charset)
                    seen.add(charset)

    assert seen == {"UTF-8", "windows-1256"}


def test_minimal_and_metadata_hold_no_body(still: Upstreams) -> None:
    gmail = still.gmail()
    key = gmail.get("/messages", maxResults=1)["messages"][0]["id"]

    assert "payload" not in gmail.get(f"/messages/{key}", format="minimal")
    metadata = gmail.get(f"/messages/{key}", format="metadata", metadataHeaders="Subject")
    assert [header["name"] for header in metadata["payload"]["headers"]] == ["Subject"]


def test_history_tells_everything_that_happened_since_a_profile(upstreams: Upstreams) -> None:
    sandbox, gmail = upstreams.sandbox, upstreams.gmail()
    start = gmail.get("/profile")["historyId"]
    assert "history" not in gmail.get("/history", startHistoryId=start)
    old = gmail.get("/messages", maxResults=3)["messages"]

    added = sandbox.mutate("mail", "create", subject="Hello", sentences=["I will send the deck by Thursday."])["key"]
    sandbox.mutate("mail", "update", key=old[0]["id"], labelIds=["TRASH"])
    sandbox.mutate("mail", "delete", key=old[1]["id"])
    answer = gmail.get("/history", startHistoryId=start)

    kinds = [(sorted(set(item) - {"id", "messages"}), item["messages"][0]["id"]) for item in answer["history"]]
    assert kinds[0] == (["messagesAdded"], added)
    assert kinds[1][1] == old[0]["id"] and "labelsAdded" in kinds[1][0]
    assert kinds[2] == (["messagesDeleted"], old[1]["id"])
    assert answer["historyId"] == answer["history"][-1]["id"]
    assert gmail.ask(f"/messages/{old[1]['id']}").status_code == 404


def test_history_pages_join_to_the_whole(upstreams: Upstreams) -> None:
    gmail = upstreams.gmail()
    start = gmail.get("/profile")["historyId"]
    upstreams.sandbox.advance(3 * DAY)

    whole = gmail.get("/history", startHistoryId=start, maxResults=500)["history"]
    page, joined = gmail.get("/history", startHistoryId=start, maxResults=7), []
    joined += page["history"]
    while "nextPageToken" in page:
        page = gmail.get("/history", startHistoryId=start, maxResults=7, pageToken=page["nextPageToken"])
        joined += page["history"]

    assert len(whole) > 20
    assert joined == whole


def test_history_older_than_a_week_is_404(upstreams: Upstreams) -> None:
    gmail = upstreams.gmail()
    start = gmail.get("/profile")["historyId"]

    upstreams.sandbox.advance(8 * DAY)

    assert gmail.ask("/history", startHistoryId=start).status_code == 404


def test_expiry_on_request_kills_both_kinds_of_cursor(upstreams: Upstreams) -> None:
    gmail, calendar = upstreams.gmail(), upstreams.calendar()
    history_id = gmail.get("/profile")["historyId"]
    sync_token = calendar.get("/calendars/primary/events")["nextSyncToken"]

    upstreams.sandbox.expire_cursors("gmail")
    upstreams.sandbox.expire_cursors("calendar")

    assert gmail.ask("/history", startHistoryId=history_id).status_code == 404
    refused = calendar.ask("/calendars/primary/events", syncToken=sync_token)
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (410, "fullSyncRequired")


def test_a_token_reaches_its_own_mailbox_only(still: Upstreams) -> None:
    upstream = still.gmail("ops@agency.example")
    upstream.base = upstream.base.replace("ops@", "accounts@")

    answer = upstream.ask("/profile")

    assert answer.status_code == 403
    assert "Delegation denied" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("subject", "scopes", "error"),
    [
        ("stranger@agency.example", ("gmail.readonly",), "invalid_grant"),
        ("ops@agency.example", ("admin.directory.user",), "unauthorized_client"),
    ],
)
def test_a_refused_assertion_names_the_oauth_error(
    still: Upstreams, subject: str, scopes: tuple[str, ...], error: str
) -> None:
    with pytest.raises(google.auth.exceptions.RefreshError, match=error):
        still.google_token(subject, *scopes)


def test_an_assertion_with_a_foreign_signature_is_refused(still: Upstreams) -> None:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "e30.e30.AAAA"}

    answer = requests.post(still.sandbox.url + "/google/token", data=form, timeout=10)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_missing_scope_is_403_and_a_missing_token_401(still: Upstreams) -> None:
    calendar = still.google("calendar", "gmail.readonly")

    assert calendar.ask("/users/me/calendarList").status_code == 403
    assert calendar.ask("/users/me/calendarList", headers={"Authorization": ""}).status_code == 401


def calendar_ids(calendar: Any) -> list[str]:
    return [item["id"] for item in calendar.get("/users/me/calendarList")["items"]]


def test_pages_of_events_join_and_only_the_last_has_a_sync_token(still: Upstreams) -> None:
    calendar = still.calendar()
    key = calendar_ids(calendar)[0]
    whole = calendar.get(f"/calendars/{key}/events", showDeleted="true")

    pages = [calendar.get(f"/calendars/{key}/events", showDeleted="true", maxResults=5)]
    while "nextPageToken" in pages[-1]:
        token = pages[-1]["nextPageToken"]
        pages.append(calendar.get(f"/calendars/{key}/events", showDeleted="true", maxResults=5, pageToken=token))

    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert [("nextSyncToken" in page) for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("extra", [{"orderBy": "updated"}, {"timeMin": "2026-11-01T00:00:00Z"}, {"q": "a"}])
def test_a_filtered_listing_gives_no_sync_token(still: Upstreams, extra: Any) -> None:
    assert "nextSyncToken" not in still.calendar().get("/calendars/primary/events", maxResults=2500, **extra)


def test_a_sync_gives_new_moved_and_cancelled_events_and_nothing_else(upstreams: Upstreams) -> None:
    sandbox, calendar = upstreams.sandbox, upstreams.calendar()
    listing = calendar.get("/calendars/primary/events")
    old = [item["id"] for item in listing["items"] if item["status"] != "cancelled"]

    added = sandbox.mutate("event", "create", summary="New one")["key"]
    sandbox.mutate("event", "update", key=old[0], location="Moved")
    sandbox.mutate("event", "delete", key=old[1])
    synced = calendar.get("/calendars/primary/events", syncToken=listing["nextSyncToken"])
    again = calendar.get("/calendars/primary/events", syncToken=synced["nextSyncToken"])

    items = {item["id"]: item for item in synced["items"]}
    assert set(items) == {added, old[0], old[1]}
    assert items[old[1]]["status"] == "cancelled"
    assert "summary" not in items[old[1]]
    assert again["items"] == []


def test_a_change_between_two_pages_comes_with_the_next_sync(upstreams: Upstreams) -> None:
    calendar = upstreams.calendar()
    first = calendar.get("/calendars/primary/events", maxResults=5)
    key = first["items"][0]["id"]

    upstreams.sandbox.mutate("event", "update", key=key, location="Between")
    last = calendar.get("/calendars/primary/events", maxResults=2500, pageToken=first["nextPageToken"])
    synced = calendar.get("/calendars/primary/events", syncToken=last["nextSyncToken"])

    assert [item["id"] for item in synced["items"]] == [key]


@pytest.mark.parametrize("token", ["nonsense", "WyJzeW5jIiwxLDIsM10"])
def test_a_foreign_sync_token_is_410_and_with_a_filter_400(still: Upstreams, token: str) -> None:
    calendar = still.calendar()

    assert calendar.ask("/calendars/primary/events", syncToken=token).status_code == 410
    assert calendar.ask("/calendars/primary/events", syncToken=token, orderBy="updated").status_code == 400


def test_a_sync_token_with_other_parameters_is_410(still: Upstreams) -> None:
    calendar = still.calendar()
    token = calendar.get("/calendars/primary/events")["nextSyncToken"]

    assert calendar.ask("/calendars/primary/events", syncToken=token, showDeleted="true").status_code == 410


def test_sync_tokens_last_four_weeks(upstreams: Upstreams) -> None:
    calendar = upstreams.calendar()
    token = calendar.get("/calendars/primary/events")["nextSyncToken"]

    upstreams.sandbox.advance(27 * DAY)
    fresh = calendar.ask("/calendars/primary/events", syncToken=token).status_code
    upstreams.sandbox.advance(2 * DAY)

    assert (fresh, calendar.ask("/calendars/primary/events", syncToken=token).status_code) == (200, 410)
