"""Read what a table became since a mark, from the bundles in between: its cost follows what changed, not what is stored.

A revert is a bundle like any other, so a table that went back and on again is told as what differs in the end.
"""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from ao_pipeline.adapters.state import history
from ao_pipeline.adapters.state.catalog import BUNDLE
from ao_pipeline.bundles.header import BundleHeader, header_from
from ao_pipeline.bundles.past import net_change, state_after
from ao_pipeline.bundles.schema import TableSpec
from ao_pipeline.bundles.since import Since
from ao_pipeline.errors import IntegrityError

MAX_ROWS: Final = 20_000
"""Changed rows of the bundles since a mark, above which their net change is not told: all of them are in memory for it, as
they were and as they are, 240 MB for so many tasks. After a long hold or a deep revert whoever follows the table compares."""

_NUMBER: Final = re.compile("[0-9]{1,18}")


def changes_since(connection: sa.Connection, spec: TableSpec, mark: str) -> Since:
    """Return where the table stands, and its net change since `mark`; no change where the bundles do not lead there."""
    head = history.read_head(connection, spec.asset)
    if head is None:
        return Since("", None)
    now = f"{head.seq}:{head.seal}"
    after = _marked(connection, spec.asset, mark)
    if after is None or _rows_between(connection, spec.asset, after.seq, head.seq) > MAX_ROWS:
        return Since(now, None)
    try:
        changes = net_change(spec, list(history.changes_since(connection, spec, after=after, head=head)))
    except IntegrityError:  # `ao verify` tells of it; whoever follows the table compares all of it instead.
        return Since(now, None)
    return Since(now, changes if state_after(after.state_hash_after, changes) == head.state_hash else None)


def _rows_between(connection: sa.Connection, asset: str, after: int, until: int) -> int:
    """Return how many rows the bundles from `after` (excluded) to `until` changed, by their headers alone."""
    rows = BUNDLE.c.rows_inserted + BUNDLE.c.rows_updated + BUNDLE.c.rows_deleted
    query = sa.select(sa.func.sum(rows)).where(BUNDLE.c.asset == asset, BUNDLE.c.seq > after, BUNDLE.c.seq <= until)
    return int(connection.execute(query).scalar() or 0)


def _marked(connection: sa.Connection, asset: str, mark: str) -> BundleHeader | None:
    """Return the bundle that a mark names, None when the chain has no such bundle (any more)."""
    seq, _, seal = mark.partition(":")
    if not _NUMBER.fullmatch(seq):
        return None
    query = sa.select(BUNDLE).where(BUNDLE.c.asset == asset, BUNDLE.c.seq == int(seq), BUNDLE.c.seal == seal)
    row = connection.execute(query).first()
    return None if row is None else header_from(dict(row._mapping))
