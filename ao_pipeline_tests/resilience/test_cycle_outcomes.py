"""A cycle's status follows from what was written in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ao_pipeline.resilience.outcome import CycleStatus, Written, judge_cycle

PUBLISHED = "snapshot/agency"
DUE = ["raw/a", "raw/b", "norm/a", PUBLISHED]


def written(*assets: str) -> dict[str, Written]:
    return {asset: Written(asset, rows_changed=2, row_count=10, duration_ms=5) for asset in assets}


@pytest.mark.parametrize(
    ("done", "stale", "status", "missing"),
    [
        (DUE, [], CycleStatus.SUCCESS, ()),
        (DUE, ["xero"], CycleStatus.DEGRADED, ()),
        (["raw/a", "norm/a", PUBLISHED], [], CycleStatus.DEGRADED, ("raw/b",)),
        (["raw/a", "raw/b", "norm/a"], [], CycleStatus.FAILED, (PUBLISHED,)),
        ([], [], CycleStatus.FAILED, tuple(sorted(DUE))),
    ],
)
def test_the_status_follows_from_what_was_written(
    done: list[str], stale: list[str], status: CycleStatus, missing: tuple[str, ...]
) -> None:
    outcome = judge_cycle(DUE, written(*done), published=PUBLISHED, stale=stale)

    assert (outcome.status, outcome.missing) == (status, missing)


def test_a_stage_is_degraded_when_a_part_and_failed_when_all_of_it_is_missing() -> None:
    outcome = judge_cycle(DUE, written("raw/a", PUBLISHED), published=PUBLISHED)

    assert {name: stage["status"] for name, stage in outcome.stages.items()} == {
        "raw": "degraded",
        "norm": "failed",
        "snapshot": "success",
    }
    assert outcome.stages["raw"]["items"] == 2
    assert outcome.stages["raw"]["duration_ms"] == 5


@given(done=st.sets(st.sampled_from(DUE)), stale=st.sets(st.sampled_from(["asana", "xero"])))
def test_success_means_that_everything_due_was_written_and_nothing_is_stale(done: set[str], stale: set[str]) -> None:
    outcome = judge_cycle(DUE, written(*done), published=PUBLISHED, stale=stale)

    assert (outcome.status is CycleStatus.SUCCESS) == (done == set(DUE) and not stale)
    assert (outcome.status is CycleStatus.FAILED) == (PUBLISHED not in done)
    assert set(outcome.missing) == set(DUE) - done
    assert outcome.rows_changed == 2 * len(done)
    assert sum(stage["missing"] for stage in outcome.stages.values()) == len(outcome.missing)
