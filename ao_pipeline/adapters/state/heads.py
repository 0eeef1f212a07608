"""The head row of an asset: made, locked, refused when the asset is on hold."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ao_pipeline.adapters.state.catalog import ASSET_HEAD, HOLD
from ao_pipeline.adapters.state.model import Head
from ao_pipeline.bundles.hashing import StateHash
from ao_pipeline.bundles.header import GENESIS_SEAL
from ao_pipeline.errors import HoldError


def lock_head(connection: sa.Connection, asset: str) -> Head:
    """Return the asset's head, made if missing, locked until the transaction ends."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(ASSET_HEAD)
        .values(
            asset=asset,
            seq=0,
            seal=GENESIS_SEAL,
            state_hash=StateHash().hex,
            row_count=0,
            cursor="",
            computed_cycle="",
            state_cycle="",
            inputs="",
            layout="",
            fence=0,
        )
        .on_conflict_do_nothing()
    )
    row = connection.execute(sa.select(ASSET_HEAD).where(ASSET_HEAD.c.asset == asset).with_for_update()).one()
    return Head(**row._mapping)


def refuse_held(connection: sa.Connection, asset: str) -> None:
    held = connection.execute(sa.select(HOLD.c.reason, HOLD.c.actor).where(HOLD.c.asset == asset)).first()
    if held is not None:
        raise HoldError(
            f"{asset} is on hold ({held.reason}, by {held.actor}); release it with `ao hold release {asset}`"
        )
