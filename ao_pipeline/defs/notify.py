"""`notify/deliveries`: plan messages, make them durable, send them, record what became of each."""

from __future__ import annotations

import pyarrow as pa

from ao_pipeline.adapters.channels.webhook import WebhookChannel
from ao_pipeline.bundles.canonical import conform
from ao_pipeline.bundles.changes import Change
from ao_pipeline.defs.managed import CommitStep, Work, managed_asset
from ao_pipeline.errors import AoError, PermanentError
from ao_pipeline.notify.outbox import OUTBOX_VERSION, due_messages, expire_messages, mark_failed, mark_sent
from ao_pipeline.notify.plan import PLAN_VERSION, plan_messages
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.truth.tables import TRUTH_COMMITMENTS


def _plan(work: Work, commit: CommitStep) -> None:
    """Make new messages durable before any of them is sent: a crash after this sends them later, never twice."""
    planned = plan_messages(
        work.table(SNAPSHOT_AGENCY),
        work.table(TRUTH_COMMITMENTS),
        work.table(NOTIFY_DELIVERIES),
        as_of=work.as_of,
        now=work.now,
        zone=work.settings.zone,
        cycle_key=work.cycle.key,
    )
    if planned:
        commit("plan", Change(conform(NOTIFY_DELIVERIES, planned), is_full=False, stats={"planned": len(planned)}))


@managed_asset(
    NOTIFY_DELIVERIES,
    reads=[SNAPSHOT_AGENCY, TRUTH_COMMITMENTS],
    code_version=f"{PLAN_VERSION}+{OUTBOX_VERSION}",
    kinds={"webhook"},
    is_skippable=False,
    prepare=_plan,
)
def notify_deliveries(work: Work) -> Change:
    """Messages to people: each planned once, sent at most once per key, retried with backoff, given up in the open."""
    deliveries = work.table(NOTIFY_DELIVERIES)
    settings = work.settings
    rows = expire_messages(deliveries, as_of=work.as_of)
    expired = {row["idempotency_key"] for row in rows}
    due = [
        row
        for row in due_messages(deliveries, now=work.now, zone=settings.zone)
        if row["idempotency_key"] not in expired
    ]
    counts = {"sent": 0, "failed": 0, "expired": len(expired)}
    with WebhookChannel(
        settings.upstream_url("webhook"),
        connect_timeout_seconds=settings.connect_timeout_seconds,
        read_timeout_seconds=settings.read_timeout_seconds,
    ) as channel:
        for row in due:
            if work.remaining_seconds() < settings.connect_timeout_seconds + settings.read_timeout_seconds:
                counts["left"] = len(due) - counts["sent"] - counts["failed"]  # The next cycle sends them.
                break
            try:
                channel.send(row["idempotency_key"], row["title"], row["body"])
            except AoError as error:
                # The outbox keeps it: a message that cannot be sent must not fail the cycle that it tells about.
                rows.append(mark_failed(row, now=work.now, error=error, is_permanent=isinstance(error, PermanentError)))
                counts["failed"] += 1
            else:
                rows.append(mark_sent(row, now=work.now, cycle_key=work.cycle.key))
                counts["sent"] += 1
    changed: pa.Table = conform(NOTIFY_DELIVERIES, rows) if rows else NOTIFY_DELIVERIES.empty()
    return Change(changed, is_full=False, stats=counts)


NOTIFY_ASSETS = (notify_deliveries,)
