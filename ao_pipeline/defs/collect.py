"""`raw/*`: what the upstreams say, in their own words. One asset a table, rows and cursor in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from ao_pipeline.adapters.files_source.registry import READERS
from ao_pipeline.adapters.state.acceptance import is_drop_accepted
from ao_pipeline.bundles.changes import Change
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.cadence import CADENCE
from ao_pipeline.collect.tables import RAW_ASANA_STORIES, RAW_ASANA_TASKS, RAW_TABLES
from ao_pipeline.defs.managed import Work, managed_asset
from ao_pipeline.defs.origin import UPSTREAM, collect_from_origin, source_of_asset
from ao_pipeline.defs.silence import waited_for_once

CONTRACT_VERSION: Final = "1"
"""Version of the parsers and contracts; a change collects everything again in a new generation."""

FOLLOWS: Final[Mapping[str, tuple[TableSpec, ...]]] = MappingProxyType({RAW_ASANA_STORIES.asset: (RAW_ASANA_TASKS,)})
"""Raw tables that a collector follows: Asana lists the stories of one task only, so somebody must say which changed."""


def _declare(spec: TableSpec) -> Any:
    by_asset = {other.asset: other for other in (spec, *FOLLOWS.get(spec.asset, ()))}

    def rule(work: Work) -> Change:
        source, patience = source_of_asset(spec.asset), work.settings.read_timeout_seconds
        with waited_for_once(work.run_id, source, spec.asset, patience_seconds=patience):
            collected = collect_from_origin(
                spec,
                settings=work.settings,
                cursor=work.store.cursor(spec.asset),
                stored_keys=partial(work.store.read_keys, spec.asset),
                now=work.now,
                stored_table=lambda asset, columns, **part: work.store.read(by_asset[asset].asset, columns, **part),
                changes_since=lambda asset, mark: work.store.changes_since(by_asset[asset].asset, mark),
                accepts_drop=is_drop_accepted(work.store, spec.asset),
            )
        return Change(
            rows=collected.rows,
            is_full=collected.is_full,
            deleted=None if collected.is_full else collected.deleted,
            cursor=collected.cursor,
            quarantined=collected.quarantined,
            stats={
                "origin": collected.cursor.get("origin", UPSTREAM),
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
        reads=FOLLOWS.get(spec.asset, ()),
        code_version=CONTRACT_VERSION,
        kinds={source_of_asset(spec.asset), "http"} | ({"files"} if spec.asset in READERS else set()),
        cadence_minutes=CADENCE.interval_minutes[spec.asset],
        is_skippable=False,
        pool=source_of_asset(spec.asset),
    )
    return declare(rule)


RAW_ASSETS = tuple(_declare(spec) for spec in RAW_TABLES)
