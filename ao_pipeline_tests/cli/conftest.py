"""A filled store, on SQLite or on each database, and a way to type commands against it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.cli import main
from ao_pipeline.cli.session import Session
from ao_pipeline_tests.cli.history import FOURTH, SPECS, Ao, DirectReverts, open_filled


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a filled store, to be copied."""
    file = tmp_path_factory.mktemp("filled") / "state.db"
    open_filled(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def store(filled_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    """A filled store on SQLite."""
    file = tmp_path_factory.mktemp("state") / "state.db"
    shutil.copyfile(filled_file, file)
    opened = StateStore(Database(f"sqlite:///{file}"), SPECS)
    yield opened
    opened.close()


@pytest.fixture
def either_store(database_url: str) -> Iterator[StateStore]:
    """A filled store, once on each database."""
    opened = open_filled(database_url)
    yield opened
    opened.close()


@pytest.fixture
def reverts(store: StateStore) -> DirectReverts:
    """The way that reverts are carried out."""
    return DirectReverts(store, [])


@pytest.fixture
def ao(store: StateStore, reverts: DirectReverts) -> Ao:
    """Type a command: `ao("log", "--limit", "3")`."""

    def run(*words: str, **others: Any) -> Result:
        session = Session(open_store=lambda: store, now=lambda: FOURTH.shift(9).end, request_revert=reverts, **others)
        return CliRunner().invoke(main, list(words), obj=session, catch_exceptions=False)

    return run
