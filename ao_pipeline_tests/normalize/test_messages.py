"""Direction, plain text and the client of a mail."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENT_IDENTITIES, REF_CLIENTS
from ao_pipeline.collect.tables import RAW_GMAIL_MESSAGES
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.message_links import link_messages
from ao_pipeline.normalize.messages import normalize_messages, plain_text
from ao_pipeline.normalize.tables import NORM_MESSAGE_LINKS, NORM_MESSAGES

ZONE = ZoneInfo("Asia/Dubai")
OURS = "ops@agency.example"


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def mail(
    message_id: str = "m1", *, sender: str | None = "buyer@palm.example", to: str = OURS, **values: Any
) -> dict[str, Any]:
    people = [{"role": "from", "email": sender, "name": None}, {"role": "to", "email": to, "name": None}]
    defaults = {
        "thread_id": message_id,
        "sent_at": datetime(2026, 11, 21, 21, 0, tzinfo=UTC),
        "subject": "Hello",
        "body_text": "Good day",
        "labels_json": "[]",
        "attachments_json": "[]",
        "participants_json": json.dumps(people),
    }
    return make(RAW_GMAIL_MESSAGES, mailbox=OURS, message_id=message_id, from_email=sender, **(defaults | values))


def normalized(*mails: dict[str, Any]) -> list[dict[str, Any]]:
    rows = normalize_messages(list(mails), org_domains=["Agency.example"], zone=ZONE)
    conform(NORM_MESSAGES, rows)
    return rows


CLIENTS = [
    make(REF_CLIENTS, client_id="c1", name="Palm Tea", aliases_json='["PTL"]'),
    make(REF_CLIENTS, client_id="c2", name="Palm Tea Gardens", aliases_json="[]"),
    make(REF_CLIENTS, client_id="c3", name="Twins", aliases_json="[]"),
    make(REF_CLIENTS, client_id="c4", name="TWINS", aliases_json="[]"),
]
IDENTITIES = [
    make(REF_CLIENT_IDENTITIES, kind="email", value="buyer@free.example", client_id="c2"),
    make(REF_CLIENT_IDENTITIES, kind="domain", value="palm.example", client_id="c1"),
    make(REF_CLIENT_IDENTITIES, kind="domain", value="gone.example", client_id="gone"),
]
BRANDS = [make(REF_BRANDS, brand_id="b1", client_id="c1", name="Leafy", project_prefixes_json="[]")]


def links(*mails: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = link_messages(normalized(*mails), identities=IDENTITIES, clients=CLIENTS, brands=BRANDS)
    conform(NORM_MESSAGE_LINKS, rows)
    return {row["message_id"]: row for row in rows}


@pytest.mark.parametrize(
    ("sender", "to", "direction", "counterpart"),
    [
        ("buyer@palm.example", OURS, "inbound", "buyer@palm.example"),
        (OURS, "Buyer@Palm.example", "outbound", "buyer@palm.example"),
        (OURS, "accounts@agency.example", "internal", None),
        (None, OURS, "unknown", None),
        ("not-an-address", OURS, "unknown", None),
    ],
)
def test_direction_follows_the_senders_and_recipients_domains(
    sender: str | None, to: str, direction: str, counterpart: str | None
) -> None:
    row = normalized(mail(sender=sender, to=to))[0]

    assert (row["direction"], row["counterpart_email"]) == (direction, counterpart)


def test_a_late_evening_in_utc_is_the_next_local_day() -> None:
    assert normalized(mail())[0]["sent_on"] == date(2026, 11, 22)


@pytest.mark.parametrize(
    ("sender", "text", "expected"),
    [
        ("a@palm.example", "Could you send it?", True),
        ("a@palm.example", "All fine.", False),
        ("no-reply@palm.example", "Could you send it?", False),
        (OURS, "Could you send it?", False),
        ("a@palm.example", "يرجى الإرسال", True),
    ],
)
def test_only_a_human_outsider_who_asks_waits_for_an_answer(sender: str, text: str, expected: bool) -> None:
    row = normalized(mail(sender=sender, body_text=text, to="x@palm.example" if sender == OURS else OURS))[0]

    assert row["requires_response"] is expected
    assert (row["response_due_at"] is not None) is expected


@pytest.mark.parametrize("label", ["DRAFT", "SPAM", "TRASH"])
def test_mail_that_was_not_really_sent_or_wanted_is_left_out(label: str) -> None:
    assert normalized(mail(labels_json=json.dumps([label]))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Hi&nbsp;there</p><script>x()</script>", "Hi there"),
        ("2 < 3 and 4 > 1", "2 < 3 and 4 > 1"),
        ("a\r\n\r\n\r\n\r\nb", "a\n\nb"),
        (None, ""),
    ],
)
def test_no_markup_survives(text: str | None, expected: str) -> None:
    assert plain_text(text) == expected


@pytest.mark.parametrize(
    ("values", "client_id", "status", "rule"),
    [
        ({"sender": "buyer@free.example"}, "c2", "linked", "identity_email"),
        ({"sender": "other@free.example"}, None, "unlinked", "none"),
        ({"sender": "a@mail.palm.example"}, "c1", "linked", "identity_domain"),
        ({"sender": "a@notpalm.example"}, None, "unlinked", "none"),
        ({"sender": "a@gone.example"}, None, "unlinked", "none"),
        ({"sender": "a@x.example", "subject": "RE: palm tea, gardens"}, "c2", "linked", "subject_name"),
        ({"sender": "a@x.example", "subject": "Leafy poster"}, "c1", "linked", "subject_name"),
        ({"sender": "a@x.example", "subject": "PTL poster"}, None, "unlinked", "none"),
        ({"sender": "a@x.example", "subject": "twins party"}, None, "ambiguous", "subject_name"),
        ({"sender": OURS, "to": "accounts@agency.example", "subject": "Leafy"}, None, "not_applicable", "internal"),
    ],
)
def test_a_mail_is_linked_by_the_strongest_fact(
    values: dict[str, Any], client_id: str | None, status: str, rule: str
) -> None:
    row = links(mail(**values))["m1"]

    assert (row["client_id"], row["link_status"], row["rule"]) == (client_id, status, rule)


def test_an_unknown_sender_belongs_to_the_one_client_of_the_thread() -> None:
    rows = links(mail("m1", thread_id="t"), mail("m2", thread_id="t", sender="cousin@free.example"))

    assert (rows["m2"]["client_id"], rows["m2"]["rule"]) == ("c1", "thread")


def test_a_thread_of_two_clients_decides_nothing() -> None:
    first, second = mail("m1", thread_id="t"), mail("m2", thread_id="t", sender="buyer@free.example")

    rows = links(first, second, mail("m3", thread_id="t", sender="cousin@free.example"))

    assert (rows["m3"]["client_id"], rows["m3"]["link_status"]) == (None, "unlinked")


@given(st.text(max_size=300))
def test_plain_text_is_stable(text: str) -> None:
    once = plain_text(text)

    assert "\x00" not in once
    assert normalized(mail(body_text=text))[0]["body"] == once


def test_broken_json_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="not JSON"):
        normalized(mail(labels_json="{"))
