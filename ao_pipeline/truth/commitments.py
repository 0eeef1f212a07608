"""Commitment truth: who promised or was asked what, by when, and whether a task stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ao_pipeline.normalize.messages import domain_of
from ao_pipeline.normalize.rows import Frame, Row, fold_name, read_rows, sort_rows
from ao_pipeline.normalize.tables import NORM_MESSAGE_LINKS, NORM_MESSAGES, NORM_TASK_LINKS, NORM_TASKS
from ao_pipeline.truth.deadlines import find_deadline
from ao_pipeline.truth.sentences import PATTERNS_VERSION, Found, find_sentences
from ao_pipeline.truth.tables import TRUTH_COMMITMENTS
from ao_pipeline.truth.workweek import DEFAULT_WORK_WEEK, WorkWeek

COMMITMENTS_VERSION: Final = f"1+patterns.{PATTERNS_VERSION}"

MIN_CONFIDENCE: Final = 0.7
"""Below it, a sentence is as often a remark as a promise ("we can", "I need")."""

WINDOW_DAYS: Final = 90
"""Mails older than this give no commitments: what was kept or forgotten for a quarter is no news."""

SAME_WORDS_RATIO: Final = 0.7
"""Shared words (Jaccard) above which two sentences of one thread are one commitment."""

_STOP_WORDS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "before",
        "by",
        "can",
        "could",
        "for",
        "from",
        "i",
        "in",
        "is",
        "it",
        "me",
        "my",
        "no",
        "of",
        "on",
        "or",
        "our",
        "please",
        "pls",
        "send",
        "sure",
        "that",
        "the",
        "them",
        "they",
        "this",
        "to",
        "today",
        "tomorrow",
        "us",
        "we",
        "will",
        "with",
        "would",
        "you",
        "your",
        "ll",
        "re",
        "ve",
        "have",
        "get",
        "make",
        "let",
        "know",
    ]
)
_MIN_SHARED_WORDS: Final = 2
_MIN_TASK_RATIO: Final = 0.75
"""Part of a task's telling words that must stand in the sentence before the task stands for it."""


@dataclass(frozen=True)
class _Task:
    task_id: str
    client_id: str | None
    is_completed: bool
    words: frozenset[str]


def find_commitments(
    messages: Frame,
    *,
    message_links: Frame,
    tasks: Frame,
    task_links: Frame,
    as_of: date,
    org_domains: Sequence[str],
    week: WorkWeek = DEFAULT_WORK_WEEK,
) -> list[Row]:
    """Find promises and requests in the mails of the last 90 days.

    Copies of one mail in several mailboxes are read once. A sentence that returns in its thread counts once, at its
    first mail. Identity is the hash of message id and text, so the same mail always gives the same commitment.

    Args:
        messages: `norm_messages`.
        message_links: `norm_message_links`.
        tasks: `norm_tasks`.
        task_links: `norm_task_links`.
        as_of: The organisation's day; decides what is overdue and nothing about deadlines.
        org_domains: The agency's own mail domains.
        week: Tells where a week ends.

    Returns:
        Rows of `truth_commitments`.
    """
    ours = frozenset(domain.strip().lower() for domain in org_domains)
    clients = {(r["mailbox"], r["message_id"]): r["client_id"] for r in read_rows(message_links, NORM_MESSAGE_LINKS)}
    index = _index_tasks(read_rows(tasks, NORM_TASKS), read_rows(task_links, NORM_TASK_LINKS))
    rows: dict[str, Row] = {}
    seen_in_thread: dict[str, list[frozenset[str]]] = {}
    for message in _readable(read_rows(messages, NORM_MESSAGES), as_of):
        client_id = clients.get((message["mailbox"], message["message_id"]))
        seen = seen_in_thread.setdefault(message["thread_id"] or message["message_id"], [])
        for found in find_sentences(message["body"], min_confidence=MIN_CONFIDENCE):
            words = frozenset(fold_name(found.text).split())
            if any(_jaccard(words, other) > SAME_WORDS_RATIO for other in seen):
                continue
            seen.append(words)
            row = _commitment(
                message,
                found,
                client_id=client_id,
                task=_find_task(words, client_id, index),
                deadline_on=find_deadline(found.text, said_on=message["sent_on"], week=week),
                as_of=as_of,
                ours=ours,
            )
            rows[row["commitment_id"]] = row
    return sort_rows(rows.values(), TRUTH_COMMITMENTS)


def _commitment(
    message: Row,
    found: Found,
    *,
    client_id: str | None,
    task: _Task | None,
    deadline_on: date | None,
    as_of: date,
    ours: frozenset[str],
) -> Row:
    owner, target = _parties(message, found.kind)
    return {
        "commitment_id": hashlib.sha256(f"{message['message_id']}\x1f{found.text}".encode()).hexdigest()[:16],
        "mailbox": message["mailbox"],
        "message_id": message["message_id"],
        "thread_id": message["thread_id"],
        "client_id": client_id,
        "kind": found.kind,
        "text": found.text,
        "owner": owner,
        "target": target,
        "is_ours": domain_of(owner) in ours,
        "said_on": message["sent_on"],
        "deadline_on": deadline_on,
        "confidence": found.confidence,
        "status": _status(task, deadline_on, as_of),
        "task_id": task.task_id if task is not None else None,
    }


def _readable(messages: list[Row], as_of: date) -> list[Row]:
    """Return the mails to read, oldest first, one for each set of copies."""
    oldest = as_of - timedelta(days=WINDOW_DAYS)
    chosen: dict[str, Row] = {}
    for message in messages:
        if message["is_automated"] or message["sent_on"] is None or message["direction"] == "unknown":
            continue
        if oldest <= message["sent_on"]:
            chosen.setdefault(message["content_hash"], message)
    return sorted(chosen.values(), key=lambda row: (row["sent_at"], row["mailbox"], row["message_id"]))


def _parties(message: Row, kind: str) -> tuple[str | None, str | None]:
    sender = message["from_email"]
    other = message["mailbox"] if message["direction"] == "inbound" else message["counterpart_email"]
    if message["direction"] == "internal" and sender != message["mailbox"]:
        other = message["mailbox"]
    return (sender, other) if kind == "promise" else (other, sender)


def _status(task: _Task | None, deadline_on: date | None, as_of: date) -> str:
    if task is not None and task.is_completed:
        return "done"
    if deadline_on is not None and deadline_on < as_of:
        return "overdue"
    return "linked" if task is not None else "open"


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left or right else 1.0


def _index_tasks(tasks: Iterable[Row], links: Iterable[Row]) -> dict[str, list[_Task]]:
    client_of = {row["task_id"]: row["client_id"] for row in links}
    index: dict[str, list[_Task]] = {}
    for row in tasks:
        words = frozenset(row["name_normalized"].split()) - _STOP_WORDS
        if len(words) < _MIN_SHARED_WORDS:
            continue
        task = _Task(row["task_id"], client_of.get(row["task_id"]), row["status"] == "completed", words)
        for word in words:
            index.setdefault(word, []).append(task)
    return index


def _find_task(words: frozenset[str], client_id: str | None, index: dict[str, list[_Task]]) -> _Task | None:
    """Return the one task that clearly stands for a sentence; two that fit equally well give none."""
    shared: dict[str, int] = {}
    by_id: dict[str, _Task] = {}
    for word in words - _STOP_WORDS:
        for task in index.get(word, ()):
            # A task of another client cannot stand for this client's sentence.
            if task.client_id is None or client_id is None or task.client_id == client_id:
                shared[task.task_id] = shared.get(task.task_id, 0) + 1
                by_id[task.task_id] = task
    ratios = [
        (count / len(by_id[task_id].words), count, task_id)
        for task_id, count in shared.items()
        if count >= _MIN_SHARED_WORDS and count / len(by_id[task_id].words) >= _MIN_TASK_RATIO
    ]
    if not ratios:
        return None
    best = max((ratio, count) for ratio, count, _ in ratios)
    winners = [task_id for ratio, count, task_id in ratios if (ratio, count) == best]
    return by_id[winners[0]] if len(winners) == 1 else None
