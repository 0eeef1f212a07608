"""The sensor that tells people: what is wrong, once; what is over, once; and that silence means health.

It depends on nothing that it warns about: not on a cycle, a run, the notifications or the snapshot. When the state store itself
cannot be read it can tell nobody, and then the dead-man's switch, which it no longer calls, does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.channels.heartbeat import ping
from ao_pipeline.adapters.channels.webhook import WebhookChannel
from ao_pipeline.adapters.engine_identity import engine_identity
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs.origin import source_of_asset
from ao_pipeline.defs.reading import read_everything
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.errors import AoError, PermanentError
from ao_pipeline.resilience.conditions import Reading, current_conditions, is_cycle_missing
from ao_pipeline.settings import Settings, current_settings

MAX_SENDS: Final = 5
"""Alerts sent in one evaluation; the first failure ends it, so that a hanging channel costs one time-out."""

HEARTBEAT_ATTEMPTS: Final = 3
"""Tries to reach the dead-man's switch for one cycle; the next cycle tries again."""


@dataclass(frozen=True)
class Heartbeat:
    """The sensor's memory: the newest cycle that the dead-man's switch heard of, or did not."""

    cycle: str = ""
    attempts: int = 0
    error: str = ""

    @classmethod
    def parse(cls, cursor: str | None) -> Heartbeat:
        """Return what a cursor says; a damaged one says nothing."""
        try:
            return cls(**json.loads(cursor)) if cursor else cls()
        except (ValueError, TypeError):
            return cls()

    @property
    def is_heard(self) -> bool:
        return bool(self.cycle) and not self.error

    @property
    def is_given_up(self) -> bool:
        return self.attempts >= HEARTBEAT_ATTEMPTS


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Tell people what is wrong and what is over, once each; then tell the dead-man's switch that all this works."""
    settings = current_settings()
    before = Heartbeat.parse(context.cursor)
    repository = context.repository_def
    names, checks = None, frozenset[dg.AssetCheckKey]()
    if repository is not None:
        checks = frozenset(repository.asset_graph.asset_check_keys)
        names = {item.name for item in repository.sensor_defs} | {item.name for item in repository.schedule_defs}
    with opened_store() as store:
        if is_standby(store, settings):
            return dg.SkipReason("standby: the engine that acts on this store tells people")
        reading = read_everything(
            store,
            context.instance,
            now=clock.utc_now(),
            names=names,
            checks=checks,
            heartbeat_error=before.error if before.is_given_up else "",
        )
        conditions = current_conditions(reading, source_of=source_of_asset)
        incidents = store.incidents.record(conditions, now_us=clock.to_micros(reading.now))
        sent = send_alerts(store, settings)
    after = beat(before, reading, settings)
    context.update_cursor(json.dumps(asdict(after)))
    return dg.SkipReason(f"{len(incidents)} incidents are open, {sent} alerts were sent")


def is_standby(store: StateStore, settings: Settings) -> bool:
    """Tell whether another engine acts on this store. It only looks: telling people must not depend on getting a lease."""
    lease = store.leases.current()
    if lease is None or lease.holder == engine_identity(settings):
        return False
    return not store.leases.is_expired(lease)


def send_alerts(store: StateStore, settings: Settings) -> int:
    """Send what is due; return how much was sent. What cannot be sent stays, and fails nothing."""
    due = store.incidents.due_alerts(now_us=clock.to_micros(clock.utc_now()), limit=MAX_SENDS)
    sent = 0
    for item in due:
        error: AoError | None = None
        try:
            with WebhookChannel(
                settings.alert_url.get_secret_value() or settings.upstream_url("webhook"),
                connect_timeout_seconds=settings.connect_timeout_seconds,
                read_timeout_seconds=settings.read_timeout_seconds,
                variable="AO_ALERT_URL",
            ) as channel:
                channel.send(item.alert_id, item.title, item.body)
        except AoError as raised:
            error = raised
        store.incidents.mark_tried(
            item,
            now_us=clock.to_micros(clock.utc_now()),
            error=None if error is None else type(error).__name__,
            is_permanent=isinstance(error, PermanentError),
        )
        if error is not None:
            break
        sent += 1
    return sent


def beat(before: Heartbeat, reading: Reading, settings: Settings) -> Heartbeat:
    """Tell the dead-man's switch of a newly completed cycle, once; say nothing while that would be a lie.

    It is a lie when no recent cycle was completed, and when alerts do not arrive: silence then means nothing.
    """
    url = settings.heartbeat_url.get_secret_value()
    cycle = reading.last_completed
    if not url or not cycle or is_cycle_missing(reading) or reading.undelivered:
        return before
    if before.cycle == cycle and (before.is_heard or before.is_given_up):
        return before
    attempts = before.attempts + 1 if before.cycle == cycle else 1
    try:
        ping(
            url,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            read_timeout_seconds=settings.read_timeout_seconds,
        )
    except AoError as error:
        return Heartbeat(cycle, attempts, str(error))
    return Heartbeat(cycle, attempts, "")
