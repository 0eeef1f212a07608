"""A writer is killed at its boundaries; nothing is lost, half applied or doubled, and no human is needed afterwards."""

from __future__ import annotations

from pathlib import Path

from ao_pipeline.adapters.state.model import CommitStep
from ao_pipeline_tests.stress.histories import open_empty
from ao_pipeline_tests.stress.kills import Killer
from ao_pipeline_tests.stress.tables import EVERY_TYPE

KILLS = 30
STRIDE = 4
"""`python -m ao_pipeline_tests.stress.run` kills at every boundary; here every fourth, from a different start for each kind."""


def test_a_killed_writer_leaves_all_or_nothing(database_url: str, tmp_path: Path) -> None:
    store = open_empty(database_url, EVERY_TYPE)
    killer = Killer(store, database_url, tmp_path, seed=20261122)

    killer.run(KILLS, stride=STRIDE)

    assert killer.problems == []
    assert killer.counts == {"kills": KILLS}
    assert {place.split(":")[0] for place in killer.places} == {"full", "partial", "revert"}
    assert any("COMMIT" in place for place in killer.places) or any(
        step.value in place for step in CommitStep for place in killer.places
    )
    store.close()
