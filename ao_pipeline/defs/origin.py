"""Where a raw asset's rows come from: exported files, the upstream, or nowhere. Decided anew in each collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from ao_pipeline.adapters.files_source.intake import is_files_cursor
from ao_pipeline.adapters.files_source.registry import collect_files, found_files
from ao_pipeline.adapters.sources.registry import collect
from ao_pipeline.adapters.sources.request import ReadChanges, ReadTable
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.collect.result import Collected
from ao_pipeline.settings import Settings

NOWHERE: Final = "nowhere"
"""Mark of the cursor of a source that has neither files nor an account."""

UPSTREAM: Final = "upstream"
"""Origin of rows whose cursor names none: the source itself was asked."""


def source_of_asset(asset: str) -> str:
    """Return the upstream of a raw asset: `asana` of `raw/asana_tasks`."""
    return asset.split("/")[1].split("_")[0]


def collect_from_origin(
    spec: TableSpec,
    *,
    settings: Settings,
    cursor: Mapping[str, Any] | None,
    stored_keys: Callable[[], pa.Table],
    now: datetime,
    stored_table: ReadTable,
    changes_since: ReadChanges,
    accepts_drop: bool = False,
) -> Collected:
    """Collect one asset from files when there are some for it, else from its upstream.

    With a folder of files, a source that has neither files nor an account stays empty: a simulated agency must not mix
    with a real one. What the simulation left in the table before goes, in the same bundle.

    Args:
        spec: The asset's table.
        settings: The folder, addresses, credentials, limits.
        cursor: What the last committed collection left, whichever origin it had.
        stored_keys: Reads the key columns of all stored rows.
        now: The cycle's end.
        stored_table: Reads the asset's own table, or one that it declares to read.
        changes_since: Reads what changed in such a table.
        accepts_drop: Whether a person said that what is missing upstream is really gone.

    Raises:
        ConfigError: The folder is missing.
        TransientError: The upstream or a file failed in a way that may pass.
        PermanentError: Any other refusal.
    """
    asset = spec.asset
    files = found_files(asset, settings)
    is_ours = is_files_cursor(cursor) or (cursor is not None and cursor.get("origin") == NOWHERE)
    if files:
        collected = collect_files(asset, files, settings=settings, cursor=cursor, stored_keys=stored_keys, now=now)
    elif settings.files_path is not None and settings.is_simulated(source_of_asset(asset)):
        collected = Collected(
            spec.empty(), is_full=False, deleted=spec.key_schema.empty_table(), cursor={"origin": NOWHERE}
        )
    else:
        return collect(
            asset,
            settings=settings,
            cursor=None if is_ours else cursor,
            stored_keys=stored_keys,
            now=now,
            stored_table=stored_table,
            changes_since=changes_since,
            accepts_drop=accepts_drop,
        )
    if cursor is None or is_ours or not settings.is_simulated(source_of_asset(asset)):
        return collected
    return _without_simulation(spec, collected, stored_keys())


def _without_simulation(spec: TableSpec, collected: Collected, stored: pa.Table) -> Collected:
    keys = list(spec.key_names)
    kept = collected.rows.select(keys)
    gone = stored.select(keys).cast(spec.key_schema).join(kept, keys=keys, join_type="left anti").select(keys)
    return Collected(
        rows=collected.rows,
        is_full=False,
        deleted=gone.cast(spec.key_schema),
        cursor=collected.cursor,
        quarantined=collected.quarantined,
        drift=collected.drift,
        pages=collected.pages,
    )
