"""The head row of an asset: made, locked, refused when the asset is on hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import ASSET_HEAD, HOLD
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import GENESIS_SEAL
from ao_pipeline.errors import HoldError

# Built once: putting a statement together costs more than SQLite needs to execute it.
_OF_ASSET: Final[sa.BindParameter[str]] = sa.bindparam("of_asset")
_LOCK: Final = sa.select(ASSET_HEAD).where(ASSET_HEAD.c.asset == _OF_ASSET).with_for_update()
_MAKE: Final = {
    "sqlite": sqlite.insert(ASSET_HEAD).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(ASSET_HEAD).on_conflict_do_nothing(),
}
_MOVE: Final = ASSET_HEAD.update().where(ASSET_HEAD.c.asset == _OF_ASSET)
_HELD: Final = sa.select(HOLD.c.reason, HOLD.c.actor).where(HOLD.c.asset == _OF_ASSET)


def lock_head(connection: sa.Connection, asset: str) -> Head:
    """Return the asset's head, made if missing, locked until the transaction ends."""
    row = connection.execute(_LOCK, {"of_asset": asset}).first()
    if row is None:
        first = Head(asset, 0, GENESIS_SEAL, StateHash().hex, 0, "", "", "", "", "", 0)
        connection.execute(_MAKE[connection.dialect.name], asdict(first))
        row = connection.execute(_LOCK, {"of_asset": asset}).one()
    return Head(**row._mapping)


def move_head(connection: sa.Connection, asset: str, **values: Any) -> None:
    """Set columns of the asset's head, which is locked."""
    connection.execute(_MOVE, {"of_asset": asset, **values})


def refuse_held(connection: sa.Connection, asset: str) -> None:
    """Raise HoldError when the asset is on hold."""
    held = connection.execute(_HELD, {"of_asset": asset}).first()
    if held is not None:
        raise HoldError(
            f"{asset} is on hold ({held.reason}, by {held.actor}); release it with `ao hold release {asset}`"
        )
