"""The vendors' own descriptions, where they lie beside the project: which operation a request is, and what may be in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import yaml

from ao_pipeline.addresses import SANDBOX_PATHS
from ao_pipeline.settings import PROJECT_DIR

CONTRACTS = PROJECT_DIR.parent / "shared" / "contracts"

SERVER_PATHS = {"asana": "/asana/api/1.0", "xero": "/xero/api.xro/2.0", "gtasks": "/tasks"}
"""What the sandbox puts before the paths of a description: its mount, and the path of the description's server."""

SOURCES = ("asana", "gmail", "calendar", "chat", "gtasks", "people", "drive", "xero")


@dataclass(frozen=True)
class Operation:
    """One GET of a description."""

    path: str
    expression: re.Pattern[str]
    query: dict[str, dict[str, Any]]
    """Schema of each query parameter."""
    responses: dict[str, Any]


class Description:
    """One vendor's description."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.file = CONTRACTS / f"{'tasks' if source == 'gtasks' else source}.yaml"
        self.document: dict[str, Any] = yaml.load(self.file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        self._validators: dict[tuple[str, str], Any] = {}

    @property
    def mount(self) -> str:
        """The sandbox's path that stands for the description's server."""
        return SERVER_PATHS.get(self.source, f"/{self.source}")

    @property
    def base_path(self) -> str:
        """What a source's base URL has behind the address of the description's server."""
        return SANDBOX_PATHS[self.source].removeprefix(self.mount)

    @cached_property
    def operations(self) -> list[Operation]:
        """Every GET; literal paths before those with more variables."""
        found = []
        for path, item in self.document["paths"].items():
            if "get" in item:
                expression = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))
                parameters = [
                    self._resolve(one) for one in (*item.get("parameters", []), *item["get"].get("parameters", []))
                ]
                query = {one["name"]: one.get("schema", {}) for one in parameters if one["in"] == "query"}
                found.append(Operation(path, re.compile(expression), query, item["get"]["responses"]))
        return sorted(found, key=lambda one: one.path.count("{"))

    def operation(self, url: str) -> Operation | None:
        """Return the operation that an address in the sandbox stands for."""
        path = urlsplit(url).path.removeprefix(self.mount)
        return next((one for one in self.operations if one.expression.fullmatch(path)), None)

    def problems(self, operation: Operation, status: int, body: Any) -> list[str]:
        """Return what the description says against an answer; nothing about a status that it does not describe."""
        described = operation.responses.get(str(status)) or operation.responses.get("default")
        content = self._resolve(described or {}).get("content", {}).get("application/json")
        if content is None or "schema" not in content:
            return []
        key = (operation.path, str(status))
        if key not in self._validators:
            schema = {**content["schema"], "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(schema, validate_formats=False)
        return [
            f"{operation.path} {status} at {'/'.join(map(str, error.instance_path)) or 'the top'}: {error.message[:160]}"
            for error in self._validators[key].iter_errors(body)
        ]

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self.document
            for part in str(node["$ref"]).removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node


@lru_cache(maxsize=len(SOURCES))
def description(source: str) -> Description:
    """Return a vendor's description, read once."""
    return Description(source)


def is_present(folder: Path = CONTRACTS) -> bool:
    """Tell whether the descriptions are on this machine."""
    return folder.is_dir()
