"""A store with one table of every column type, on each database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline_tests.stress.histories import open_empty
from ao_pipeline_tests.stress.tables import EVERY_TYPE


@pytest.fixture
def store(database_url: str) -> Iterator[StateStore]:
    """An empty store."""
    opened = open_empty(database_url, EVERY_TYPE)
    yield opened
    opened.close()
