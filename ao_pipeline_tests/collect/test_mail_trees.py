from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ao_pipeline.collect.parse.gmail import parse_message
from ao_pipeline.collect.parse.mime import MAX_BODY_BYTES, addresses, body_text, decode_words, html_to_text


def part(kind: str, text: str | bytes, *, charset: str = "utf-8", **more: Any) -> dict[str, Any]:
    raw = text if isinstance(text, bytes) else text.encode(charset)
    data = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    header = {"name": "Content-Type", "value": f'{kind}; charset="{charset}"'}
    return {"mimeType": kind, "headers": [header], "body": {"data": data, "size": len(raw)}, **more}


def test_the_plain_part_of_a_nested_tree_is_the_body() -> None:
    inner = {
        "mimeType": "multipart/alternative",
        "parts": [part("text/plain", "plain"), part("text/html", "<p>rich</p>")],
    }
    tree = {"mimeType": "multipart/mixed", "parts": [{"mimeType": "multipart/related", "parts": [inner]}]}

    assert body_text(tree) == "plain"


def test_html_alone_becomes_text() -> None:
    head = "<head><title>x</title><style>p{}</style></head>"
    markup = head + "<body><p>Dear &amp; all,</p><p>مرحبا<br>👋</p><script>1</script></body>"

    assert body_text(part("text/html", markup)) == "Dear & all,\n\nمرحبا\n👋"


@pytest.mark.parametrize(
    ("charset", "text"),
    [("iso-8859-1", "café"), ("windows-1256", "مرحبا"), ("shift_jis", "請求書"), ("utf-8", "naïve 👍")],
)
def test_charsets_are_honoured(charset: str, text: str) -> None:
    assert body_text(part("text/plain", text, charset=charset)) == text


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "base64", "\x00"])
def test_an_unusable_charset_falls_back_to_utf8(charset: str) -> None:
    tree = part("text/plain", "ok")
    tree["headers"][0]["value"] = f'text/plain; charset="{charset}"'

    assert body_text(tree) == "ok"


def test_a_body_is_cut_at_its_bound_between_characters() -> None:
    text = body_text(part("text/plain", "ع" * MAX_BODY_BYTES))

    assert text == "ع" * (MAX_BODY_BYTES // 2)


def test_an_attached_text_is_no_body() -> None:
    tree = {
        "mimeType": "multipart/mixed",
        "parts": [part("text/plain", "log", filename="a.txt"), part("text/plain", "body")],
    }

    assert body_text(tree) == "body"


def test_a_thousand_levels_of_parts_do_not_exhaust_the_stack() -> None:
    tree: dict[str, Any] = part("text/plain", "deep")
    for _ in range(5000):
        tree = {"mimeType": "multipart/mixed", "parts": [tree]}

    assert body_text(tree) is None


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("=?utf-8?B?2YXYsdit2KjYpw==?=", "مرحبا"),
        ("=?iso-8859-1?Q?caf=E9?= and more", "café and more"),
        ("Re: =?utf-8?Q?=F0=9F=91=8D?=", "Re: 👍"),
        ("=?broken?X?zz?=", "=?broken?X?zz?="),
        ("=?no-such?B?YQ==?=", "a"),
        ("plain", "plain"),
    ],
)
def test_encoded_words_are_read(header: str, text: str) -> None:
    assert decode_words(header) == text


def test_a_decoded_name_with_a_comma_stays_one_name() -> None:
    assert addresses("=?utf-8?Q?Doe=2C_Jane?= <Jane@Client.Example>, plain@client.example, nonsense") == [
        ("jane@client.example", "Doe, Jane"),
        ("plain@client.example", None),
    ]


@pytest.mark.parametrize("markup", ["<div><p>text <b>unclosed", "text<![bogus", "<p>text<!-- open", "text</p></title>"])
def test_broken_markup_gives_what_can_be_read(markup: str) -> None:
    assert "text" in html_to_text(markup)


def test_attachments_are_named_by_their_part_not_by_a_changing_id() -> None:
    file = {"partId": "1", "filename": "=?utf-8?Q?rapport_=C3=A9t=C3=A9.pdf?=", "mimeType": "application/pdf"}
    payload = {
        "mimeType": "multipart/mixed",
        "headers": [{"name": "FROM", "value": "A <a@b.example>"}, {"name": "To", "value": "c@d.example"}],
        "parts": [part("text/plain", "hi"), {**file, "body": {"attachmentId": "changes", "size": 9}}],
    }

    row = parse_message({"id": "m", "payload": payload, "labelIds": ["UNREAD", "INBOX"], "internalDate": "1000"})

    assert json.loads(row["attachments_json"]) == [
        {"part_id": "1", "filename": "rapport été.pdf", "mime_type": "application/pdf", "size_bytes": 9}
    ]
    assert (row["from_email"], row["labels_json"]) == ("a@b.example", '["INBOX","UNREAD"]')
    assert [item["role"] for item in json.loads(row["participants_json"])] == ["from", "to"]
