"""Google Drive's API: file metadata by field mask, and the changes since a page token that never expires by age."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.clock import from_micros, to_iso
from ao_pipeline.sandbox.replies import decode_token, encode_token, json_reply
from ao_pipeline.sandbox.site import Site, endpoint
from ao_pipeline.sandbox.vendors.google import google_caller, google_error, page_size
from ao_pipeline.sandbox.world.records import Json, Record
from ao_pipeline.sandbox.world.workspace import FILES

BASE: Final = SANDBOX_PATHS["drive"]
_DEFAULT_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000
_DEFAULT_FIELDS: Final = "kind,incompleteSearch,nextPageToken,newStartPageToken,files(kind,id,name,mimeType),changes"
_MASK_TOKEN: Final = re.compile(r"[^(),]+|[(),]")
Mask = dict[str, Any]


def read_mask(text: str) -> Mask:
    """Return a field mask such as `a,b(c,d)` as a tree."""
    root: Mask = {}
    stack, name = [root], ""
    for token in _MASK_TOKEN.findall(text.replace(" ", "")):
        if token == "(":
            stack.append(stack[-1].setdefault(name, {}))
        elif token == ")":
            if len(stack) == 1:
                raise google_error(400, f"Invalid field selection {text}", "invalidParameter", location="fields")
            stack.pop()
        elif token != ",":
            name = token
            stack[-1].setdefault(name, {})
    return root


def apply_mask(value: Any, mask: Mask) -> Any:
    """Return the asked parts; an empty mask asks for everything below."""
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [apply_mask(item, mask) for item in value]
    if isinstance(value, dict):
        return {key: apply_mask(item, mask[key]) for key, item in value.items() if key in mask}
    return value


def _reply(request: Request, body: Json) -> Response:
    return json_reply(apply_mask(body, read_mask(request.query_params.get("fields") or _DEFAULT_FIELDS)))


def _invalid_token() -> Exception:
    return google_error(400, "Invalid Value", "invalid", location="pageToken", locationType="parameter")


async def list_files(site: Site, request: Request) -> Response:
    """GET files, trashed ones included."""
    google_caller(site, request, "drive")
    records = site.world()[FILES].in_order()
    token = request.query_params.get("pageToken")
    if token:
        values = decode_token(token, "files", str)
        if values is None:
            raise _invalid_token()
        records = [record for record in records if record.key > values[0]]
    limit = page_size(request, "pageSize", default=_DEFAULT_PAGE, cap=_LARGEST_PAGE)
    page = records[:limit]
    body: Json = {"kind": "drive#fileList", "incompleteSearch": False, "files": [record.data for record in page]}
    if len(records) > limit:
        body["nextPageToken"] = encode_token("files", page[-1].key)
    return _reply(request, body)


async def get_start(site: Site, request: Request) -> Response:
    """GET changes/startPageToken."""
    google_caller(site, request, "drive")
    sequence = site.world()[FILES].sequence
    return json_reply({"kind": "drive#startPageToken", "startPageToken": str(sequence)})


def _change(record: Record) -> Json:
    change: Json = {
        "kind": "drive#change",
        "type": "file",
        "changeType": "file",
        "time": to_iso(from_micros(record.at)),
        "removed": record.is_dropped,
        "fileId": record.key,
    }
    return change if record.is_dropped else {**change, "file": record.data}


async def list_changes(site: Site, request: Request) -> Response:
    """GET changes: each changed file once, as it is now."""
    google_caller(site, request, "drive")
    collection, token = site.world()[FILES], request.query_params.get("pageToken", "")
    if not token.isdigit() or not site.expired_before.get("drive", 0) <= int(token) <= collection.sequence:
        raise _invalid_token()
    changed = sorted(collection.changed_after(int(token)), key=lambda item: item.sequence)
    limit = page_size(request, "pageSize", default=_DEFAULT_PAGE, cap=_LARGEST_PAGE)
    page = changed[:limit]
    body: Json = {"kind": "drive#changeList", "changes": [_change(record) for record in page]}
    if len(changed) > limit:
        body["nextPageToken"] = str(page[-1].sequence)
    else:
        body["newStartPageToken"] = str(collection.sequence)
    return _reply(request, body)


ROUTES: Final = [
    Route(BASE + "/files", endpoint(list_files)),
    Route(BASE + "/changes/startPageToken", endpoint(get_start)),
    Route(BASE + "/changes", endpoint(list_changes)),
]
