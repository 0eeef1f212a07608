"""What counts as a good probe of a source: an answer from where its rows come from, not a job that had nothing to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs.breakers import admit, tell_breakers
from ao_pipeline.resilience.breaker_state import BreakerEvent, EventKind
from ao_pipeline_tests.pipeline.plant import FIRST, SECOND, Plant, environment

ASANA = "source:asana"
HOLDER = "probe"


@pytest.fixture
def store(plant: Plant) -> Iterator[StateStore]:
    """A store of one good cycle, whose breaker of Asana was opened until that cycle's end."""
    with plant.store() as store:
        open_until_now(store, ASANA)
        yield store


def open_until_now(store: StateStore, name: str) -> None:
    due = int(FIRST.end.timestamp()) * 1_000_000
    store.breakers.record({name: BreakerEvent(EventKind.FORCED_OPEN, due, until_us=due, reason="their maintenance")})


@pytest.mark.parametrize("asset", ["raw/asana_projects", "raw/asana_stories", "raw/asana_tasks"])
@pytest.mark.parametrize(
    ("stats", "good_probes"),
    [({"requests": 0}, 0), ({"requests": 1}, 1), ({"requests": 0, "origin": "files"}, 1), ({}, 1)],
)
def test_only_a_probe_that_asked_counts_as_good(
    store: StateStore, asset: str, stats: dict[str, object], good_probes: int
) -> None:
    admission = admit(store, [asset], as_of={}, cycle=SECOND, holder=HOLDER)
    header = replace(store.bundles(asset=asset)[0], stats=json.dumps(stats), duration_ms=5)

    told = tell_breakers(store, SECOND, runs=[HOLDER], headers=[header])

    breaker = store.breakers.get(ASANA)
    assert (admission.probes, told.trouble) == ((asset,), "")
    assert (breaker.good_probes, breaker.probe_holder) == (good_probes, "")


def test_the_stalest_asset_of_a_source_probes_for_it(store: StateStore) -> None:
    as_of = {"raw/asana_tasks": SECOND.key, "raw/asana_stories": FIRST.key}

    admission = admit(store, sorted(as_of), as_of=as_of, cycle=SECOND, holder=HOLDER)

    assert admission.probes == ("raw/asana_stories",)


def test_files_that_stand_for_a_source_are_good_probes_of_it(plant: Plant, tmp_path: Path) -> None:
    root = tmp_path / "exports"
    (root / "Takeout" / "Google Chat" / "Groups" / "Space AAAA1").mkdir(parents=True)
    (root / "Takeout" / "Google Chat" / "Groups" / "Space AAAA1" / "messages.json").write_text('{"messages": []}')
    with plant.store() as store:
        open_until_now(store, "source:chat")
        open_until_now(store, ASANA)

    with environment(AO_FILES_DIR=str(root)) as settings:
        plant.settings = settings
        plant.cycle(SECOND)

    with plant.store() as store:
        assert [store.breakers.get(name).good_probes for name in ("source:chat", ASANA)] == [1, 1]
