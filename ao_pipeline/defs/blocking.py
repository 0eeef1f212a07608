"""Checks that are part of every cycle and stop what reads the table. Few: each costs as much event log as a step (ADR 5)."""

from collections.abc import Callable
from typing import Any, Final

import dagster as dg

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.defs import collapse
from ao_pipeline.defs.resources import StateResource
from ao_pipeline.normalize.tables import NORM_GATES
from ao_pipeline.truth.tables import TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

CheckRule = Callable[[StateStore, TableSpec], tuple[bool, dict[str, Any]]]


def no_blocking_gate_failed(store: StateStore, spec: TableSpec) -> tuple[bool, dict[str, Any]]:
    """Every gate whose failure blocks holds: what is computed from these tables can be trusted."""
    rows = store.read(spec.asset).to_pylist()
    failed = sorted(row["gate"] for row in rows if row["effect"] == "block" and not row["is_passed"])
    return not failed, {"failed": ", ".join(failed) or "none"}


def _declare(spec: TableSpec, name: str, rule: CheckRule) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(spec.asset.split("/")), name=name, blocking=True, description=rule.__doc__)
    def evaluate(state: StateResource) -> dg.AssetCheckResult:
        passed, facts = rule(state.store, spec)
        return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.ERROR, metadata=facts)

    return evaluate


BLOCKING_CHECKS: Final = (
    _declare(NORM_GATES, "no_blocking_gate_failed", no_blocking_gate_failed),
    _declare(TRUTH_CLIENT_HEALTH, collapse.NAME, collapse.measure_collapse),
    _declare(TRUTH_COMMITMENTS, collapse.NAME, collapse.measure_collapse),
)

IN_CYCLE_CHECKS: Final = frozenset(key for check in BLOCKING_CHECKS for key in check.check_keys)

GATE_CHECK: Final = dg.AssetCheckKey(dg.AssetKey(["norm", "gates"]), "no_blocking_gate_failed")
"""Measures other tables; its own table is never taken back because of it."""
