"""Fixtures that every test package may use: a database, empty, of each supported kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `ao_pipeline_tests` is a namespace package without an installation; its own modules are imported by full name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ao_pipeline_tests.stress.postgres import fresh_database, postgres_server

settings.register_profile(
    "ao", max_examples=40, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ao")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a running PostgreSQL server."""
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database; a test that asks for it runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        yield url
