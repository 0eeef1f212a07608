"""The running sandbox's state: its world, its clock, its keys. Only the event loop's thread touches it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from ao_pipeline.clock import from_micros, to_micros
from ao_pipeline.sandbox.faults import FaultBook
from ao_pipeline.sandbox.identity import TokenMint
from ao_pipeline.sandbox.options import SandboxClock, SandboxOptions
from ao_pipeline.sandbox.replies import RefusedError
from ao_pipeline.sandbox.vendors.xero_access import RateWindow, RefreshChain
from ao_pipeline.sandbox.world.agency import build_agency
from ao_pipeline.sandbox.world.records import Collection
from ao_pipeline.sandbox.world.world import World, day_start

_ANCHOR_LASTS: Final = timedelta(days=60)
"""An older anchor is given up: replaying more days than this would make the start slow."""


class Site:
    """World, clock, faults and tokens of one sandbox process."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.clock = SandboxClock(options.frozen_at)
        self.faults = FaultBook()
        if options.faults_file is not None:
            self.faults.load(options.faults_file)
        self.mint = TokenMint(options)
        self.webhook_messages: list[dict[str, Any]] = []
        self.webhook_count = 0
        self.requests_served = 0
        self.refresh_chain = RefreshChain()
        self.xero_rate = RateWindow()
        self.expired_before: dict[str, int] = {}
        """By source: cursors from before this microsecond are refused, as if the vendor had forgotten them."""
        self.agency = build_agency(
            options.seed, size=options.size, mailboxes=options.mailboxes, workspace_gid=options.asana_workspace_gid
        )
        now = self.clock.micros()
        self._world = World(self.agency, anchor=remember_anchor(options, now), now=now)

    def world(self) -> World:
        """Return the world at the clock's present instant. A machine clock that steps back a little is waited out."""
        now = self.clock.micros()
        if now > self._world.now:
            self._world.advance(now)
        return self._world

    def set_clock(self, frozen_at: datetime | None) -> None:
        """Freeze the world at an instant or let it run; an earlier instant builds it anew, without explicit changes."""
        self.clock.freeze(frozen_at)
        now = self.clock.micros()
        if now < self._world.now:
            self._world = World(self.agency, anchor=min(self._world.anchor, day_start(now)), now=now)

    def collection(self, name: str) -> Collection | None:
        """Return a collection of the present world."""
        return self.world().collections.get(name)


def remember_anchor(options: SandboxOptions, now: int) -> int:
    """Return the midnight that this data folder's world is anchored at, and write it down.

    A restart on a later day must not lose the objects that a collector has seen, so the first start's day stays.
    """
    path = options.folder / "world.json"
    today = day_start(now)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        anchor = (
            to_micros(from_micros(0))
            + (date.fromisoformat(known["anchored_on"]) - date(1970, 1, 1)).days * 86_400_000_000
        )
        same = known["seed"] == options.seed and known["size"] == options.size.name
    except (OSError, ValueError, KeyError, TypeError):
        anchor, same = today, False
    if not same or anchor > now or now - anchor > _ANCHOR_LASTS // timedelta(microseconds=1):
        anchor = today
    anchored_on = from_micros(anchor).date().isoformat()
    body = {"seed": options.seed, "size": options.size.name, "anchored_on": anchored_on}
    write_file(path, json.dumps(body) + "\n")
    return anchor


def write_file(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


Handler = Callable[[Site, Request], Awaitable[Response]]


def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Turn a handler into a Starlette endpoint: give it the site, answer its refusals."""

    async def answer(request: Request) -> Response:
        site: Site = request.app.state.site
        site.requests_served += 1
        try:
            return await handler(site, request)
        except RefusedError as refusal:
            return refusal.response

    return answer


def bearer(request: Request) -> str:
    """Return the bearer token, empty without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
