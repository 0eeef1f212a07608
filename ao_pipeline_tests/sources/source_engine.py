"""A stand-in for the store around the collectors, and a clock that only sleeping moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.bundles.changes import change_set, match_positions
from ao_pipeline.bundles.payload import hashed
from ao_pipeline.bundles.since import Since
from ao_pipeline.clock import EPOCH
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.sandbox.world.size import SIZE_S
from ao_pipeline.settings import Settings

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SPECS = {spec.asset: spec for spec in RAW_TABLES}


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    seconds: float = 0.0
    naps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += max(0.0, seconds)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Engine:
    """Collects against a sandbox and keeps rows and cursors the way the store does."""

    box: RunningSandbox
    settings: Settings
    rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    cursors: dict[str, Any] = field(default_factory=dict)
    now: datetime = START
    looks: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    """What `changes_since` saw, by its marks. Without them nothing is known of any change."""
    look_count: int = 0

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)
        self.box.advance(timedelta(**delta).total_seconds())

    def stored_keys(self, asset: str) -> pa.Table:
        spec = SPECS[asset]
        made = [dict(zip(spec.key_names, key, strict=True)) for key in self.rows.get(asset, {})]
        return pa.Table.from_pylist(made, schema=spec.key_schema)

    def stored_table(
        self,
        asset: str,
        columns: Sequence[str],
        *,
        only: Sequence[str] | None = None,
        before: tuple[datetime, str] | None = None,
        most: int | None = None,
    ) -> pa.Table:
        whole = pa.Table.from_pylist(list(self.rows.get(asset, {}).values()), schema=SPECS[asset].arrow_schema)
        part = whole.select(list(dict.fromkeys([*SPECS[asset].key_names, *columns])))
        if only is not None:
            return part.filter(pc.is_in(part.column(columns[0]), pa.array(only, pa.large_string())))
        if most is None:
            return part
        places = zip(*(part.column(name).to_pylist() for name in (columns[0], SPECS[asset].key_names[0])), strict=True)
        walked = sorted(((at or EPOCH, key, number) for number, (at, key) in enumerate(places)), reverse=True)
        return part.take([number for at, key, number in walked if before is None or (at, key) < before][:most])

    def changes_since(self, asset: str, mark: str) -> Since:
        """Compare the rows with those of an earlier call; a mark that no call gave is unknown."""
        spec, rows = SPECS[asset], dict(self.rows.get(asset, {}))
        before = self.looks.get(mark)
        self.look_count += before != rows
        now = mark if before == rows else f"{asset} {self.look_count}"
        self.looks[now] = rows
        if before is None:
            return Since(now, None)
        old, new = (hashed(spec, pa.Table.from_pylist(list(one.values()), spec.arrow_schema)) for one in (before, rows))
        return Since(now, change_set(old, new, old.keys[match_positions(old.keys, new.keys) < 0]))

    def read(self, asset: str, *, settings: Settings | None = None, clock: FakeTime | None = None) -> Collected:
        """Collect without committing."""
        clock = clock or FakeTime()
        return collect(
            asset,
            settings=settings or self.settings,
            cursor=self.cursors.get(asset),
            stored_keys=lambda: self.stored_keys(asset),
            now=self.now,
            stored_table=self.stored_table,
            changes_since=self.changes_since,
            sleep=clock.sleep,
            monotonic=clock.monotonic,
        )

    def run(self, asset: str) -> Collected:
        """Collect and commit."""
        result = self.read(asset)
        self.commit(asset, result)
        return result

    def commit(self, asset: str, result: Collected) -> None:
        spec = SPECS[asset]
        fresh = {tuple(row[name] for name in spec.key_names): row for row in result.rows.to_pylist()}
        gone = [tuple(key.values()) for key in result.deleted.to_pylist()]
        assert not (set(gone) & set(fresh))
        kept = {} if result.is_full else self.rows.get(asset, {})
        self.rows[asset] = {key: row for key, row in {**kept, **fresh}.items() if key not in set(gone)}
        self.cursors[asset] = result.cursor


SMALL = replace(
    SIZE_S,
    projects=24,
    members=16,
    tasks=220,
    mail_threads=24,
    chat_messages=300,
    spaces=5,
    calendars=4,
    events=80,
    invoices=120,
)


@contextmanager
def world(folder: Path, **options: Any) -> Iterator[Engine]:
    """Serve a frozen world of its own; options are the sandbox's."""
    size = options.pop("size", SMALL)
    with serve(replace(SandboxOptions(data_dir=folder, frozen_at=START, size=size), **options)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=folder))
