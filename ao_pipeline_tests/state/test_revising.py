"""The next migration follows from the specs: nothing to do gives none, a new column gives exactly that column."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from ao_pipeline.adapters.state import opening, revising
from ao_pipeline.bundles.schema import text
from ao_pipeline.errors import ConfigError


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    folder = tmp_path / "versions"
    shutil.copytree(opening.MIGRATIONS / "versions", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_specs_that_the_schema_fits_need_no_migration(versions: Path) -> None:
    assert revising.write_migration("Nothing", versions) is None


def test_a_new_column_gives_a_migration_that_adds_it(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = opening.ALL_SPECS
    wider = dataclasses.replace(first, columns=(*first.columns, text("nickname")))
    monkeypatch.setattr(opening, "ALL_SPECS", (wider, *others))

    path = revising.write_migration("Add a nickname.", versions)

    assert path is not None
    assert path.name.endswith("_add_a_nickname.py")
    body = path.read_text()
    assert body.count("op.") == 1
    assert "nickname" in body


def test_a_migration_without_a_message_is_refused(versions: Path) -> None:
    with pytest.raises(ConfigError, match="needs a message"):
        revising.write_migration(" ", versions)
