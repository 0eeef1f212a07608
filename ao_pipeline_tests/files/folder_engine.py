"""Collect from a folder, cycle after cycle, and keep what a table would hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ao_pipeline.adapters.files_source.intake import Limits
from ao_pipeline.adapters.files_source.registry import collect_files, found_files
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.result import Collected
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.settings import Settings

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SPECS = {spec.asset: spec for spec in RAW_TABLES}


@dataclass
class Folder:
    """One asset read from one folder."""

    root: Path
    asset: str
    limits: Limits = field(default_factory=Limits)
    cursor: dict[str, Any] | None = None
    rows: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    drift: dict[str, int] = field(default_factory=dict)

    @property
    def spec(self) -> TableSpec:
        return SPECS[self.asset]

    def collect(self) -> Collected:
        """Collect once and apply it as the store does."""
        settings = Settings(files_dir=self.root, org_time_zone="Asia/Dubai")
        collected = collect_files(
            self.asset,
            found_files(self.asset, settings),
            settings=settings,
            cursor=self.cursor,
            stored_keys=lambda: self.spec.key_schema.empty_table(),
            now=NOW,
            limits=self.limits,
        )
        for row in collected.rows.to_pylist():
            self.rows[tuple(row[name] for name in self.spec.key_names)] = row
        for row in collected.deleted.to_pylist():
            self.rows.pop(tuple(row.values()), None)
        self.quarantined.update({item.record_key: item.reason for item in collected.quarantined})
        for name, count in collected.drift.items():
            self.drift[name] = self.drift.get(name, 0) + count
        self.cursor = collected.cursor
        return collected

    def collect_all(self) -> int:
        """Collect until nothing is left; return how many collections it took."""
        for number in range(1, 200):
            self.collect()
            assert self.cursor is not None
            if all(entry["next"] is None for entry in self.cursor["files"]):
                return number
        raise AssertionError("the folder does not end")
