from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ao_pipeline.collect.cadence import CADENCE, Cadence, is_due
from ao_pipeline.collect.overlap import drop_seen, remember
from ao_pipeline.collect.tables import RAW_ASANA_TASKS, RAW_TABLES
from ao_pipeline.collect.volume import VolumeDropError, VolumePolicy, check_volume
from ao_pipeline.cycle import Cycle
from ao_pipeline.errors import ConfigError, PermanentError, UnknownNameError


@pytest.mark.parametrize(("stored", "listed"), [(0, 0), (19, 1), (20, 10), (100, 50), (5, 500)])
def test_a_believable_listing_is_accepted(stored: int, listed: int) -> None:
    check_volume(stored, listed)


@pytest.mark.parametrize(("stored", "listed"), [(1, 0), (20, 9), (100, 49)])
def test_a_listing_that_shrank_too_much_is_refused(stored: int, listed: int) -> None:
    with pytest.raises(VolumeDropError, match=f"{listed} rows where {stored} are stored") as caught:
        check_volume(stored, listed, what="raw_x")

    assert isinstance(caught.value, PermanentError)


def test_the_thresholds_are_the_policys() -> None:
    check_volume(100, 11, VolumePolicy(min_ratio=0.1))


def test_every_raw_table_has_a_cadence() -> None:
    assert set(CADENCE.interval_minutes) == {spec.asset for spec in RAW_TABLES}


def test_an_hourly_source_is_due_once_an_hour_and_tasks_every_cycle() -> None:
    cycles = [Cycle(datetime(2026, 11, 20, 8, tzinfo=UTC)).shift(step) for step in range(8)]

    assert [is_due("raw/xero_invoices", cycle) for cycle in cycles] == [True, False, False, False] * 2
    assert all(is_due("raw/asana_tasks", cycle) for cycle in cycles)


def test_an_asset_without_a_cadence_is_named() -> None:
    with pytest.raises(UnknownNameError, match="raw/nothing"):
        is_due("raw/nothing", Cycle(datetime(2026, 11, 20, tzinfo=UTC)))


@pytest.mark.parametrize("minutes", [0, 10, 20])
def test_an_interval_between_cycles_is_refused(minutes: int) -> None:
    with pytest.raises(ConfigError, match=str(minutes)):
        Cadence({"raw/x": minutes})


def test_only_rows_that_are_the_same_again_are_dropped() -> None:
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    blank = dict.fromkeys(RAW_ASANA_TASKS.column_names)

    def rows(*pairs: tuple[str, str, datetime]) -> object:
        made = [{**blank, "task_gid": gid, "name": name, "modified_at": when} for gid, name, when in pairs]
        return RAW_ASANA_TASKS.empty().from_pylist(made, schema=RAW_ASANA_TASKS.arrow_schema)

    first = rows(("old", "a", at - timedelta(hours=1)), ("same", "b", at), ("edited", "c", at))
    seen = remember(first, key="task_gid", changed_at="modified_at", since=at - timedelta(minutes=10))

    again = drop_seen(rows(("same", "b", at), ("edited", "C", at), ("new", "d", at)), key="task_gid", seen=seen)

    assert set(seen) == {"same", "edited"}
    assert again.column("task_gid").to_pylist() == ["edited", "new"]
