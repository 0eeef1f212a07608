"""A cycle's status is a function of what was written in it, never of what a run said about itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CycleStatus(StrEnum):
    """How a cycle ended."""

    SUCCESS = "success"
    DEGRADED = "degraded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Written:
    """One asset's newest bundle of the cycle."""

    asset: str
    rows_changed: int
    row_count: int
    duration_ms: int


@dataclass(frozen=True)
class Outcome:
    """The cycle's status, what is missing, and a breakdown by stage for logs and metrics."""

    status: CycleStatus
    missing: tuple[str, ...]
    stages: dict[str, dict[str, Any]]
    rows_changed: int


def judge_cycle(
    expected: Iterable[str], written: Mapping[str, Written], *, published: str, stale: Iterable[str] = ()
) -> Outcome:
    """Judge a cycle.

    Args:
        expected: Assets that were due.
        written: What has a bundle in this cycle, by asset.
        published: The asset without which the cycle has no result.
        stale: Inputs that are older than they should be.

    Returns:
        `failed` when nothing was published; `degraded` when something due is missing or stale; else `success`.
    """
    due = sorted(expected)
    missing = tuple(asset for asset in due if asset not in written)
    if published not in written:
        status = CycleStatus.FAILED
    elif missing or list(stale):
        status = CycleStatus.DEGRADED
    else:
        status = CycleStatus.SUCCESS
    stages: dict[str, dict[str, Any]] = {}
    for asset in due:
        stage = stages.setdefault(
            asset.split("/", 1)[0], {"status": "success", "items": 0, "duration_ms": 0, "missing": 0}
        )
        found = written.get(asset)
        if found is None:
            stage["missing"] += 1
        else:
            stage["items"] += found.rows_changed
            stage["duration_ms"] += found.duration_ms
    for name, stage in stages.items():
        total = sum(1 for asset in due if asset.split("/", 1)[0] == name)
        if stage["missing"]:
            stage["status"] = "failed" if stage["missing"] == total else "degraded"
    return Outcome(status, missing, stages, sum(item.rows_changed for item in written.values()))
