"""A few random histories of every source; `random_upstreams` plays as many as are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.random_upstreams import SUBJECTS, WORLD, play
from ao_pipeline_tests.sources.source_engine import START, Engine


@pytest.fixture
def small_engine(keys_folder: Path) -> Iterator[Engine]:
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=WORLD)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=keys_folder))


@pytest.mark.parametrize("first_seed", [1, 101])
@pytest.mark.parametrize("source", SUBJECTS)
def test_what_is_collected_equals_the_upstream_after_any_history(
    small_engine: Engine, source: str, first_seed: int
) -> None:
    """Two histories follow each other in one world: the second starts from what the first left."""
    for seed in (first_seed, first_seed + 1):
        play(small_engine, source, seed)
