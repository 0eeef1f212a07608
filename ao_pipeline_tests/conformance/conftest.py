from __future__ import annotations

from collections.abc import Iterator

import pytest

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.conformance.recorded_session import Exchange, live, recording
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A world and a stand-in for the store, for all tests of a module."""
    folder = tmp_path_factory.mktemp("vendors")
    with serve(SandboxOptions(data_dir=folder, frozen_at=START, size=SMALL)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=folder))


@pytest.fixture(scope="module")
def exchanges(engine: Engine) -> list[Exchange]:
    """Everything that the collectors asked and were told in one session."""
    with recording() as found:
        live(engine)
    return found
