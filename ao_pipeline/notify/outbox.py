"""What is to be sent now, and what a send, a failure or old age makes of a message."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.normalize.rows import Frame, Row, read_rows
from ao_pipeline.notify.policy import DEFAULT_NOTIFY_POLICY, PRIORITIES, NotifyPolicy
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES

OUTBOX_VERSION: Final = "1"


def due_messages(
    deliveries: Frame, *, now: datetime, zone: ZoneInfo, policy: NotifyPolicy = DEFAULT_NOTIFY_POLICY
) -> list[Row]:
    """Return the pending messages that may be sent at `now`, the most urgent first, at most `policy.max_sends`.

    In quiet hours only critical ones; after a failure not before its wait is over.
    """
    is_quiet = policy.is_quiet(now.astimezone(zone).hour)
    due = [
        row
        for row in read_rows(deliveries, NOTIFY_DELIVERIES)
        if row["status"] == "pending"
        and (row["priority"] == "critical" or not is_quiet)
        and (row["last_attempt_at"] is None or row["last_attempt_at"] + policy.retry_wait(row["attempts"]) <= now)
    ]
    due.sort(key=lambda row: (PRIORITIES.index(row["priority"]), row["planned_on"], row["idempotency_key"]))
    return due[: policy.max_sends]


def expire_messages(deliveries: Frame, *, as_of: date, policy: NotifyPolicy = DEFAULT_NOTIFY_POLICY) -> list[Row]:
    """Return the pending messages that are too old to be sent, now dead; only the changed rows."""
    return [
        row | {"status": "dead", "last_error": row["last_error"] or "Expired"}
        for row in read_rows(deliveries, NOTIFY_DELIVERIES)
        if row["status"] == "pending" and (as_of - row["planned_on"]).days > policy.expire_after_days
    ]


def mark_sent(row: Row, *, now: datetime, cycle_key: str) -> Row:
    """Return the message as sent in a cycle."""
    return row | {
        "status": "sent",
        "attempts": row["attempts"] + 1,
        "last_attempt_at": now,
        "sent_cycle": cycle_key,
        "last_error": None,
    }


def mark_failed(
    row: Row, *, now: datetime, error: BaseException, is_permanent: bool, policy: NotifyPolicy = DEFAULT_NOTIFY_POLICY
) -> Row:
    """Return the message after a failed send: pending for another try, or dead when none is left or would help.

    Only the error's class is kept: its text may hold a secret.
    """
    attempts = row["attempts"] + 1
    is_dead = is_permanent or attempts >= policy.max_attempts
    return row | {
        "status": "dead" if is_dead else "pending",
        "attempts": attempts,
        "last_attempt_at": now,
        "last_error": type(error).__name__,
    }
