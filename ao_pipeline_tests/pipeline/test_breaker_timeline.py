"""Each change of a breaker is an event of its assets in Dagster, once."""

from __future__ import annotations

import dagster as dg

from ao_pipeline.defs.breaker_timeline import MAX_EVENTS, report_breakers
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind, Phase
from ao_pipeline_tests.pipeline.plant import FIRST, Plant


def evaluate(plant: Plant, cursor: str | None) -> tuple[list[dg.AssetObservation], str | None]:
    answer = report_breakers(dg.build_sensor_context(instance=plant.instance, cursor=cursor))
    if isinstance(answer, dg.SkipReason):
        return [], cursor
    assert isinstance(answer, dg.SensorResult)
    events = [event for event in answer.asset_events if isinstance(event, dg.AssetObservation)]
    return events, answer.cursor


def test_a_change_is_shown_on_the_asset_once(plant: Plant) -> None:
    with plant.store() as store:
        store.breakers.force("truth/capacity", Phase.OPEN, reason="rule under repair", actor="amal", until_us=None)
    events, cursor = evaluate(plant, None)
    with plant.store() as store:
        store.breakers.reset("truth/capacity", reason="repaired", actor="amal")

    later, cursor = evaluate(plant, cursor)

    assert [("/".join(event.asset_key.path), event.metadata["ao/breaker_to"].value) for event in [*events, *later]] == [
        ("truth/capacity", "open"),
        ("truth/capacity", "closed"),
    ]
    assert events[0].metadata["ao/reason"].value == "rule under repair"
    assert evaluate(plant, cursor)[0] == []


def test_a_change_of_a_source_is_shown_on_each_of_its_assets(plant: Plant) -> None:
    with plant.store() as store:
        store.breakers.force("source:xero", Phase.OPEN, reason="maintenance", actor="amal", until_us=10**18)

    events, _ = evaluate(plant, "this is no cursor")

    assert {"/".join(event.asset_key.path) for event in events} == {
        "raw/xero_contacts",
        "raw/xero_credit_notes",
        "raw/xero_invoices",
        "raw/xero_payments",
    }


def test_one_tick_reads_a_bounded_number_of_events(plant: Plant) -> None:
    at_us = int(FIRST.end.timestamp()) * 1_000_000
    with plant.store() as store:
        for number in range(2 * MAX_EVENTS):
            kind = EventKind.RESET if number % 2 else EventKind.FORCED_OPEN
            store.breakers.record({"truth/capacity": BreakerEvent(kind, at_us, reason=str(number))})

    first, cursor = evaluate(plant, None)
    second, cursor = evaluate(plant, cursor)
    third, _ = evaluate(plant, cursor)

    assert (len(first), len(second), len(third)) == (MAX_EVENTS, MAX_EVENTS, 0)
