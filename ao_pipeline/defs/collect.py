"""`raw/*`: what the upstreams say, in their own words. One asset a table, rows and cursor in one commit."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.defs.managed import Work, managed_asset
from ao_pipeline.defs.origin import collect_from_origin, source_of_asset

CONTRACT_VERSION: Final = "1"
"""Version of the parsers and contracts; a change collects everything again in a new generation."""


def _declare(spec: TableSpec) -> Any:
    def rule(work: Work) -> Change:
        collected = collect_from_origin(
            spec,
            settings=work.settings,
            cursor=work.store.cursor(spec.asset),
            stored_keys=partial(work.store.read_keys, spec.asset),
            now=work.now,
        )
        return Change(
            rows=collected.rows,
            is_full=collected.is_full,
            deleted=None if collected.is_full else collected.deleted,
            cursor=collected.cursor,
            quarantined=collected.quarantined,
            stats={
                "is_full": collected.is_full,
                "pages": collected.pages,
                "requests": collected.requests,
                "retries": collected.retries,
                "quarantined": len(collected.quarantined),
                "drift": dict(collected.drift),
            },
        )

    rule.__doc__ = f"{spec.row[0].upper()}{spec.row[1:]}."
    declare = managed_asset(
        spec,
        code_version=CONTRACT_VERSION,
        kinds={source_of_asset(spec.asset), "http"},
        cadence_minutes=CADENCE.interval_minutes[spec.asset],
        is_skippable=False,
        pool=source_of_asset(spec.asset),
    )
    return declare(rule)


RAW_ASSETS = tuple(_declare(spec) for spec in RAW_TABLES)
