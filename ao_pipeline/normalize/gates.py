"""The ten data-quality gates: named predicates over the normalized tables. They measure; they repair nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENTS, REF_LANES
from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
from ao_pipeline.normalize.tables import (
    NORM_GATES,
    NORM_INVOICE_LINKS,
    NORM_INVOICES,
    NORM_MESSAGES,
    NORM_PROJECT_LINKS,
    NORM_PROJECTS,
    NORM_TASK_LINKS,
    NORM_TASKS,
)

GATES_VERSION: Final = "1"

READY_BODY_CHARACTERS: Final = 50
"""A mail with less text than this cannot hold a promise worth finding."""


@dataclass(frozen=True)
class Gate:
    """What one gate demands and what its failure means."""

    effect: str
    comparison: str
    threshold: float


GATES: Final[dict[str, Gate]] = {
    "data_integrity": Gate("block", "at_most", 0),
    "project_brand_required": Gate("degrade", "at_most", 0),
    "project_brand_consistency": Gate("block", "at_most", 0),
    "project_client_populated": Gate("degrade", "at_most", 0),
    "internal_project_client_null": Gate("warn", "at_most", 0),
    "client_coverage": Gate("degrade", "at_least", 0.80),
    "commitment_ready": Gate("degrade", "at_least", 0.50),
    "capacity_baseline": Gate("skip", "at_most", 0),
    "finance_ar_coverage": Gate("degrade", "at_least", 0.95),
    "finance_ar_clean": Gate("info", "at_most", 0),
}
"""Only a contradiction blocks. A project without a brand is a gap: it degrades what is said about clients, and somebody
creates one every week, so blocking on it would stop the truth of all other projects as well."""


def evaluate_gates(
    *,
    projects: Frame,
    project_links: Frame,
    tasks: Frame,
    task_links: Frame,
    messages: Frame,
    invoices: Frame,
    invoice_links: Frame,
    brands: Frame,
    clients: Frame,
    lanes: Frame,
) -> list[Row]:
    """Measure every gate.

    Args:
        projects: `norm_projects`; likewise the other `norm_` and `ref_` tables by their names.

    Returns:
        Rows of `norm_gates`, all ten, always. A ratio over nothing is 1.0: no data fails no gate.
    """
    task_link_rows = read_rows(task_links, NORM_TASK_LINKS)
    project_rows = {row["project_id"]: row for row in read_rows(projects, NORM_PROJECTS)}
    client_of_brand = {row["brand_id"]: row["client_id"] for row in read_rows(brands, REF_BRANDS)}
    client_ids = frozenset(row["client_id"] for row in read_rows(clients, REF_CLIENTS))
    linkable = [row for row in task_link_rows if row["client_link_status"] != "not_applicable"]
    breaks = count_integrity_breaks(
        read_rows(tasks, NORM_TASKS), task_link_rows, project_rows, client_of_brand, client_ids
    )
    bodies = [row["body"] or "" for row in read_rows(messages, NORM_MESSAGES)]
    measured = {
        "data_integrity": float(breaks),
        "client_coverage": _ratio([row["client_link_status"] == "linked" for row in linkable]),
        "commitment_ready": _ratio([len(body) >= READY_BODY_CHARACTERS for body in bodies]),
        "capacity_baseline": float(sum((row["weekly_hours"] or 0) <= 0 for row in read_rows(lanes, REF_LANES))),
        **_measure_projects(read_rows(project_links, NORM_PROJECT_LINKS), project_rows, client_of_brand),
        **_measure_receivables(read_rows(invoices, NORM_INVOICES), read_rows(invoice_links, NORM_INVOICE_LINKS)),
    }
    rows = [
        {
            "gate": name,
            "is_passed": measured[name] >= gate.threshold
            if gate.comparison == "at_least"
            else measured[name] <= gate.threshold,
            "measured": measured[name],
            "threshold": float(gate.threshold),
            "comparison": gate.comparison,
            "effect": gate.effect,
        }
        for name, gate in GATES.items()
    ]
    return sort_rows(rows, NORM_GATES)


def count_integrity_breaks(
    tasks: list[Row],
    links: list[Row],
    projects: Mapping[str, Row],
    client_of_brand: Mapping[str, str],
    client_ids: frozenset[str],
) -> int:
    """Return how many task links say something that the tables they point at do not.

    1. Every task has one link row, and no link row is without its task.
    2. `linked`: the project exists; unless internal, its brand and client exist.
    3. `unlinked`: there is no project id.
    4. `partial`: there is a project id, and the chain is really broken.
    5. A linked client: brand and client exist, and the project is not internal.
    6. `not_applicable`: the project is internal.
    """
    breaks = len({row["task_id"] for row in tasks} ^ {row["task_id"] for row in links})
    for link in links:
        project = projects.get(link["project_id"])
        is_internal = _is_internal(project)
        reaches_client = client_of_brand.get(link["brand_id"]) in client_ids
        holds = {
            "linked": project is not None and (is_internal or reaches_client),
            "unlinked": link["project_id"] is None,
            "partial": link["project_id"] is not None and not (project is not None and reaches_client),
        }.get(link["project_link_status"], False)
        if link["client_link_status"] == "linked":
            holds = holds and reaches_client and not is_internal and link["client_id"] in client_ids
        elif link["client_link_status"] == "not_applicable":
            holds = holds and is_internal
        breaks += not holds
    return breaks


def _is_internal(project: Row | None) -> bool:
    return project is not None and bool(project["is_internal"])


def _is_live_outer(project: Row | None) -> bool:
    # Archived projects are history: a brand that was never set there must not stop today's truth.
    return project is not None and not project["is_internal"] and not project["is_archived"]


def _ratio(flags: list[bool]) -> float:
    return round(sum(flags) / len(flags), 4) if flags else 1.0


def _measure_receivables(invoices: list[Row], links: list[Row]) -> dict[str, float]:
    linked = {row["invoice_id"] for row in links if row["client_id"] is not None}
    open_rows = [row for row in invoices if row["is_open_ar"]]
    covered = [row["due_on"] is not None and row["invoice_id"] in linked for row in open_rows]
    unclean = sum(not row["is_valid_ar"] or row["invoice_id"] not in linked for row in open_rows)
    return {"finance_ar_coverage": _ratio(covered), "finance_ar_clean": float(unclean)}


def _measure_projects(
    links: list[Row], projects: Mapping[str, Row], client_of_brand: Mapping[str, str]
) -> dict[str, float]:
    outer = [row for row in links if _is_live_outer(projects.get(row["project_id"]))]
    odd = [row for row in outer if row["client_id"] not in {None, client_of_brand.get(row["brand_id"])}]
    internal = [row for row in links if _is_internal(projects.get(row["project_id"]))]
    return {
        "project_brand_required": float(sum(row["brand_id"] is None for row in outer)),
        "project_brand_consistency": float(len(odd)),
        "project_client_populated": float(sum(row["client_id"] is None for row in outer)),
        "internal_project_client_null": float(sum(row["client_id"] is not None for row in internal)),
    }
