"""Promises, requests, and the days they name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.tables import NORM_MESSAGE_LINKS, NORM_MESSAGES, NORM_TASK_LINKS, NORM_TASKS
from ao_pipeline.truth.commitments import find_commitments
from ao_pipeline.truth.deadlines import find_deadline
from ao_pipeline.truth.sentences import find_sentences, own_text
from ao_pipeline.truth.tables import TRUTH_COMMITMENTS
from ao_pipeline.truth.workweek import DEFAULT_WORK_WEEK

SUNDAY = date(2026, 11, 22)
OURS = "ops@agency.example"
THEIRS = "buyer@palm.example"


def make(spec: TableSpec, **values: Any) -> dict[str, Any]:
    assert values.keys() <= set(spec.column_names)
    return {name: values.get(name) for name in spec.column_names}


def mail(body: str, message_id: str = "m1", **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "mailbox": OURS,
        "thread_id": message_id,
        "direction": "outbound",
        "from_email": OURS,
        "counterpart_email": THEIRS,
        "sent_at": datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        "sent_on": SUNDAY,
        "content_hash": message_id,
        "is_automated": False,
    }
    return make(NORM_MESSAGES, message_id=message_id, body=body, **(defaults | values))


def commitments(
    *mails: dict[str, Any], tasks: dict[str, str] | None = None, as_of: date = SUNDAY, **done: bool
) -> list[dict[str, Any]]:
    rows = find_commitments(
        list(mails),
        message_links=[
            make(NORM_MESSAGE_LINKS, mailbox=m["mailbox"], message_id=m["message_id"], client_id="c1") for m in mails
        ],
        tasks=[
            make(NORM_TASKS, task_id=i, name_normalized=n, status="completed" if done.get(i) else "open")
            for i, n in (tasks or {}).items()
        ],
        task_links=[make(NORM_TASK_LINKS, task_id=i, client_id="c1") for i in tasks or {}],
        as_of=as_of,
        org_domains=["agency.example"],
    )
    conform(TRUTH_COMMITMENTS, rows)
    return rows


@pytest.mark.parametrize(
    ("sentence", "days"),
    [
        ("I will send it tomorrow", 1),
        ("I'll do it by Monday", 1),
        ("by Sunday at the latest", 7),
        ("before Thursday", 4),
        ("next Wednesday works", 3),
        ("end of day", 0),
        ("by EOW please", 4),
        ("end of the week", 4),
        ("next week", 7),
        ("within 3 hours", 0),
        ("in two days", 2),
        ("within 5 working days", 5),
        ("in 2 weeks", 14),
        ("ASAP", 0),
        ("by 3/12", 11),
        ("by 03/12/2026", 11),
        ("on 3.12.26", 11),
        ("2026-12-03", 11),
        ("by 3rd of December", 11),
        ("December 3rd, 2026", 11),
        ("by 1 Jan", 40),
        ("we met on 3 November", None),
        ("قبل الخميس", 4),
        ("سأرسله غداً", 1),
        ("الأسبوع القادم", 7),
        ("it costs 3/4 of it", None),
        ("31/02", None),
        ("by 31/02", None),
        ("by 3/12/2199", None),
        ("some day", None),
        ("Monday", None),
    ],
)
def test_a_deadline_counts_from_the_day_it_was_said(sentence: str, days: int | None) -> None:
    found = find_deadline(sentence, said_on=SUNDAY, week=DEFAULT_WORK_WEEK)

    assert found == (SUNDAY + timedelta(days=days) if days is not None else None)


@given(st.text(max_size=80), st.dates(date(2000, 1, 1), date(2090, 1, 1)))
def test_no_deadline_lies_before_its_mail(text: str, said_on: date) -> None:
    found = find_deadline(f"by {text} 3/4 in 5 days", said_on=said_on, week=DEFAULT_WORK_WEEK)

    assert found is None or 0 <= (found - said_on).days <= 366


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("I will send the deck on Monday.", "promise"),
        ("I’ll send the deck on Monday.", "promise"),
        ("We'll share the artwork tomorrow.", "promise"),
        ("Will do, first thing tomorrow.", "promise"),
        ("Let me check with the printer.", "promise"),
        ("Please let me know the size.", "request"),
        ("Could you send the logo?", "request"),
        ("سأرسل العرض يوم الأحد", "promise"),
        ("يرجى إرسال الشعار اليوم", "request"),
        ("We can do that, I suppose.", None),
        ("If you agree, I will send it.", None),
        ("I will not send the deck.", None),
        ("The weather is nice today.", None),
        ("I'll do it", None),
    ],
)
def test_a_sentence_promises_or_asks_or_neither(sentence: str, kind: str | None) -> None:
    found = [item.kind for item in find_sentences(sentence, min_confidence=0.7)]

    assert found == ([kind] if kind else [])


def test_quotes_and_signatures_are_not_the_authors_words() -> None:
    body = "Hi,\nall good.\n> I will quote\nBest regards,\nNoor\nI will be in the signature"

    assert own_text(body) == "Hi,\nall good."
    assert own_text("Sure.\nOn Sun, 22 Nov 2026, Sami wrote:\nI will pay tomorrow") == "Sure."


@pytest.mark.parametrize(
    ("direction", "sender", "body", "owner", "target", "is_ours"),
    [
        ("outbound", OURS, "I will send the deck.", OURS, THEIRS, True),
        ("outbound", OURS, "Could you send the logo?", THEIRS, OURS, False),
        ("inbound", THEIRS, "I will send the logo.", THEIRS, OURS, False),
        ("inbound", THEIRS, "Could you send the deck?", OURS, THEIRS, True),
    ],
)
def test_the_owner_of_a_request_is_who_was_asked(
    direction: str, sender: str, body: str, owner: str, target: str, is_ours: bool
) -> None:
    row = commitments(mail(body, direction=direction, from_email=sender))[0]

    assert (row["owner"], row["target"], row["is_ours"]) == (owner, target, is_ours)


@pytest.mark.parametrize(
    ("tasks", "done", "as_of", "status"),
    [
        ({}, {}, SUNDAY, "open"),
        ({}, {}, SUNDAY + timedelta(days=1), "open"),
        ({}, {}, SUNDAY + timedelta(days=2), "overdue"),
        ({"t1": "send palm poster"}, {}, SUNDAY, "linked"),
        ({"t1": "send palm poster"}, {}, SUNDAY + timedelta(days=2), "overdue"),
        ({"t1": "send palm poster"}, {"t1": True}, SUNDAY + timedelta(days=2), "done"),
        ({"t1": "palm poster", "t2": "poster palm"}, {}, SUNDAY, "open"),
        ({"t1": "poster"}, {}, SUNDAY, "open"),
        ({"t1": "palm poster printing proof colours"}, {}, SUNDAY, "open"),
    ],
)
def test_status_follows_deadline_and_task(
    tasks: dict[str, str], done: dict[str, bool], as_of: date, status: str
) -> None:
    row = commitments(mail("I will send the Palm poster by Monday."), tasks=tasks, as_of=as_of, **done)[0]

    assert row["status"] == status


def test_one_sentence_counts_once_in_copies_and_replies() -> None:
    text = "I will send the Palm poster by Monday."
    first = mail(text, "m1", thread_id="t", content_hash="h")
    copy = mail(text, "m2", thread_id="u", content_hash="h", mailbox="z@agency.example")
    reply = mail(f"As I said: {text}", "m3", thread_id="t", sent_at=datetime(2026, 11, 23, 8, 0, tzinfo=UTC))

    assert [row["message_id"] for row in commitments(first, copy, reply)] == ["m1"]


def test_old_and_automated_mails_promise_nothing() -> None:
    text = "I will send the Palm poster by Monday."

    assert commitments(mail(text), as_of=SUNDAY + timedelta(days=91)) == []
    assert commitments(mail(text, is_automated=True)) == []


def test_identity_and_deadline_do_not_depend_on_the_day_of_processing() -> None:
    message = mail("I will send the Palm poster by Monday. Could you confirm the size tomorrow?")

    today, later = commitments(message), commitments(message, as_of=SUNDAY + timedelta(days=30))

    assert len(today) == 2
    assert [(r["commitment_id"], r["deadline_on"]) for r in today] == [
        (r["commitment_id"], r["deadline_on"]) for r in later
    ]


def test_links_without_a_column_are_refused_by_name() -> None:
    with pytest.raises(ContractError, match="norm_task_links lacks"):
        find_commitments(
            [], message_links=[], tasks=[], task_links=[{"task_id": "1"}], as_of=SUNDAY, org_domains=["agency.example"]
        )
