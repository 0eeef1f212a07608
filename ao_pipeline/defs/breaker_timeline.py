"""Circuit breakers in Dagster's own timeline: each change is an observation on the assets that it keeps out or lets in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.breakers import RecordedEvent
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs.breakers import SOURCES
from ao_pipeline.defs.resources import opened_store
from ao_pipeline.resilience.evidence import MAX_REASON_CHARACTERS, SOURCE_PREFIX

MAX_EVENTS: Final = 50
"""Events of breakers that one tick reads; more have their turn a minute later."""


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def report_breakers(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Report each change of a circuit breaker as an event of its assets."""
    told = _read_cursor(context.cursor)
    with opened_store() as store:
        news = list(untold(store, told))
    if not news:
        return dg.SkipReason("no breaker changed")
    for item in news:
        told[item.name] = item.seq
    changes = [item for item in news if item.is_transition]
    return dg.SensorResult(
        asset_events=[event for item in changes for event in observations(item)],
        cursor=json.dumps(told, sort_keys=True),
        skip_reason=None if changes else dg.SkipReason("no breaker changed"),
    )


def untold(store: StateStore, told: dict[str, int]) -> Iterator[RecordedEvent]:
    """Yield the events after those that were told, by breaker, at most `MAX_EVENTS`."""
    left = MAX_EVENTS
    for state in store.breakers.all():
        if left and state.seq > told.get(state.name, 0):
            events = store.breakers.events(state.name, after_seq=told.get(state.name, 0), limit=left)
            left -= len(events)
            yield from events


def observations(item: RecordedEvent) -> Iterator[dg.AssetObservation]:
    """Yield a change as observations: one on a job's asset, one on each asset of a source."""
    source = item.name.removeprefix(SOURCE_PREFIX)
    assets = [item.name] if source == item.name else [asset for asset, of in SOURCES.items() if of == source]
    for asset in assets:
        yield dg.AssetObservation(
            asset_key=dg.AssetKey(asset.split("/")),
            description=f"circuit breaker {item.name} went from {item.from_state} to {item.to_state}",
            metadata={
                "ao/breaker": item.name,
                "ao/breaker_from": item.from_state,
                "ao/breaker_to": item.to_state,
                "ao/breaker_event": item.seq,
                "ao/cycle": item.event.cycle or "none",
                "ao/actor": item.event.actor,
                "ao/reason": item.event.reason[:MAX_REASON_CHARACTERS] or item.event.kind.value,
                "ao/recorded_at": clock.to_iso(clock.from_micros(item.recorded_at_us)),
            },
        )


def _read_cursor(cursor: str | None) -> dict[str, int]:
    """Read what was told; a cursor that cannot be read means nothing was: an event told twice is better than one not told."""
    try:
        return {str(name): int(seq) for name, seq in json.loads(cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}
