"""The exporter while its database is away or stands still: 503 with the reason, within its time, and well again by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ao_pipeline.clock import monotonic_seconds
from ao_pipeline_tests.exporter.exporter_stage import FIRST, Served, make_store, run_cycle, serve
from ao_pipeline_tests.state.private_postgres import PrivatePostgres, private_postgres


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    """A server with one finished cycle."""
    with private_postgres() as private:
        store = make_store(private.url)
        run_cycle(store, FIRST)
        store.close()
        yield private


def refused_with(served: Served) -> str:
    """Ask `/health` while the store cannot be read; return the reason."""
    began = monotonic_seconds()
    answer = served.get("/health")
    assert answer.status_code == 503, answer.text
    assert monotonic_seconds() - began < 15
    (reason,) = answer.json()["reasons"]
    return str(reason)


def test_the_exporter_says_503_while_the_database_is_in_trouble_and_recovers_by_itself(server: PrivatePostgres) -> None:
    with serve(server.url) as served:
        assert served.get("/health").status_code == 200

        with server.stopped():
            assert "state store cannot be read" in refused_with(served)
        server.kill()
        assert "state store cannot be read" in refused_with(served)
        server.start()
        server.wait_until_ready()

        assert served.get("/health").status_code == 200
        assert served.get("/ready").json() == {"ready": True}
