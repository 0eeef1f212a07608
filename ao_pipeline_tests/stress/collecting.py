"""Collections as the pipeline makes them: a collector, a real store, rows and cursor in one commit, each part timed.

`python -m ao_pipeline_tests.stress.collecting --collections 1000 --size M` collects an unchanged world again and again
and ends with status 1 if anything grew. Writes `build/stress/collections.json`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import pytest

from ao_pipeline.adapters.sources.exchange import Params, RawAnswer
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.state.model import Intent, Receipt
from ao_pipeline.adapters.state.opening import open_store
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.bundles.changes import Change
from ao_pipeline.clock import to_iso
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.cycle import Cycle
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox
from ao_pipeline.sandbox.site import Site
from ao_pipeline.sandbox.world.size import SIZES
from ao_pipeline.settings import PROJECT_DIR, Settings, child_environment

REPORT: Final = PROJECT_DIR / "build" / "stress" / "collections.json"
NOW: Final = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ASSETS: Final = tuple(sorted((spec.asset for spec in RAW_TABLES), key=lambda asset: asset == "raw/asana_stories"))
"""Stories last: which tasks changed is read from the stored tasks."""

BACKLOGGED: Final = ("raw/gmail_messages", "raw/chat_messages", "raw/calendar_events", "raw/asana_stories")
"""What takes a bounded part of its first listing in each collection."""

MAX_SETTLING: Final = 2_000
TOLD_EVERY: Final = 20


@dataclass(frozen=True)
class Timed:
    """One collection: what it did and where its seconds went."""

    asset: str
    seconds: float
    http_seconds: float
    commit_seconds: float
    cpu_seconds: float
    requests: int
    rows: int
    receipt: Receipt

    @property
    def changed(self) -> int:
        """Rows that the bundle changed."""
        header = self.receipt.header
        return header.rows_inserted + header.rows_updated + header.rows_deleted


@dataclass
class InFlight:
    """Wall time with at least one request under way: four threads that wait together wait once."""

    seconds: float = 0.0
    _count: int = 0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self.seconds += time.monotonic() - self._since

    @contextmanager
    def watch(self) -> Iterator[InFlight]:
        """Time every request of every client inside the block."""
        real = SourceClient.send
        flight = self

        def send(
            self: SourceClient,
            method: str,
            url: str,
            *,
            headers: Mapping[str, str],
            params: Params | None = None,
            data: bytes | None = None,
        ) -> RawAnswer:
            with flight.request():
                return real(self, method, url, headers=headers, params=params, data=data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SourceClient, "send", send)
            yield self


@dataclass
class Collecting:
    """A sandbox, a store, and the cycle that is next."""

    box: RunningSandbox
    settings: Settings
    store: StateStore
    flight: InFlight
    cycle: Cycle = field(default_factory=lambda: Cycle.last_closed(NOW))

    def next_cycle(self) -> None:
        """Go on a quarter of an hour; the world moves only if somebody moves it."""
        self.cycle = self.cycle.shift(1)

    def run(self, asset: str) -> Timed:
        """Collect one asset and commit it."""
        spec = self.store.spec(asset)
        began, http_before, cpu_before = time.monotonic(), self.flight.seconds, time.process_time()
        collected = collect(
            asset,
            settings=self.settings,
            cursor=self.store.cursor(asset),
            stored_keys=partial(self.store.read_keys, asset),
            now=self.cycle.end,
            stored_table=self.store.read,
            changes_since=self.store.changes_since,
        )
        change = Change(
            rows=collected.rows,
            is_full=collected.is_full,
            deleted=None if collected.is_full else collected.deleted,
            cursor=collected.cursor,
            quarantined=collected.quarantined,
        )
        committing = time.monotonic()
        intent = Intent(spec=spec, cycle=self.cycle, first_cycle=self.cycle, name="compute", run_id="collecting")
        receipt = self.store.commit(self.store.begin(intent), change)
        ended = time.monotonic()
        return Timed(
            asset,
            ended - began,
            self.flight.seconds - http_before,
            ended - committing,
            time.process_time() - cpu_before,
            collected.requests,
            collected.rows.num_rows,
            receipt,
        )

    def sizes(self) -> dict[str, tuple[int, str]]:
        """Return each table's rows and state hash, and how many records are set aside."""
        heads = {asset: (head.row_count, head.state_hash) for asset, head in self.store.heads().items()}
        return heads | {"quarantine": (sum(self.store.quarantine_counts().values()), "")}


@contextmanager
def sandbox_process(folder: Path, size: str) -> Iterator[RunningSandbox]:
    """Run a frozen sandbox in a process of its own, so that its work is not counted as ours."""
    options = SandboxOptions(data_dir=folder, size=SIZES[size], frozen_at=NOW)
    command = [sys.executable, "-m", "ao_pipeline.sandbox", "--port", "0", "--size", size]
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder), "--frozen-at", to_iso(NOW)],
        cwd=PROJECT_DIR,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = re.search(r":(\d+) ", process.stdout.readline())
        if ready is None:
            raise ChildProcessError(f"the sandbox of size {size} did not start")
        yield RunningSandbox(port=int(ready[1]), options=options, site=cast(Site, None))
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@contextmanager
def collecting(box: RunningSandbox, folder: Path) -> Iterator[Collecting]:
    """Open an empty store beside a sandbox."""
    settings = Settings(
        sandbox_port=box.port,
        data_dir=folder,
        google_credentials_file=box.credentials_path,
        source_budget_seconds=3600,
    )
    store = open_store(settings)
    try:
        with InFlight().watch() as flight:
            yield Collecting(box, settings, store, flight)
    finally:
        store.close()


def settle(work: Collecting, around: Callable[[str], AbstractContextManager[object]] = nullcontext) -> list[Timed]:
    """Collect everything until nothing is left of any first listing; return every collection that this took.

    Args:
        work: With an empty store.
        around: Called with each asset and entered for each of its collections.
    """
    made: list[Timed] = []
    for asset in ASSETS:
        for _ in range(MAX_SETTLING if asset in BACKLOGGED else 1):
            with around(asset):
                made.append(work.run(asset))
            if not made[-1].changed:
                break
            work.next_cycle()
    return made


def repeat_unchanged(work: Collecting, collections: int, tell: Callable[[str], object] = len) -> list[str]:
    """Collect everything once, then again and again; return a line for everything that changed.

    Args:
        work: With an empty store.
        collections: How often.
        tell: Hears now and then how far it is.
    """
    settle(work)
    before = work.sizes()
    found: list[str] = []
    for number in range(1, collections + 1):
        work.next_cycle()
        for asset in ASSETS:
            timed = work.run(asset)
            if timed.changed or timed.receipt.header.payload_bytes:
                found.append(f"collection {number} changed {timed.changed} rows of {asset}")
        if number % TOLD_EVERY == 0:
            tell(f"{number} collections, {len(found)} changed something\n")
    after = work.sizes()
    return found + [f"{name} was {before[name]}, is {after[name]}" for name in before if before[name] != after[name]]


def main() -> int:
    """Run, write the report, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", type=int, default=1000)
    parser.add_argument("--size", choices=sorted(SIZES), default="M")
    given: Any = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ao_collections_") as name:
        folder = Path(name)
        with sandbox_process(folder / "sandbox", given.size) as box, collecting(box, folder / "data") as work:
            found = repeat_unchanged(work, given.collections, sys.stderr.write)
            rows = sum(count for count, _ in work.sizes().values())
    report = {
        "collections": given.collections,
        "size": given.size,
        "rows": rows,
        "changed": found,
        "seconds": round(time.monotonic() - began, 1),
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
