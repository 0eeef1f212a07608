"""`snapshot/agency`: the one picture that people read, published only when it agrees with itself."""

from __future__ import annotations

from typing import Any

from ao_pipeline.bundles.canonical import RowSource
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.managed import Work, managed_asset
from ao_pipeline.defs.origin import source_of_asset
from ao_pipeline.normalize.tables import (
    NORM_GATES,
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MESSAGE_LINKS,
    NORM_MESSAGES,
    NORM_PROJECT_LINKS,
    NORM_PROJECTS,
    NORM_TASKS,
)
from ao_pipeline.resilience.staleness import Staleness, by_source, staleness
from ao_pipeline.snapshot.build import SNAPSHOT_VERSION, build_snapshot
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

_INPUTS = {
    "gates": NORM_GATES,
    "clients": REF_CLIENTS,
    "projects": NORM_PROJECTS,
    "project_links": NORM_PROJECT_LINKS,
    "tasks": NORM_TASKS,
    "invoices": NORM_INVOICES,
    "invoice_links": NORM_INVOICE_LINKS,
    "messages": NORM_MESSAGES,
    "message_links": NORM_MESSAGE_LINKS,
    "client_health": TRUTH_CLIENT_HEALTH,
    "commitments": TRUTH_COMMITMENTS,
    "capacity": TRUTH_CAPACITY,
}


def source_states(work: Work) -> dict[str, Staleness]:
    """Return how current each source is, and any derived input that this cycle could not compute again."""
    heads = work.store.heads()

    def state(asset: str) -> Staleness:
        head = heads.get(asset)

        def is_due(cycle: Cycle) -> bool:
            return asset not in CADENCE.interval_minutes or CADENCE.is_due(asset, cycle)

        return staleness(head.state_cycle if head else None, cycle=work.cycle, is_due=is_due)

    sources = by_source({spec.asset: state(spec.asset) for spec in RAW_TABLES}, source_of_asset)
    derived = {spec.asset: state(spec.asset) for spec in _INPUTS.values()}
    return sources | {asset: found for asset, found in derived.items() if found.is_stale}


def _facts(work: Work) -> dict[str, Any]:
    return {
        "sources": {
            source: {
                "status": "stale" if found.is_stale else "fresh",
                "as_of_cycle": found.as_of_cycle if found.is_stale else None,
            }
            for source, found in source_states(work).items()
        }
    }


@managed_asset(
    SNAPSHOT_AGENCY,
    reads=list(_INPUTS.values()),
    code_version=SNAPSHOT_VERSION,
    kinds={"pandas", "json"},
    depends_on_day=True,
    facts=_facts,
)
def snapshot_agency(work: Work) -> RowSource:
    """The agency today, one row a section, with a trust strip that names what is stale."""
    return build_snapshot(
        **{name: work.table(spec) for name, spec in _INPUTS.items()},
        sources=work.facts["sources"],
        as_of=work.as_of,
    )


SNAPSHOT_ASSETS = (snapshot_agency,)
