"""Large binary values come out of both databases as they went in, in the order that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ao_pipeline.adapters.state.blobs import read_blobs
from ao_pipeline.adapters.state.catalog import ROW_INDEX
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.stress.histories import open_empty
from ao_pipeline_tests.stress.postgres import fresh_database
from ao_pipeline_tests.stress.tables import EVERY_TYPE

BLOBS = [b"", b"\xff\xff", b"PGCOPY\n\xff\r\n\0", bytes(range(256)) * 5000, b"\0\1\0\0\0\3abc", b"last"]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    if request.param == "sqlite":
        opened = open_empty(f"sqlite:///{tmp_path / 'state.db'}", EVERY_TYPE)
        yield opened
        opened.close()
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        opened = open_empty(url, EVERY_TYPE)
        yield opened
        opened.close()


@pytest.mark.parametrize("asset", ["proof/it's", 'proof/"x"', "proof/%s:x\\"])
@pytest.mark.parametrize("blobs", [BLOBS, BLOBS[:1], []], ids=len)
def test_blobs_come_back_in_order(store: StateStore, asset: str, blobs: list[bytes]) -> None:
    with store.database.write() as connection:
        for seq, blob in reversed(list(enumerate(blobs))):
            values = {"asset": asset, "seq": seq, "is_checkpoint": seq == 0, "row_count": 0, "entries": blob}
            connection.execute(ROW_INDEX.insert(), values)
        query = sa.select(ROW_INDEX.c.entries).where(ROW_INDEX.c.asset == sa.bindparam("of")).order_by(ROW_INDEX.c.seq)
        back = read_blobs(connection, query.params(of=asset))

    assert [bytes(blob) for blob in back] == blobs
