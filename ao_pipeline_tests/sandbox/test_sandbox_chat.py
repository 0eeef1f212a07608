"""The sandbox's Google Chat: order, strict filters, deleted messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Upstreams


def test_an_empty_space_answers_an_empty_object(still: Upstreams) -> None:
    chat = still.chat()
    empty = next(s for s in chat.get("/spaces")["spaces"] if "empty" in s["displayName"])

    assert chat.get(f"/{empty['name']}/messages") == {}


def busiest(chat: Any) -> str:
    spaces: list[str] = [space["name"] for space in chat.get("/spaces")["spaces"]]
    return max(spaces, key=lambda name: len(chat.get(f"/{name}/messages", pageSize=1000).get("messages", [])))


def test_chat_pages_join_in_order_of_time(still: Upstreams) -> None:
    chat = still.chat()
    space = busiest(chat)

    page = chat.get(f"/{space}/messages", pageSize=90, showDeleted="true")
    joined = page["messages"]
    while "nextPageToken" in page:
        page = chat.get(f"/{space}/messages", pageSize=90, showDeleted="true", pageToken=page["nextPageToken"])
        joined = joined + page["messages"]

    truth = {r["object"]["name"] for r in still.sandbox.truth("raw_chat_messages") if r["in"] == space}
    assert {message["name"] for message in joined} == truth
    times = [message["createTime"] for message in joined]
    assert times == sorted(times)
    assert len(joined) == len(truth)


def test_a_create_time_filter_is_strict_and_descending_order_reverses(still: Upstreams) -> None:
    chat = still.chat()
    space = busiest(chat)
    messages = chat.get(f"/{space}/messages", pageSize=1000)["messages"]
    middle = messages[len(messages) // 2]["createTime"]

    newer = chat.get(f"/{space}/messages", pageSize=1000, filter=f'createTime > "{middle}"')["messages"]
    older = chat.get(f"/{space}/messages", pageSize=1000, filter=f'createTime < "{middle}"', orderBy="createTime DESC")[
        "messages"
    ]

    assert [m["name"] for m in newer] == [m["name"] for m in messages if m["createTime"] > middle]
    assert [m["name"] for m in older] == [m["name"] for m in messages if m["createTime"] < middle][::-1]


def test_a_deleted_message_shows_without_content_and_only_when_asked(upstreams: Upstreams) -> None:
    sandbox, chat = upstreams.sandbox, upstreams.chat()
    made = sandbox.mutate("message", "create", text="secret")
    sandbox.advance(60)
    sandbox.mutate("message", "delete", key=made["key"], place=made["in"])

    shown = chat.get(f"/{made['in']}/messages", pageSize=1000, showDeleted="true")["messages"]
    hidden = chat.get(f"/{made['in']}/messages", pageSize=1000)["messages"]

    tombstone = next(message for message in shown if message["name"] == made["key"])
    assert "text" not in tombstone
    assert tombstone["deletionMetadata"] == {"deletionType": "CREATOR"}
    assert made["key"] not in {message["name"] for message in hidden}


@pytest.mark.parametrize(
    "params", [{"filter": 'createTime >= "2026-01-01T00:00:00Z"'}, {"orderBy": "name"}, {"pageToken": "x"}]
)
def test_what_chat_does_not_offer_is_refused(still: Upstreams, params: Any) -> None:
    chat = still.chat()
    space = chat.get("/spaces")["spaces"][0]["name"]

    assert chat.ask(f"/{space}/messages", **params).status_code == 400
