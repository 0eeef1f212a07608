"""Asana sections: each project's are listed once a day or two, at an hour of its own, because nothing tells their changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from ao_pipeline.adapters.sources.asana import PAGE_SIZE, list_projects
from ao_pipeline.adapters.sources.exchange import Params
from ao_pipeline.adapters.sources.http import SourceClient, name_culprit
from ao_pipeline.adapters.sources.outcome import (
    absent_keys,
    collected,
    full_listing,
    key_table,
    left_scopes,
    next_cursor,
)
from ao_pipeline.adapters.sources.request import CollectionRequest
from ao_pipeline.adapters.sources.rotation import slot_of, widened
from ao_pipeline.adapters.sources.walk import asana_records
from ao_pipeline.clock import EPOCH, to_iso
from ao_pipeline.collect.batch import Batch
from ao_pipeline.collect.contracts import asana as contracts
from ao_pipeline.collect.parse.asana import parse_section
from ao_pipeline.collect.result import Collected, Cursor, Drift
from ao_pipeline.collect.tables import RAW_ASANA_SECTIONS
from ao_pipeline.errors import AoError

_HOUR: Final = timedelta(hours=1)
_SLOTS: Final = 24
"""A project's listing costs a request, so one in twenty-four is made each hour."""

_MOST_AN_HOUR: Final = 20
"""Listings an hour, on average. Up to 480 projects are listed once a day, twice as many every two days, and so on. Tasks
bring the name of their section along, so little waits for it."""


def collect_sections(request: CollectionRequest) -> Collected:
    """Collect `raw/asana_sections`: all of them first, then those of projects that are new or whose hour has come."""
    spec = RAW_ASANA_SECTIONS
    drift = Drift()
    batch = Batch(spec, contracts.SECTION, parse_section, drift)
    with request.open("asana") as client:
        projects = [record["gid"] for record in list_projects(client, request, fields=contracts.KEY_FIELDS)]
        known = set((request.cursor or {}).get("projects", ()))
        last = datetime.fromisoformat(str(request.cursor["listed_at"])) if request.cursor and known else None
        slots = widened(_SLOTS, len(projects), most=_MOST_AN_HOUR)
        due = [gid for gid in projects if last is None or gid not in known or _has_come(gid, last, request.now, slots)]
        for gid, records in zip(due, client.each(lambda gid: _list_sections(client, gid), due), strict=True):
            for record in records:
                batch.add(record, scope={"project_gid": gid})
        new_cursor: Cursor = {
            "generation": request.generation() + (last is None),
            "listed_at": to_iso(request.now),
            "projects": projects,
        }
        cursor = next_cursor(request, batch, new_cursor, empty={"generation": 0})
        if last is None:
            return full_listing(request, client, spec, batch, cursor=cursor, drift=drift)
        deleted = left_scopes(request, spec, known=known, present=projects, column="project_gid").to_pylist()
        if due:
            kept = key_table(spec, batch.keys | batch.quarantined_keys)
            stored = request.stored_table(spec.asset, ("project_gid",), only=due)
            deleted += absent_keys(spec, stored, kept).to_pylist()
        return collected(
            client,
            spec,
            batch.table(),
            cursor=cursor,
            drift=drift,
            deleted=key_table(spec, {(row["project_gid"], row["section_gid"]) for row in deleted}),
            quarantined=batch.quarantined,
        )


def _has_come(gid: str, last: datetime, now: datetime, slots: int) -> bool:
    """Return whether the project's hour of the round began after `last` and not after `now`."""
    first, final = (last - EPOCH) // _HOUR + 1, (now - EPOCH) // _HOUR
    return first + (slot_of(gid, slots) - first) % slots <= final


def _list_sections(client: SourceClient, gid: str) -> list[dict[str, Any]]:
    params: Params = {"limit": PAGE_SIZE, "opt_fields": contracts.SECTION_FIELDS}
    try:
        return asana_records(client, contracts.SECTIONS_PAGE, f"/projects/{quote(gid, safe='')}/sections", params)
    except AoError as error:
        raise name_culprit(error, f"project {gid}") from error
