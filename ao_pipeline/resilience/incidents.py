"""From conditions to incidents and alerts: one message when something begins, one when it is over, and no storm.

Invariants:
1. One open incident for a kind and subject (`test_one_condition_is_one_incident_however_often_it_is_seen`).
2. What comes back before it settled is the same incident, in silence (`test_a_flapping_condition_is_told_once`).
3. What was never told of is never told to be over (`test_what_passes_before_it_is_told_stays_silent`).
4. Everything that waits to be told goes into one message (`test_many_incidents_at_once_are_one_message`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from ao_pipeline.resilience.conditions import Condition, IncidentKind

_MINUTE: Final = 60_000_000


@dataclass(frozen=True)
class KindRule:
    """How one kind is told.

    Attributes:
        title: What happened, in words.
        tell_after_minutes: It must last so long before anybody is told; what heals by itself stays silent.
        settle_minutes: It must be gone so long before it is over; what flaps is one incident.
        is_told: Whether messages are sent at all; without, it shows in `ao incidents`, `/health` and metrics only.
    """

    title: str
    tell_after_minutes: int = 0
    settle_minutes: int = 20
    is_told: bool = True


def _rules() -> Mapping[IncidentKind, KindRule]:
    kind = IncidentKind
    return MappingProxyType(
        {
            # Five minutes: a machine that comes back has caught up by then.
            kind.CYCLE_MISSING: KindRule("No cycle was completed", tell_after_minutes=5, settle_minutes=0),
            kind.CYCLE_FAILED: KindRule("A cycle failed"),
            kind.CYCLE_INTERRUPTED: KindRule("A cycle was broken off"),
            kind.CYCLE_DEGRADED: KindRule("A cycle is degraded"),
            # A breaker settles by itself: it closes after five good cycles.
            kind.BREAKER_OPEN: KindRule("A circuit breaker is open", settle_minutes=0),
            kind.AUTO_REVERTED: KindRule("The engine took a change back and put the asset on hold", settle_minutes=0),
            kind.ACCESS_REFUSED: KindRule("An upstream refuses our access"),
            kind.CONTRACT_BROKEN: KindRule("Data or configuration does not have the agreed shape"),
            kind.FAILING: KindRule("An asset fails again and again"),
            kind.STALE: KindRule("An asset is stale", tell_after_minutes=5),
            kind.QUARANTINE_GROWS: KindRule("Many records are refused", settle_minutes=60),
            kind.MESSAGES_DEAD: KindRule("Notifications are not delivered", settle_minutes=60),
            kind.ALERTS_UNDELIVERED: KindRule("Alerts are not delivered", settle_minutes=0),
            kind.HEALER_FAILING: KindRule("A sensor or schedule fails at every tick", settle_minutes=5),
            kind.SWITCHED_OFF: KindRule("A sensor or schedule is switched off", tell_after_minutes=15),
            # The checks run once an hour: one good result ends it.
            kind.CHECK_FAILED: KindRule("A check fails", settle_minutes=0),
            kind.MANUAL_RUN_FAILED: KindRule("A run started by hand failed", is_told=False),
            kind.HEARTBEAT_UNHEARD: KindRule("The dead-man's switch cannot be reached"),
        }
    )


@dataclass(frozen=True)
class AlertPolicy:
    """Limits of the alerts.

    Attributes:
        rules: By kind.
        gather_minutes: Between two messages; what opens meanwhile shares the next one.
        max_per_hour: Messages an hour; beyond it everything waits for one digest.
        max_lines: Incidents named in one message; the rest is counted.
        max_characters: Of one line.
        max_attempts: Sends tried before an alert is dead.
        first_retry_seconds: Wait after the first failed send; doubles with each further one.
        longest_retry_seconds: Longest wait between two tries.
    """

    rules: Mapping[IncidentKind, KindRule] = field(default_factory=_rules)
    gather_minutes: int = 2
    max_per_hour: int = 10
    max_lines: int = 15
    max_characters: int = 200
    max_attempts: int = 16
    first_retry_seconds: int = 30
    longest_retry_seconds: int = 1800

    def retry_wait_us(self, attempts: int) -> int:
        """Return how long to wait after so many failed sends."""
        doublings = min(max(attempts - 1, 0), 20)
        return min(self.first_retry_seconds << doublings, self.longest_retry_seconds) * 1_000_000


DEFAULT_ALERT_POLICY: Final = AlertPolicy()

RETURN_GAP_US: Final = 2 * _MINUTE
"""Unseen for longer than this and then seen again is a return: four evaluations."""


@dataclass(frozen=True)
class Incident:
    """Something wrong, from its beginning to its end.

    Attributes:
        count: How often it began: 1, and one more for each return before it settled.
        resolved_at_us: None while it is open.
        opened_alert, resolved_alert: The alert that told of its beginning and of its end; None while none did.
    """

    incident_id: str
    kind: IncidentKind
    subject: str
    detail: str
    opened_at_us: int
    last_seen_us: int
    resolved_at_us: int | None = None
    count: int = 1
    opened_alert: str | None = None
    resolved_alert: str | None = None

    @property
    def is_open(self) -> bool:
        return self.resolved_at_us is None

    def is_settling(self, now_us: int) -> bool:
        """Whether it is gone already, and open only until it has stayed away for long enough."""
        return self.is_open and now_us - self.last_seen_us > RETURN_GAP_US


@dataclass(frozen=True)
class Alert:
    """One message to the operator. `status` is pending | sent | dead."""

    alert_id: str
    title: str
    body: str
    status: str = "pending"
    attempts: int = 0
    created_at_us: int = 0
    last_attempt_us: int | None = None
    last_error: str | None = None


def reconcile(
    open_incidents: Sequence[Incident],
    conditions: Iterable[Condition],
    *,
    now_us: int,
    policy: AlertPolicy = DEFAULT_ALERT_POLICY,
) -> list[Incident]:
    """Return every incident that is open or has just ended, as it now is.

    Args:
        open_incidents: All that were open.
        conditions: What is wrong now.
        now_us: The moment.
        policy: Settling times.
    """
    current = {(condition.kind, condition.subject): condition for condition in conditions}
    after: list[Incident] = []
    for incident in open_incidents:
        condition = current.pop((incident.kind, incident.subject), None)
        if condition is not None:
            came_back = now_us - incident.last_seen_us > RETURN_GAP_US
            count = incident.count + int(came_back)
            after.append(replace(incident, last_seen_us=now_us, detail=condition.detail, count=count))
        elif now_us < incident.last_seen_us:
            after.append(replace(incident, last_seen_us=now_us))  # The wall clock was set back; settling starts anew.
        elif (
            incident.opened_alert is None
            or _minutes(incident.last_seen_us, now_us) >= _rule(policy, incident).settle_minutes
        ):
            after.append(replace(incident, resolved_at_us=now_us))
        else:
            after.append(incident)
    for (kind, subject), condition in sorted(current.items()):
        incident_id = f"{kind}:{subject}:{now_us}"
        after.append(Incident(incident_id, kind, subject, condition.detail, now_us, now_us))
    return after


def compose(
    incidents: Sequence[Incident],
    *,
    now_us: int,
    sent_lately_us: Sequence[int],
    policy: AlertPolicy = DEFAULT_ALERT_POLICY,
) -> tuple[Alert, list[Incident]] | None:
    """Return one alert about everything that waits to be told, and the incidents that it tells of; None when nothing does.

    Args:
        incidents: Open ones, and ended ones whose end was not told.
        now_us: The moment.
        sent_lately_us: When the alerts of the last hour were made.
        policy: Limits.
    """
    begun = [i for i in incidents if i.is_open and i.opened_alert is None and _is_ripe(i, now_us, policy)]
    ended = [i for i in incidents if not i.is_open and i.opened_alert is not None and i.resolved_alert is None]
    if not begun and not ended:
        return None
    lately = [made for made in sent_lately_us if 0 <= now_us - made < 60 * _MINUTE]
    if len(lately) >= policy.max_per_hour or any(now_us - made < policy.gather_minutes * _MINUTE for made in lately):
        return None
    facts = "\n".join(sorted([f"+{i.incident_id}" for i in begun] + [f"-{i.incident_id}" for i in ended]))
    alert_id = hashlib.sha256(facts.encode()).hexdigest()[:32]
    lines = [_line(_begun_text(i, policy), policy) for i in begun] + [
        _line(_ended_text(i, policy), policy) for i in ended
    ]
    if len(lines) > policy.max_lines:
        lines = [*lines[: policy.max_lines], f"… and {len(lines) - policy.max_lines} more: `ao incidents` lists them"]
    alert = Alert(alert_id, _title(begun, ended, policy), "\n".join(lines), created_at_us=now_us)
    told = [replace(i, opened_alert=alert_id) for i in begun] + [replace(i, resolved_alert=alert_id) for i in ended]
    return alert, told


def is_due(alert: Alert, *, now_us: int, policy: AlertPolicy = DEFAULT_ALERT_POLICY) -> bool:
    """Tell whether a pending alert may be tried now; a clock that was set back never holds it up."""
    if alert.status != "pending":
        return False
    waited = None if alert.last_attempt_us is None else now_us - alert.last_attempt_us
    return waited is None or waited < 0 or waited >= policy.retry_wait_us(alert.attempts)


def tried(
    alert: Alert,
    *,
    now_us: int,
    error: str | None,
    is_permanent: bool = False,
    policy: AlertPolicy = DEFAULT_ALERT_POLICY,
) -> Alert:
    """Return an alert after a try: sent without an error, else pending for another try, or dead."""
    attempts = alert.attempts + 1
    is_dead = error is not None and (is_permanent or attempts >= policy.max_attempts)
    status = "sent" if error is None else "dead" if is_dead else "pending"
    return replace(alert, status=status, attempts=attempts, last_attempt_us=now_us, last_error=error)


def _rule(policy: AlertPolicy, incident: Incident) -> KindRule:
    return policy.rules[incident.kind]


def _minutes(since_us: int, now_us: int) -> float:
    return (now_us - since_us) / _MINUTE


def _is_ripe(incident: Incident, now_us: int, policy: AlertPolicy) -> bool:
    rule = _rule(policy, incident)
    lasted = _minutes(incident.opened_at_us, now_us)
    return rule.is_told and (lasted >= rule.tell_after_minutes or lasted < 0)


def _title(begun: Sequence[Incident], ended: Sequence[Incident], policy: AlertPolicy) -> str:
    if len(begun) == 1 and not ended:
        return f"{_rule(policy, begun[0]).title}: {begun[0].subject}"
    if len(ended) == 1 and not begun:
        return f"Resolved: {_rule(policy, ended[0]).title[0].lower()}{_rule(policy, ended[0]).title[1:]}: {ended[0].subject}"
    parts = [f"{len(begun)} problems"] if len(begun) > 1 else ["1 problem"] if begun else []
    return ", ".join([*parts, *([f"{len(ended)} resolved"] if ended else [])])


def _begun_text(incident: Incident, policy: AlertPolicy) -> str:
    return f"• {_rule(policy, incident).title}: {incident.subject}. {incident.detail}"


def _ended_text(incident: Incident, policy: AlertPolicy) -> str:
    lasted = max(_minutes(incident.opened_at_us, incident.resolved_at_us or incident.opened_at_us), 0)
    times = "" if incident.count == 1 else f", {incident.count} times"
    return f"✓ Over after {lasted:.0f} minutes{times}: {_rule(policy, incident).title}: {incident.subject}"


def _line(text: str, policy: AlertPolicy) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= policy.max_characters else flat[: policy.max_characters - 1] + "…"
