"""Fixtures of the exporter's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from exporter_stage import make_store

from ao_pipeline.adapters.state.store import StateStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = make_store(tmp_path / "state.db")
    yield made
    made.close()
