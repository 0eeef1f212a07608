"""Fixtures of the exporter's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.exporter.exporter_stage import make_store


@pytest.fixture
def store(database_url: str) -> Iterator[StateStore]:
    """An empty store; a test that asks for it runs once on each kind of database."""
    made = make_store(database_url)
    yield made
    made.close()
