"""The trust strip and the exceptions: how far the snapshot can be believed, and what a reader must see first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ao_pipeline.normalize.rows import Row
from ao_pipeline.snapshot.sections import MAX_EXCEPTIONS, Body

SOURCES_OF: Final[dict[str, tuple[str, ...]]] = {
    "trust": ("asana", "calendar", "chat", "gmail", "xero"),
    "exceptions": ("asana", "calendar", "gmail", "xero"),
    "clients": ("asana", "gmail", "xero"),
    "delivery": ("asana",),
    "cash": ("xero",),
    "commitments": ("asana", "gmail"),
    "messages": ("gmail",),
    "capacity": ("asana", "calendar"),
}
"""Which sources stand behind a section: a stale one degrades it."""

GATES_OF: Final[dict[str, tuple[str, ...]]] = {
    "trust": ("data_integrity",),
    "exceptions": ("data_integrity",),
    "clients": ("data_integrity", "project_brand_consistency", "project_client_populated", "client_coverage"),
    "delivery": ("data_integrity",),
    "cash": ("finance_ar_coverage",),
    "commitments": ("commitment_ready",),
    "messages": (),
    "capacity": ("data_integrity", "capacity_baseline"),
}
"""Which gates speak about a section: a failed one degrades it."""

_SEVERITY: Final = {"critical": 0, "high": 1, "normal": 2}


def trust_section(gates: list[Row], sources: Mapping[str, Mapping[str, Any]]) -> Body:
    """Return gates, source freshness and one word for both.

    `blocked` when the links contradict the tables; `degraded` when a source is stale or any other gate that blocks,
    degrades or skips fails; else `healthy`. The cycle of a source is named only while it is stale, so that nothing
    here changes while everything is fresh.
    """
    failed = {row["gate"]: row["effect"] for row in gates if not row["is_passed"]}
    stale = sorted(name for name, state in sources.items() if state["status"] != "fresh")
    if "data_integrity" in failed:
        level = "blocked"
    elif stale or any(effect in {"block", "degrade", "skip"} for effect in failed.values()):
        level = "degraded"
    else:
        level = "healthy"
    measured = {row["gate"]: row["measured"] for row in gates}
    return {
        "confidence_level": level,
        "sources": {
            name: {"status": "fresh"}
            if name not in stale
            else {"status": "stale", "as_of_cycle": state.get("as_of_cycle")}
            for name, state in sorted(sources.items())
        },
        "stale_sources": stale,
        "gates": {
            row["gate"]: {
                "is_passed": row["is_passed"],
                "measured": row["measured"],
                "threshold": row["threshold"],
                "effect": row["effect"],
            }
            for row in gates
        },
        "failed_gates": sorted(failed),
        "client_coverage_ratio": measured.get("client_coverage"),
        "finance_coverage_ratio": measured.get("finance_ar_coverage"),
        "commitment_ready_ratio": measured.get("commitment_ready"),
    }


def section_status(section: str, trust: Body) -> str:
    """Return `degraded` when a stale source or a failed gate speaks about the section, else `fresh`."""
    if section == "trust":
        return "fresh" if trust["confidence_level"] == "healthy" else "degraded"
    is_stale = any(name in SOURCES_OF[section] for name in trust["stale_sources"])
    has_failed = any(name in GATES_OF[section] for name in trust["failed_gates"])
    return "degraded" if is_stale or has_failed else "fresh"


def exceptions_section(bodies: Mapping[str, Body]) -> Body:
    """Return the few things that must be seen first, worst first; ties by kind and entity."""
    found = [*_of_trust(bodies["trust"]), *_of_cash(bodies["cash"]), *_of_work(bodies)]
    found.sort(key=lambda item: (_SEVERITY[item["severity"]], -item["weight"], item["kind"], item["entity"]))
    items = [{key: value for key, value in item.items() if key != "weight"} for item in found]
    return {"exception_count": len(items), "exceptions": items[:MAX_EXCEPTIONS]}


def _item(severity: str, kind: str, entity: str, title: str, weight: float) -> dict[str, Any]:
    return {"severity": severity, "kind": kind, "entity": entity, "title": title, "weight": weight}


def _of_trust(trust: Body) -> list[dict[str, Any]]:
    items = []
    for name in trust["stale_sources"]:
        good = trust["sources"][name]["as_of_cycle"]
        title = f"{name} is stale, its last good cycle is {good}" if good else f"{name} has no good cycle yet"
        items.append(_item("high", "source_stale", name, title, 100))
    if trust["confidence_level"] == "blocked":
        count = trust["gates"]["data_integrity"]["measured"]
        items.append(_item("critical", "data_integrity", "links", f"{count:.0f} links contradict the tables", 1000))
    return items


def _of_cash(cash: Body) -> list[dict[str, Any]]:
    items = []
    for tile in cash["currencies"]:
        if tile["badge"] == "red":
            title = f"{tile['severe_ratio']:.0%} of what is owed in {tile['currency']} is 61 days late or more"
            items.append(_item("high", "cash_severe", tile["currency"], title, 100 * tile["severe_ratio"]))
    return items


def _of_work(bodies: Mapping[str, Body]) -> list[dict[str, Any]]:
    items = []
    for client in bodies["clients"]["clients"]:
        if client["is_at_risk"]:
            severity = "critical" if client["tier"] == "A" and client["score"] < 50 else "high"
            title = f"{client['name']} (tier {client['tier']}) is at risk with a score of {client['score']}"
            items.append(_item(severity, "client_at_risk", client["client_id"], title, 100 - client["score"]))
    for lane in bodies["capacity"]["lanes"]:
        if lane["is_overloaded"]:
            title = f"Lane {lane['lane_id']} is overloaded on {lane['overloaded_days']} of the next 14 days"
            items.append(_item("normal", "lane_overloaded", lane["lane_id"], title, lane["overloaded_days"]))
    for project in bodies["delivery"]["projects"]:
        if project["badge"] == "red":
            title = f"{project['name']} has {project['overdue']} of {project['open']} open tasks overdue"
            items.append(_item("normal", "project_late", project["project_id"], title, project["overdue"]))
    overdue = bodies["commitments"]["our_overdue_count"]
    if overdue:
        items.append(_item("high", "commitments_overdue", "ours", f"{overdue} of our promises are overdue", overdue))
    return items
