"""Asana sections: each project once a day, and never all at the same hour."""

from __future__ import annotations

import pytest

from ao_pipeline.adapters.sources import asana_sections
from ao_pipeline_tests.sources.source_engine import Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

ASSET = "raw/asana_sections"


def test_every_project_is_listed_once_within_a_day_of_hourly_collections(engine: Engine) -> None:
    projects = engine.run(ASSET).requests - 1
    listings = []

    for _ in range(24):
        engine.advance(hours=1)
        listings.append(engine.run(ASSET).requests - 1)

    assert sum(listings) == projects
    assert max(listings) < projects / 3
    assert len(engine.rows[ASSET]) == projects * 4


def test_many_projects_are_each_listed_once_in_two_days(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asana_sections, "_MOST_AN_HOUR", 0.5)
    projects = engine.run(ASSET).requests - 1
    listings = []

    for _ in range(48):
        engine.advance(hours=1)
        listings.append(engine.run(ASSET).requests - 1)

    assert 0 < sum(listings[:24]) < projects
    assert sum(listings) == projects


def test_a_collection_within_the_hour_lists_no_project_again(still_engine: Engine) -> None:
    still_engine.run(ASSET)

    assert still_engine.run(ASSET).requests == 1


def test_a_project_that_is_gone_takes_its_sections_along(engine: Engine) -> None:
    engine.run(ASSET)
    gone = next(iter(engine.rows[ASSET]))[0]
    engine.box.mutate("project", "delete", key=gone)
    engine.advance(hours=1)

    engine.run(ASSET)

    assert gone not in {key[0] for key in engine.rows[ASSET]}


def test_after_a_day_the_sections_are_the_truth(engine: Engine) -> None:
    engine.run(ASSET)
    engine.advance(days=3)

    engine.run(ASSET)

    assert_equals_truth(engine, ASSET)
