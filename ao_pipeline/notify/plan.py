"""Which messages a snapshot implies: few, each once, the worst first.

Invariants:
1. Planning again on the same day gives nothing new. `test_planning_twice_plans_nothing_new`
2. No day plans more than its caps, the warnings that data is stale, and one overflow message. `test_no_day_exceeds_its_caps`
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
from ao_pipeline.notify.policy import DEFAULT_NOTIFY_POLICY, PRIORITIES, NotifyPolicy
from ao_pipeline.notify.tables import NOTIFY_DELIVERIES
from ao_pipeline.snapshot.build import read_bodies
from ao_pipeline.snapshot.render import money
from ao_pipeline.snapshot.sections import Body
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.truth.tables import TRUTH_COMMITMENTS

PLAN_VERSION: Final = "2"

DEFAULT_CHANNEL: Final = "chat_webhook"
OVERFLOW: Final = "overflow"
DATA_DEGRADED: Final = "data_degraded"
MORNING_BRIEF: Final = "morning_brief"

COMMITMENTS_OVERDUE: Final = "commitments_overdue"

_ORDER: Final = (
    DATA_DEGRADED,
    "cash_severe",
    COMMITMENTS_OVERDUE,
    "client_at_risk",
    "lanes_overloaded",
    MORNING_BRIEF,
)
"""Who gets the day's places first. Digests stand before single clients, or a bad week would crowd them out."""

_REPEATED_DAILY: Final = frozenset({MORNING_BRIEF, OVERFLOW, COMMITMENTS_OVERDUE, DATA_DEGRADED})
"""Kinds that may be told every day. An outage that returns is news; a client that stays at risk is not."""


@dataclass(frozen=True)
class _Draft:
    kind: str
    priority: str
    entity: str
    title: str
    body: str


def plan_messages(
    snapshot: Frame,
    commitments: Frame,
    deliveries: Frame,
    *,
    as_of: date,
    now: datetime,
    zone: ZoneInfo,
    cycle_key: str,
    policy: NotifyPolicy = DEFAULT_NOTIFY_POLICY,
    channel: str = DEFAULT_CHANNEL,
) -> list[Row]:
    """Return the messages that the snapshot implies and that were not planned before.

    Args:
        snapshot: `snapshot_agency`.
        commitments: `truth_commitments`; the digest of overdue promises is written from it.
        deliveries: `notify_deliveries` as stored.
        as_of: The organisation's day; part of every message's identity.
        now: The cycle's end. Decides only whether the morning brief is due yet.
        zone: The organisation's time zone.
        cycle_key: The cycle that plans.
        policy: Limits.
        channel: Name of the channel that sends them.

    Returns:
        New `pending` rows of `notify_deliveries`, to be added to the stored ones. Beyond the day's cap of a priority
        messages are not planned one by one: one overflow message says how many there are.

    Raises:
        ContractError: The snapshot cannot be read.
    """
    rows = read_rows(snapshot, SNAPSHOT_AGENCY)
    if not rows:
        return []
    stored = read_rows(deliveries, NOTIFY_DELIVERIES)
    drafts = _drafts(read_bodies(rows), policy)
    drafts += _overdue_digest(read_rows(commitments, TRUTH_COMMITMENTS), stored, as_of, policy)
    if now.astimezone(zone).hour >= policy.brief_from_hour:
        drafts.append(_brief(rows, as_of, policy))
    recent = {
        (row["kind"], row["entity"])
        for row in stored
        if (as_of - row["planned_on"]).days < (1 if row["kind"] in _REPEATED_DAILY else policy.repeat_after_days)
    }
    fresh = [draft for draft in drafts if (draft.kind, draft.entity) not in recent]
    planned = _within_caps(fresh, [row for row in stored if row["planned_on"] == as_of], policy)
    return sort_rows((_delivery(draft, as_of, cycle_key, channel, policy) for draft in planned), NOTIFY_DELIVERIES)


def idempotency_key(kind: str, entity: str, planned_on: date, channel: str) -> str:
    """Return the identity of a message: one kind, one entity, one org-local day, one channel."""
    facts = f"{kind}\x1f{entity}\x1f{planned_on.isoformat()}\x1f{channel}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _drafts(bodies: dict[str, Body], policy: NotifyPolicy) -> list[_Draft]:
    drafts: list[_Draft] = []
    trust = bodies["trust"]
    if trust["stale_sources"]:
        names = ", ".join(trust["stale_sources"])
        body = "\n".join(
            f"{name}: last good cycle {trust['sources'][name]['as_of_cycle'] or 'none'}"
            for name in trust["stale_sources"]
        )
        drafts.append(_Draft(DATA_DEGRADED, "high", names, f"Data is stale: {names}", body))
    if trust["confidence_level"] == "blocked":
        body = "Links contradict the tables. Run `ao doctor` and look at the gate data_integrity."
        drafts.append(_Draft(DATA_DEGRADED, "critical", "data_integrity", "The snapshot cannot be trusted", body))
    for client in bodies["clients"]["clients"]:
        if client["is_at_risk"]:
            title = f"Client at risk: {client['name']} ({client['score']})"
            drafts.append(_Draft("client_at_risk", "high", client["client_id"], title, _client_body(client)))
    for tile in bodies["cash"]["currencies"]:
        if tile["badge"] == "red":
            worst = [d for d in tile["debtors"] if d["severe_minor"]][: policy.max_lines]
            lines = [
                f"{d['name']}: {money(d['severe_minor'], tile['currency'])}, {d['oldest_days']} days" for d in worst
            ]
            title = f"Severe debt: {money(tile['severe_minor'], tile['currency'])}"
            drafts.append(_Draft("cash_severe", "high", tile["currency"], title, "\n".join(lines)))
    overloaded = [lane for lane in bodies["capacity"]["lanes"] if lane["is_overloaded"]]
    if overloaded:
        lines = [f"{x['lane_id']}: {x['overloaded_days']} days, owes {x['debt_minutes']} min" for x in overloaded]
        title = f"Overloaded lanes: {len(overloaded)}"
        drafts.append(_Draft("lanes_overloaded", "normal", "lanes", title, "\n".join(lines[: policy.max_lines])))
    return drafts


def _overdue_digest(commitments: list[Row], stored: list[Row], as_of: date, policy: NotifyPolicy) -> list[_Draft]:
    """Return one message about our promises that became overdue since the last such message, if there are any."""
    # Older ones stay in the snapshot: repeating them in every digest teaches people not to read it.
    oldest = as_of - timedelta(days=2 * policy.repeat_after_days)
    since = max([oldest, *(row["planned_on"] for row in stored if row["kind"] == COMMITMENTS_OVERDUE)])
    newly = [
        row
        for row in commitments
        if row["status"] == "overdue"
        and row["is_ours"]
        and row["deadline_on"] is not None
        and row["deadline_on"] >= since
    ]
    if not newly:
        return []
    newly.sort(key=lambda row: (row["deadline_on"], row["commitment_id"]))
    lines = [f"{row['deadline_on'].isoformat()} {row['text'][:120]}" for row in newly[: policy.max_lines]]
    title = f"Our promises that became overdue: {len(newly)}"
    return [_Draft(COMMITMENTS_OVERDUE, "high", "ours", title, "\n".join(lines))]


def _client_body(client: Body) -> str:
    parts = [
        (client["overdue_task_count"], "overdue tasks"),
        (client["missed_response_count"], "missed answers"),
        (client["overdue_commitment_count"], "overdue promises"),
        (client["severe_invoice_count"], "invoices of 61 days and older"),
    ]
    return ", ".join(f"{count} {what}" for count, what in parts if count) or "see the snapshot"


def _brief(rows: Sequence[Row], as_of: date, policy: NotifyPolicy) -> _Draft:
    bodies = read_bodies(rows)
    trust, tasks = bodies["trust"], bodies["delivery"]["tasks"]
    lines = [
        f"Confidence: {trust['confidence_level']}",
        f"Tasks: {tasks['open']} open, {tasks['overdue']} overdue, {tasks['due_in_7_days']} due within 7 days",
        f"Clients at risk: {bodies['clients']['at_risk_count']}",
        f"Our overdue promises: {bodies['commitments']['our_overdue_count']}",
        *(f"Owed: {money(tile['owed_minor'], tile['currency'])}" for tile in bodies["cash"]["currencies"][:3]),
        *(f"- {item['title']}" for item in bodies["exceptions"]["exceptions"][: policy.max_lines]),
    ]
    return _Draft(MORNING_BRIEF, "normal", "agency", f"Morning brief of {as_of.isoformat()}", "\n".join(lines))


def _within_caps(drafts: list[_Draft], today: list[Row], policy: NotifyPolicy) -> list[_Draft]:
    counted = [row for row in today if row["kind"] not in (OVERFLOW, DATA_DEGRADED)]
    left = {
        priority: policy.daily_caps[priority] - sum(row["priority"] == priority for row in counted)
        for priority in PRIORITIES
    }
    degraded_left = policy.max_degraded - sum(row["kind"] == DATA_DEGRADED for row in today)
    kept: list[_Draft] = []
    spilled: list[_Draft] = []
    # The sort is stable: within a priority drafts stay in the order of `_ORDER`, clients by falling risk.
    for draft in sorted(drafts, key=lambda d: (PRIORITIES.index(d.priority), _ORDER.index(d.kind))):
        # The brief is the digest itself: a day full of alerts must not cost it, nor the warning that they cannot be believed.
        if draft.kind == DATA_DEGRADED:
            (kept if degraded_left > 0 else spilled).append(draft)
            degraded_left -= 1
        elif draft.kind == MORNING_BRIEF or left[draft.priority] > 0:
            left[draft.priority] -= draft.kind != MORNING_BRIEF
            kept.append(draft)
        else:
            spilled.append(draft)
    if spilled and not any(row["kind"] == OVERFLOW for row in today):
        lines = [draft.title for draft in spilled[: policy.max_lines]]
        title = f"More alerts today: {len(spilled)}"
        kept.append(_Draft(OVERFLOW, spilled[0].priority, "agency", title, "\n".join(lines)))
    return kept


def _delivery(draft: _Draft, as_of: date, cycle_key: str, channel: str, policy: NotifyPolicy) -> Row:
    return {
        "idempotency_key": idempotency_key(draft.kind, draft.entity, as_of, channel),
        "kind": draft.kind,
        "priority": draft.priority,
        "entity": draft.entity,
        "planned_on": as_of,
        "title": _cut(draft.title, policy.max_title),
        "body": _cut(draft.body, policy.max_body),
        "channel": channel,
        "status": "pending",
        "attempts": 0,
        "first_cycle": cycle_key,
        "last_attempt_at": None,
        "sent_cycle": None,
        "last_error": None,
    }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
