"""Asana's `opt_fields`: which part of a record an answer shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from starlette.requests import Request

from ao_pipeline.sandbox.world.records import Json

_COMPACT: Final = ("gid", "resource_type", "name", "resource_subtype", "created_by")
Tree = dict[str, Any]


@lru_cache(maxsize=256)
def _parse_fields(opt_fields: str) -> Tree:
    tree: Tree = {}
    for path in opt_fields.split(","):
        node = tree
        for name in path.strip().removeprefix("this.").split("."):
            node = node.setdefault(name, {}) if name else node
    return tree


def project_fields(data: Json, tree: Tree) -> Json:
    """Return the asked fields; `gid` always comes along, a nested object without asked fields is a reference."""
    shown: Json = {"gid": data["gid"]} if "gid" in data else {}
    for name, below in tree.items():
        if name not in data:
            continue
        value = data[name]
        if isinstance(value, dict):
            shown[name] = _nested(value, below)
        elif isinstance(value, list):
            shown[name] = [_nested(item, below) if isinstance(item, dict) else item for item in value]
        else:
            shown[name] = value
    return shown


def _nested(value: Json, below: Tree) -> Json:
    if below:
        return project_fields(value, below)
    if "gid" in value:
        return {key: value[key] for key in ("gid", "resource_type") if key in value}
    return {key: _nested(item, {}) if isinstance(item, dict) else item for key, item in value.items()}


def viewer(request: Request, *, full: bool = False) -> tuple[str, Callable[[Json], Json]]:
    """Return how this request wants its records: a name for the cache, and the view."""
    opt_fields = request.query_params.get("opt_fields", "")
    if opt_fields:
        tree = _parse_fields(opt_fields)
        return opt_fields, lambda data: project_fields(data, tree)
    if full:
        return "full", lambda data: data
    return "compact", lambda data: {key: data[key] for key in _COMPACT if key in data}
