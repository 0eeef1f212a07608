"""The test's own door: move the clock, change objects, inject faults, read the truth. No vendor has these paths."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import to_iso
from ao_pipeline.sandbox.mutations import mutate
from ao_pipeline.sandbox.replies import RefusedError, join_objects, json_reply, text_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.world.records import Record
from ao_pipeline.sandbox.world.stories import COMMENTS, stories_of

TRUTH: Final = {
    "raw_asana_users": ("users",),
    "raw_asana_projects": ("projects",),
    "raw_asana_sections": ("sections",),
    "raw_asana_tasks": ("tasks",),
    "raw_asana_stories": ("tasks",),
    "raw_gmail_messages": ("mails:",),
    "raw_calendar_calendars": ("calendars",),
    "raw_calendar_events": ("events:",),
    "raw_chat_spaces": ("spaces",),
    "raw_chat_members": ("memberships",),
    "raw_chat_messages": ("chats:",),
    "raw_gtasks_lists": ("tasklists",),
    "raw_gtasks_tasks": ("gtasks:",),
    "raw_people_contacts": ("people",),
    "raw_drive_files": ("files",),
    "raw_xero_contacts": ("contacts",),
    "raw_xero_invoices": ("invoices",),
    "raw_xero_payments": ("payments",),
    "raw_xero_credit_notes": ("credit_notes",),
}
"""Which collections hold the vendor objects behind a raw table; a name that ends in `:` stands for all of its kind.

Stories are those of every task."""
EXPIRING: Final = ("gmail", "calendar", "people", "drive")
_WITH_TOMBSTONES: Final = frozenset({"raw_chat_messages", "raw_calendar_events"})
"""Deleted chat messages keep their row; cancelled events stay visible as tombstones."""


def bad_request(message: str) -> RefusedError:
    """Return a refusal that names what is wrong; raise it."""
    return RefusedError(json_reply({"error": message}, status=400))


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise bad_request(f"body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("body must be a JSON object")
    return body


def _state(site: Site) -> dict[str, Any]:
    world = site.world()
    return {
        "seed": site.options.seed,
        "size": site.options.size.name,
        "now": to_iso(site.clock.now()),
        "is_frozen": site.clock.frozen_at is not None,
        "anchored_at_micros": world.anchor,
        "changes_applied": world.changes_applied,
        "requests_served": site.requests_served,
        "faults": len(site.faults.faults),
        "fault_hits": site.faults.hits,
        "webhook_messages": len(site.webhook_messages),
        "counts": world.counts(),
    }


async def health(site: Site, request: Request) -> Response:
    """GET /health."""
    return json_reply({"status": "ok"})


async def get_state(site: Site, request: Request) -> Response:
    """GET /admin/state."""
    return json_reply(_state(site))


async def set_clock(site: Site, request: Request) -> Response:
    """POST /admin/clock with `frozen_at` (ISO instant or null) or `advance_seconds`."""
    body = await _body(request)
    if "advance_seconds" in body:
        seconds = body["advance_seconds"]
        if not isinstance(seconds, int | float) or seconds < 0:
            raise bad_request("advance_seconds must be a number, 0 or more")
        site.clock.advance(float(seconds))
    elif "frozen_at" in body:
        site.set_clock(None if body["frozen_at"] is None else parse_instant(str(body["frozen_at"])))
    else:
        raise bad_request("give frozen_at or advance_seconds")
    return json_reply(_state(site))


def parse_instant(text: str) -> datetime:
    """Return an aware instant; text without a zone is UTC.

    Raises:
        RefusedError: The text is not ISO 8601.
    """
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise bad_request(f"{text!r} is not an ISO 8601 instant") from error
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


async def post_mutation(site: Site, request: Request) -> Response:
    """POST /admin/mutate with kind, action, and key or fields; answer the key and the object."""
    try:
        return json_reply(mutate(site.world(), await _body(request)))
    except ValueError as error:
        raise bad_request(str(error)) from error


async def post_fault(site: Site, request: Request) -> Response:
    """POST /admin/fault."""
    try:
        site.faults.add(await _body(request))
    except ValueError as error:
        raise bad_request(str(error)) from error
    return json_reply({"faults": len(site.faults.faults)})


async def post_fault_script(site: Site, request: Request) -> Response:
    """POST /admin/fault-script with `seed`, and `count`, `within_seconds` and `sources` where not the defaults."""
    body = await _body(request)
    try:
        made = site.faults.script(
            int(body["seed"]),
            count=int(body.get("count", 5)),
            within_seconds=float(body.get("within_seconds", 0)),
            sources=[str(name) for name in body.get("sources", ())] or sorted(set(SANDBOX_PATHS) - {"webhook"}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise bad_request(f"a fault script needs a seed and numbers: {error}") from error
    return json_reply({"script": made})


async def delete_faults(site: Site, request: Request) -> Response:
    """DELETE /admin/fault: end all of them."""
    site.faults.clear()
    return json_reply({"faults": 0})


async def post_expiry(site: Site, request: Request) -> Response:
    """POST /admin/expire with a source whose cursors expire: every one given so far is now too old."""
    source = (await _body(request)).get("source")
    if source not in EXPIRING:
        raise bad_request(f"source must be one of {EXPIRING}")
    latest = max(collection.sequence for collection in site.world().collections.values())
    site.expired_before[source] = max(latest, site.clock.micros()) + 1
    return json_reply({"source": source})


async def get_truth(site: Site, request: Request) -> Response:
    """GET /admin/truth/{table}: the vendor objects behind a raw table, each with its place, by place and key."""
    table = request.path_params["table"]
    if table not in TRUTH:
        raise RefusedError(json_reply({"error": f"no table {table}; known: {sorted(TRUTH)}"}, status=404))
    rows: list[str] = []
    for name, collection in sorted(site.world().collections.items()):
        if not any(name == wanted or (wanted.endswith(":") and name.startswith(wanted)) for wanted in TRUTH[table]):
            continue
        place = json.dumps(name.partition(":")[2])
        found: list[Record] = list(collection.records.values())
        found += collection.tombstones.values() if table in _WITH_TOMBSTONES else []
        if table == "raw_asana_stories":
            found = [story for task in found for story in stories_of(task.data, site.world()[COMMENTS])]
        rows += (f'{{"in":{place},"object":{record.text("full")}}}' for record in sorted(found, key=lambda r: r.key))
    return text_reply(f'{{"table":"{table}","count":{len(rows)},"rows":{join_objects(rows)}}}')


ROUTES: Final = [
    Route("/health", endpoint(health)),
    Route("/admin/state", endpoint(get_state)),
    Route("/admin/clock", endpoint(set_clock), methods=["POST"]),
    Route("/admin/mutate", endpoint(post_mutation), methods=["POST"]),
    Route("/admin/fault", endpoint(post_fault), methods=["POST"]),
    Route("/admin/fault-script", endpoint(post_fault_script), methods=["POST"]),
    Route("/admin/fault", endpoint(delete_faults), methods=["DELETE"]),
    Route("/admin/expire", endpoint(post_expiry), methods=["POST"]),
    Route("/admin/truth/{table}", endpoint(get_truth)),
]
