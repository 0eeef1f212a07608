"""Collecting what did not change writes nothing; collecting what did writes that alone. The long form is in `stress`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline_tests.sources.source_engine import SMALL
from ao_pipeline_tests.stress.collecting import ASSETS, NOW, Collecting, collecting, repeat_unchanged, settle

COLLECTIONS = 8


@pytest.fixture
def work(keys_folder: Path, tmp_path: Path) -> Iterator[Collecting]:
    with (
        serve(SandboxOptions(data_dir=keys_folder, frozen_at=NOW, size=SMALL)) as box,
        collecting(box, tmp_path) as made,
    ):
        yield made


def test_an_unchanged_world_leaves_every_table_as_it_is(work: Collecting) -> None:
    found = repeat_unchanged(work, COLLECTIONS)

    assert found == []
    filled = {asset for asset, (rows, _) in work.sizes().items() if rows}
    assert filled == set(ASSETS)


def test_a_day_without_changes_leaves_every_table_as_it_is(work: Collecting) -> None:
    settle(work)
    before = work.sizes()
    work.cycle = work.cycle.shift(4 * 25)  # Beyond every daily reconciliation.

    changed = {asset: work.run(asset).changed for asset in ASSETS}

    assert changed == dict.fromkeys(ASSETS, 0)
    assert work.sizes() == before


def test_one_change_is_one_row_and_the_next_collection_has_none(work: Collecting) -> None:
    settle(work)
    work.box.mutate("invoice", "create")
    work.next_cycle()

    first = {asset: work.run(asset).changed for asset in ASSETS}
    work.next_cycle()
    second = {asset: work.run(asset).changed for asset in ASSETS}

    assert first == dict.fromkeys(ASSETS, 0) | {"raw/xero_invoices": 1}
    assert second == dict.fromkeys(ASSETS, 0)
