from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine, FakeTime


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings without a data folder must not share rate limits with the project's own."""
    monkeypatch.setenv("AO_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="session")
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One service-account key for all: making one takes a tenth of a second."""
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture
def engine(keys_folder: Path) -> Iterator[Engine]:
    """A world of its own, which the test may change."""
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=SMALL)) as box:
        yield Engine(box, Settings(sandbox_port=box.port, data_dir=keys_folder))


@pytest.fixture(scope="module")
def still_box(keys_folder: Path) -> Iterator[RunningSandbox]:
    with serve(SandboxOptions(data_dir=keys_folder, frozen_at=START, size=SMALL)) as box:
        yield box


@pytest.fixture
def still_engine(still_box: RunningSandbox, keys_folder: Path) -> Iterator[Engine]:
    """A world that all tests of a module share: it stands still, only faults come and go."""
    folder = keys_folder / f"still-{still_box.port}"
    folder.mkdir(exist_ok=True)
    credentials = folder / "google-service-account.json"
    # The key file names the port of its sandbox, and each sandbox of the folder rewrites it.
    body = json.loads(still_box.credentials_path.read_text())
    credentials.write_text(json.dumps({**body, "token_uri": f"{still_box.url}/google/token"}))
    yield Engine(still_box, Settings(sandbox_port=still_box.port, data_dir=folder, google_credentials_file=credentials))
    still_box.clear_faults()
