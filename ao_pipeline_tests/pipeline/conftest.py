"""A pipeline per test: on an empty store, or on one that holds a computed first cycle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from ao_pipeline.settings import Settings
from ao_pipeline_tests.pipeline.plant import FIRST, Plant, copy_sqlite, environment, sandbox


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service-account key that every sandbox of the session copies."""
    folder = tmp_path_factory.mktemp("key")
    with sandbox(folder, folder):
        pass
    return folder / "sandbox"


def _plant(stack: ExitStack, folder: Path, key_folder: Path, **variables: str) -> Plant:
    box = stack.enter_context(sandbox(folder, key_folder))
    settings: Settings = stack.enter_context(
        environment(
            AO_DATA_DIR=str(folder),
            AO_SANDBOX_PORT=str(box.port),
            AO_GOOGLE_CREDENTIALS_FILE=str(box.credentials_path),
            **variables,
        )
    )
    return Plant(box, settings, stack.enter_context(dg.DagsterInstance.ephemeral()))


@pytest.fixture(scope="session")
def first_cycle(key_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state store that holds the first cycle of the world that every test starts with."""
    folder = tmp_path_factory.mktemp("first")
    with ExitStack() as stack:
        outcome = _plant(stack, folder, key_folder).cycle(FIRST)
        assert outcome.is_good, outcome
    return folder / "state.db"


@pytest.fixture
def empty_plant(key_folder: Path, tmp_path: Path) -> Iterator[Plant]:
    """A pipeline that has never run."""
    with ExitStack() as stack:
        yield _plant(stack, tmp_path / "data", key_folder)


@pytest.fixture(scope="module")
def story_plant(key_folder: Path, first_cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """The same for a whole module: one long story that many tests look at."""
    folder = tmp_path_factory.mktemp("story")
    copy_sqlite(first_cycle, folder / "state.db")
    with ExitStack() as stack:
        yield _plant(stack, folder, key_folder)


@pytest.fixture
def plant(key_folder: Path, first_cycle: Path, tmp_path: Path) -> Iterator[Plant]:
    """A pipeline whose store holds the first cycle; its Dagster instance knows nothing of it."""
    copy_sqlite(first_cycle, tmp_path / "data" / "state.db")
    with ExitStack() as stack:
        yield _plant(stack, tmp_path / "data", key_folder)
