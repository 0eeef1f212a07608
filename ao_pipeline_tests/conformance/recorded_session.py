"""A session of every collector against the sandbox, with every request and answer: full, changed, deleted, expired."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ao_pipeline.adapters.sources.exchange import Params, RawAnswer
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline_tests.sources.source_engine import Engine

ASSETS = tuple(spec.asset for spec in RAW_TABLES)

CHANGES: Mapping[str, dict[str, Any]] = {
    "task": {"name": "Moved"},
    "mail": {"labelIds": ["INBOX", "STARRED"]},
    "event": {"summary": "Moved"},
    "message": {"text": "Edited"},
    "gtask": {"title": "Moved"},
    "person": {},
    "file": {"name": "Renamed"},
    "invoice": {"Reference": "Changed"},
    "payment": {},
    "contact": {"Name": "Renamed"},
    "member": {},
}
"""What is changed of each kind, in the vendor's words."""


@dataclass(frozen=True)
class Exchange:
    """One request to a source's own API, and what came back."""

    source: str
    method: str
    url: str
    query: tuple[tuple[str, str], ...]
    status: int
    body: Any

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.query)


@contextmanager
def recording() -> Iterator[list[Exchange]]:
    """Record what every client sends and reads; token endpoints are no part of a description."""
    exchanges: list[Exchange] = []
    real = SourceClient.send

    def send(
        self: SourceClient,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Params | None = None,
        data: bytes | None = None,
    ) -> RawAnswer:
        raw = real(self, method, url, headers=headers, params=params, data=data)
        if method == "GET":  # Tokens are asked for by POST.
            items = params.items() if isinstance(params, Mapping) else params or ()
            query = tuple((str(name), str(value)) for name, value in items if value is not None)
            exchanges.append(Exchange(self.source, method, url, query, raw.status, json.loads(raw.body or b"null")))
        return raw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceClient, "send", send)
        yield exchanges


def collect_all(engine: Engine, assets: tuple[str, ...] = ASSETS) -> None:
    """Collect and commit every asset."""
    for asset in assets:
        engine.run(asset)


def change_everything(engine: Engine) -> None:
    """Create, update and delete one object of each kind, and add one more that stays."""
    for kind, fields in CHANGES.items():
        first, _ = (engine.box.mutate(kind, "create") for _ in range(2))
        engine.box.mutate(kind, "update", key=first["key"], place=first["in"], **fields)
        if kind != "member":
            other = engine.box.mutate(kind, "create")
            engine.box.mutate(kind, "delete", key=other["key"], place=other["in"])


def live(engine: Engine) -> None:
    """Collect everything, after changes, after an hour, after lost cursors, and the day after."""
    collect_all(engine)
    change_everything(engine)
    engine.advance(minutes=15)
    collect_all(engine)
    for source in ("gmail", "calendar", "people"):
        engine.box.expire_cursors(source)
    engine.advance(minutes=45)
    collect_all(engine)
    engine.advance(hours=26)
    collect_all(engine)
