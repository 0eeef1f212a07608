"""Puts the snapshot together, refuses one that contradicts itself, and writes it as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from ao_pipeline.bundles.canonical import canonical_json
from ao_pipeline.collect.reference_tables import REF_CLIENTS
from ao_pipeline.errors import ContractError
from ao_pipeline.normalize.rows import Frame, Row, read_rows, sort_rows
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
from ao_pipeline.snapshot import sections
from ao_pipeline.snapshot.tables import SNAPSHOT_AGENCY
from ao_pipeline.snapshot.trust import exceptions_section, section_status, trust_section
from ao_pipeline.truth.tables import TRUTH_CAPACITY, TRUTH_CLIENT_HEALTH, TRUTH_COMMITMENTS

SNAPSHOT_VERSION: Final = "1"

SECTIONS: Final = ("trust", "exceptions", "clients", "delivery", "cash", "commitments", "messages", "capacity")
"""All sections, in reading order. A snapshot has each of them, always."""

_COUNTS: Final = {
    "exceptions": ("exception_count", "exceptions", sections.MAX_EXCEPTIONS),
    "clients": ("client_count", "clients", sections.MAX_LISTED),
    "delivery": ("project_count", "projects", sections.MAX_LISTED),
    "capacity": ("lane_count", "lanes", sections.MAX_LISTED),
}


def build_snapshot(
    *,
    gates: Frame,
    clients: Frame,
    projects: Frame,
    project_links: Frame,
    tasks: Frame,
    invoices: Frame,
    invoice_links: Frame,
    messages: Frame,
    message_links: Frame,
    client_health: Frame,
    commitments: Frame,
    capacity: Frame,
    sources: Mapping[str, Mapping[str, Any]],
    as_of: date,
) -> list[Row]:
    """Build and validate the snapshot of the organisation's day.

    Args:
        gates: `norm_gates`; likewise `ref_clients` and the other `norm_` and `truth_` tables by their names.
        sources: By source: `{"status": "fresh" | "stale", "as_of_cycle": key | None}`.
        as_of: The organisation's day.

    Returns:
        Rows of `snapshot_agency`, one for each of `SECTIONS`.

    Raises:
        ContractError: The sections contradict each other. Nothing is to be published; the last snapshot stays.
    """
    names = {row["client_id"]: row["name"] for row in read_rows(clients, REF_CLIENTS)}
    invoice_rows = read_rows(invoices, NORM_INVOICES)
    message_rows = read_rows(messages, NORM_MESSAGES)
    commitment_rows = read_rows(commitments, TRUTH_COMMITMENTS)
    bodies: dict[str, sections.Body] = {
        "trust": trust_section(read_rows(gates, NORM_GATES), sources),
        "clients": sections.clients_section(read_rows(client_health, TRUTH_CLIENT_HEALTH), names),
        "delivery": sections.delivery_section(
            read_rows(projects, NORM_PROJECTS),
            read_rows(project_links, NORM_PROJECT_LINKS),
            read_rows(tasks, NORM_TASKS),
            names,
            as_of,
        ),
        "cash": sections.cash_section(invoice_rows, read_rows(invoice_links, NORM_INVOICE_LINKS), names),
        "commitments": sections.commitments_section(commitment_rows, names, as_of),
        "messages": sections.messages_section(message_rows, read_rows(message_links, NORM_MESSAGE_LINKS)),
        "capacity": sections.capacity_section(read_rows(capacity, TRUTH_CAPACITY), as_of),
    }
    bodies["exceptions"] = exceptions_section(bodies)
    counts = {"commitments": len(commitment_rows), "messages": len(message_rows)}
    rows = [_section_row(name, position, bodies, counts, as_of) for position, name in enumerate(SECTIONS, start=1)]
    validate_snapshot(rows)
    return sort_rows(rows, SNAPSHOT_AGENCY)


def _section_row(
    name: str, position: int, bodies: Mapping[str, sections.Body], counts: Mapping[str, int], as_of: date
) -> Row:
    item_counts = {
        "trust": len(bodies["trust"]["gates"]),
        "cash": bodies["cash"]["open_invoice_count"],
        **counts,
        **{section: bodies[section][count] for section, (count, _, _) in _COUNTS.items()},
    }
    return {
        "section": name,
        "position": position,
        "status": section_status(name, bodies["trust"]),
        "item_count": item_counts[name],
        "body_json": canonical_json({"as_of": as_of.isoformat(), **bodies[name]}),
    }


def read_bodies(rows: Sequence[Row]) -> dict[str, sections.Body]:
    """Return the bodies of a snapshot by section.

    Raises:
        ContractError: A body is not a JSON object.
    """
    bodies: dict[str, sections.Body] = {}
    for row in rows:
        try:
            body = json.loads(row["body_json"])
        except (TypeError, ValueError) as error:
            raise ContractError(f"section {row['section']} holds a body that is not JSON") from error
        if not isinstance(body, dict):
            raise ContractError(f"section {row['section']} holds a {type(body).__name__} where an object was agreed")
        bodies[row["section"]] = body
    return bodies


def validate_snapshot(rows: Sequence[Row]) -> None:
    """Check that a snapshot is whole and agrees with itself.

    1. Every section is there, once, with a body of the same day, and the gates were measured: never an empty snapshot.
    2. In each currency, what is owed = Σ debtors = Σ buckets, and severe debt likewise.
    3. A count is never below its list; a list is cut only when it is full.
    4. `at_risk_count` counts the clients at risk; a trust level of `healthy` has no stale source.

    Raises:
        ContractError: One of these does not hold. The message names section and figure.
    """
    if sorted(row["section"] for row in rows) != sorted(SECTIONS):
        raise ContractError(f"a snapshot needs the sections {', '.join(SECTIONS)}, each once")
    bodies = read_bodies(rows)
    if len({body.get("as_of") for body in bodies.values()}) != 1:
        raise ContractError("the sections of a snapshot are of different days")
    if not bodies["trust"]["gates"]:
        raise ContractError(
            "trust: no gate was measured, so nothing stands behind this snapshot; compute norm/gates first"
        )
    for tile in bodies["cash"]["currencies"]:
        for total, figures in (
            ("owed_minor", [debtor["owed_minor"] for debtor in tile["debtors"]]),
            ("owed_minor", list(tile["buckets"].values())),
            ("severe_minor", [debtor["severe_minor"] for debtor in tile["debtors"]]),
        ):
            if sum(figures) != tile[total]:
                raise ContractError(
                    f"cash: {total} in {tile['currency']} is {tile[total]}, its parts add up to {sum(figures)}"
                )
    for name, (count, items, limit) in _COUNTS.items():
        listed = len(bodies[name][items])
        if listed != min(bodies[name][count], limit):
            raise ContractError(f"{name}: {count} is {bodies[name][count]}, but {listed} are listed")
    clients = bodies["clients"]
    listed_at_risk = sum(client["is_at_risk"] is True for client in clients["clients"])
    if listed_at_risk != min(clients["at_risk_count"], sections.MAX_LISTED):
        raise ContractError(f"clients: at_risk_count is {clients['at_risk_count']}, but {listed_at_risk} are listed")
    if bodies["trust"]["confidence_level"] == "healthy" and bodies["trust"]["stale_sources"]:
        raise ContractError("trust: healthy although a source is stale")
