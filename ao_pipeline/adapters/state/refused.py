"""One refused record out of the quarantine."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ao_pipeline.adapters.state.catalog import QUARANTINE
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.errors import UnknownNameError


def find_refused(database: Database, name: str) -> dict[str, Any]:
    """Return the refused record whose hash starts with `name`, whatever its status.

    Raises:
        UnknownNameError: None or several do.
    """
    if not name or any(c not in "0123456789abcdef" for c in name):
        raise UnknownNameError(f"{name!r} is not a record's hash: digits 0-9a-f, as `ao quarantine list` shows them")
    query = sa.select(QUARANTINE).where(QUARANTINE.c.record_hash.startswith(name)).limit(2)
    with database.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    if len(rows) != 1:
        raise UnknownNameError(
            f"{'no' if not rows else 'more than one'} refused record starts with {name!r}; see `ao quarantine list`"
        )
    return rows[0]
