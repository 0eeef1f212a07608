"""Projects, and the brand and client that each belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo

from ao_pipeline.collect.reference_tables import REF_BRANDS, REF_CLIENTS
from ao_pipeline.collect.tables import RAW_ASANA_PROJECTS
from ao_pipeline.normalize.rows import (
    Frame,
    Row,
    fold_name,
    has_words,
    load_list,
    read_rows,
    sort_rows,
    starts_with_words,
)
from ao_pipeline.normalize.tables import NORM_PROJECT_LINKS, NORM_PROJECTS

PROJECTS_VERSION: Final = "1"
PROJECT_LINKS_VERSION: Final = "1"

INTERNAL_PREFIX: Final = "internal:"
"""How people mark the agency's own projects in Asana. Such a project has no client, ever."""

_RETAINER_WORDS: Final = ("retainer", "monthly")
_CAMPAIGN_WORDS: Final = ("campaign", "activation")
_HEALTH_BY_COLOR: Final = {
    "green": "on_track",
    "complete": "on_track",
    "yellow": "at_risk",
    "orange": "at_risk",
    "red": "off_track",
}


def normalize_projects(projects: Frame, *, zone: ZoneInfo) -> list[Row]:
    """Describe every project in our own words.

    Args:
        projects: `raw_asana_projects`.
        zone: The organisation's time zone.

    Returns:
        Rows of `norm_projects`. A status colour that is not known gives health `unknown`.
    """
    rows = []
    for raw in read_rows(projects, RAW_ASANA_PROJECTS):
        name = raw["name"] or ""
        folded = fold_name(name)
        created_at = raw["created_at"]
        rows.append(
            {
                "project_id": raw["project_gid"],
                "name": name,
                "name_normalized": folded,
                "is_internal": name.strip().casefold().startswith(INTERNAL_PREFIX),
                "is_archived": bool(raw["is_archived"]),
                "engagement_type": _engagement_type(folded),
                "health": _HEALTH_BY_COLOR.get(raw["status_color"] or "", "unknown"),
                "owner_gid": raw["owner_gid"],
                "due_on": raw["due_on"],
                "created_on": created_at.astimezone(zone).date() if created_at is not None else None,
            }
        )
    return sort_rows(rows, NORM_PROJECTS)


def link_projects(projects: Frame, brands: Frame, clients: Frame) -> list[Row]:
    """Find each project's brand, and through it the client.

    The longest declared prefix wins, then the longest brand name that the project's name begins with. Two brands that
    fit equally well give `ambiguous`, never a guess.

    Args:
        projects: `norm_projects`.
        brands: `ref_brands`.
        clients: `ref_clients`.

    Returns:
        Rows of `norm_project_links`.
    """
    client_ids = {row["client_id"] for row in read_rows(clients, REF_CLIENTS)}
    brand_rows = read_rows(brands, REF_BRANDS)
    client_of_brand = {row["brand_id"]: row["client_id"] for row in brand_rows}
    prefixes = [
        (fold_name(prefix), row["brand_id"]) for row in brand_rows for prefix in load_list(row["project_prefixes_json"])
    ]
    names = [(fold_name(row["name"]), row["brand_id"]) for row in brand_rows]
    links = []
    for project in read_rows(projects, NORM_PROJECTS):
        brand_id, rule = None, "internal"
        status = "not_applicable"
        client_id = None
        if not project["is_internal"]:
            brand_id, rule = _find_brand(project["name_normalized"], prefixes, names)
            client_id = client_of_brand.get(brand_id) if brand_id is not None else None
            client_id = client_id if client_id in client_ids else None
            status = "unlinked" if brand_id is None else "linked" if client_id is not None else "partial"
        links.append(
            {
                "project_id": project["project_id"],
                "brand_id": brand_id,
                "client_id": client_id,
                "link_status": status,
                "rule": rule,
            }
        )
    return sort_rows(links, NORM_PROJECT_LINKS)


def _engagement_type(folded: str) -> str:
    if any(has_words(folded, word) for word in _RETAINER_WORDS):
        return "retainer"
    if any(has_words(folded, word) for word in _CAMPAIGN_WORDS):
        return "campaign"
    return "project"


def _find_brand(
    folded: str, prefixes: Iterable[tuple[str, str]], names: Iterable[tuple[str, str]]
) -> tuple[str | None, str]:
    for rule, candidates in (("prefix", prefixes), ("brand_name", names)):
        hits = [(len(words), brand_id) for words, brand_id in candidates if starts_with_words(folded, words)]
        if not hits:
            continue
        longest = max(length for length, _ in hits)
        brand_ids = sorted({brand_id for length, brand_id in hits if length == longest})
        return (brand_ids[0], rule) if len(brand_ids) == 1 else (None, "ambiguous")
    return None, "none"
