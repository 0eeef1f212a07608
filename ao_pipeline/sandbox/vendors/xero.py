"""Xero's API: shifting pages, lines only with a page, whole seconds in If-Modified-Since, deletions as states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import to_micros, utc_now
from ao_pipeline.sandbox.identity import XERO_TOKEN_SECONDS
from ao_pipeline.sandbox.replies import (
    RefusedError,
    decode_token,
    encode_token,
    form_fields,
    join_objects,
    json_reply,
    object_text,
    text_reply,
)
from ao_pipeline.sandbox.site import Site, bearer, endpoint
from ao_pipeline.sandbox.vendors.xero_access import check_basic, rate_headers
from ao_pipeline.sandbox.world.records import Json, Record

BASE: Final = SANDBOX_PATHS["xero"]
_SECOND_MICROS: Final = 1_000_000
_DEFAULT_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000


def xero_problem(status: int, title: str, detail: str) -> RefusedError:
    """Return Xero's refusal of access; raise it."""
    body: Json = {"Type": None, "Title": title, "Status": status, "Detail": detail, "Instance": None, "Extensions": {}}
    return RefusedError(json_reply(body, status=status))


def xero_invalid(message: str) -> RefusedError:
    """Return Xero's refusal of a parameter; raise it."""
    body = {"ErrorNumber": 16, "Type": "QueryParseException", "Message": message, "Elements": []}
    return RefusedError(json_reply(body, status=400))


def _check(site: Site, request: Request) -> None:
    if site.mint.read(bearer(request), "xero") is None:
        raise xero_problem(401, "Unauthorized", "AuthorizationUnsuccessful")
    tenant = request.headers.get("xero-tenant-id", "")
    if tenant != site.options.xero_tenant_id:
        raise xero_problem(403, "Forbidden", "AuthenticationUnsuccessful")
    if "json" not in request.headers.get("accept", ""):
        # The vendor answers XML unless asked for JSON.
        xml = '<?xml version="1.0" encoding="utf-8"?><Response><Status>OK</Status></Response>'
        raise RefusedError(Response(xml, media_type="text/xml"))


def _since(request: Request) -> int | None:
    raw = request.headers.get("if-modified-since")
    if not raw:
        return None
    try:
        moment = datetime.fromisoformat(raw.replace("Z", "+00:00")) if raw[:4].isdigit() else parsedate_to_datetime(raw)
    except ValueError as error:
        raise xero_invalid(f"If-Modified-Since: {raw} is not a date") from error
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return to_micros(moment) // _SECOND_MICROS * _SECOND_MICROS


def _positive(request: Request, name: str, default: int) -> int:
    raw = request.query_params.get(name)
    if raw is None:
        return default
    if not raw.isdigit() or int(raw) < 1:
        raise xero_invalid(f"{name} must be a positive number")
    return int(raw)


def _ordered(request: Request, records: list[Record], key: str) -> list[Record]:
    order = request.query_params.get("order", "")
    if not order:
        return sorted(records, key=lambda record: record.key)
    name, _, direction = order.partition(" ")
    if name not in ("UpdatedDateUTC", "Date", "InvoiceNumber", "Name", key):
        raise xero_invalid(f"No property or field '{name}' exists")
    by: Callable[[Record], Any] = lambda record: (str(record.data.get(name, "")), record.key)  # noqa: E731
    if name == "UpdatedDateUTC":
        by = lambda record: (record.at, record.key)  # noqa: E731
    return sorted(records, key=by, reverse=direction.upper() == "DESC")


def _without_lines(data: Json) -> Json:
    return {**data, "LineItems": []} if "LineItems" in data else data


def _listing(site: Site, request: Request, plural: str, collection: str, key: str) -> Response:
    _check(site, request)
    since, query = _since(request), request.query_params
    records = list(site.world()[collection].records.values())
    if since is not None:
        records = [record for record in records if record.at // _SECOND_MICROS * _SECOND_MICROS >= since]
    if plural == "Contacts" and query.get("includeArchived", "").lower() != "true":
        records = [record for record in records if record.data["ContactStatus"] != "ARCHIVED"]
    if "Statuses" in query:
        wanted = set(query["Statuses"].split(","))
        records = [record for record in records if record.data.get("Status") in wanted]
    records = _ordered(request, records, key)
    now = site.clock.micros() // 1000
    head: dict[str, Any] = {
        "Id": f"{now:032x}",
        "Status": "OK",
        "ProviderName": "Sandbox",
        "DateTimeUTC": f"/Date({now})/",
    }
    headers = rate_headers(site)
    if "page" not in query:
        rows = join_objects(record.text("without_lines", _without_lines) for record in records)
        return text_reply(object_text(head, **{plural: rows}), headers=headers)
    page, size = _positive(request, "page", 1), min(_positive(request, "pageSize", _DEFAULT_PAGE), _LARGEST_PAGE)
    head["pagination"] = {
        "page": page,
        "pageSize": size,
        "pageCount": -(-len(records) // size),
        "itemCount": len(records),
    }
    rows = join_objects(record.text("full") for record in records[(page - 1) * size : page * size])
    return text_reply(object_text(head, **{plural: rows}), headers=headers)


async def list_invoices(site: Site, request: Request) -> Response:
    """GET Invoices."""
    return _listing(site, request, "Invoices", "invoices", "InvoiceID")


async def list_contacts(site: Site, request: Request) -> Response:
    """GET Contacts; archived ones only with includeArchived."""
    return _listing(site, request, "Contacts", "contacts", "ContactID")


async def list_payments(site: Site, request: Request) -> Response:
    """GET Payments, the deleted ones among them."""
    return _listing(site, request, "Payments", "payments", "PaymentID")


async def list_credit_notes(site: Site, request: Request) -> Response:
    """GET CreditNotes."""
    return _listing(site, request, "CreditNotes", "credit_notes", "CreditNoteID")


async def get_document(site: Site, request: Request) -> Response:
    """GET Invoices/{id}, Contacts/{id} or Payments/{id}."""
    _check(site, request)
    plural = request.url.path.removeprefix(BASE).split("/")[1]
    record = site.world()[plural.lower()].records.get(request.path_params["id"].lower())
    if record is None:
        raise xero_problem(404, "NotFound", "The resource you're looking for cannot be found")
    now = site.clock.micros() // 1000
    return text_reply(
        object_text({"Status": "OK", "DateTimeUTC": f"/Date({now})/"}, **{plural: f"[{record.text('full')}]"})
    )


async def list_connections(site: Site, request: Request) -> Response:
    """GET connections: the organisations that the token reaches."""
    if site.mint.read(bearer(request), "xero") is None:
        raise xero_problem(401, "Unauthorized", "AuthorizationUnsuccessful")
    return json_reply([{"tenantId": site.options.xero_tenant_id, "tenantType": "ORGANISATION", "tenantName": "Agency"}])


async def issue_token(site: Site, request: Request) -> Response:
    """POST the identity endpoint: client credentials, or a refresh token that is replaced at each use."""
    form = await form_fields(request)
    if not check_basic(site, request, form):
        return json_reply({"error": "invalid_client"}, status=400)
    grant = form.get("grant_type", "")
    body: Json = {"expires_in": XERO_TOKEN_SECONDS, "token_type": "Bearer", "scope": form.get("scope", "")}
    if grant == "refresh_token":
        values = decode_token(form.get("refresh_token", ""), "refresh", int)
        if values is None or not site.refresh_chain.use(values[0]):
            return json_reply({"error": "invalid_grant"}, status=400)
        body["refresh_token"] = encode_token("refresh", values[0] + 1)
    elif grant != "client_credentials":
        return json_reply({"error": "unsupported_grant_type"}, status=400)
    now = int(utc_now().timestamp())
    body["access_token"] = site.mint.issue(
        "xero", site.options.xero_client_id, seconds=XERO_TOKEN_SECONDS, extra=str(now)
    )
    return json_reply(body)


ROUTES: Final = [
    Route(SANDBOX_PATHS["xero_token"], endpoint(issue_token), methods=["POST"]),
    Route("/xero/connections", endpoint(list_connections)),
    *(
        Route(BASE + path, endpoint(handler))
        for path, handler in (
            ("/Invoices", list_invoices),
            ("/Contacts", list_contacts),
            ("/Payments", list_payments),
            ("/CreditNotes", list_credit_notes),
            ("/Invoices/{id}", get_document),
            ("/Contacts/{id}", get_document),
            ("/Payments/{id}", get_document),
        )
    ),
]
