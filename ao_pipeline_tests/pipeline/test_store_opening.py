"""Migrations lead to exactly the tables that the code knows; a schema from the future is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.opening import full_metadata, migrate, open_store
from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import Settings


def test_migrating_an_empty_database_gives_exactly_the_known_tables(database_url: str) -> None:
    database = Database(database_url)

    migrate(database)

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        difference = compare_metadata(context, full_metadata())
        found = set(sa.inspect(connection).get_table_names())
    database.close()
    assert difference == []
    assert found == {*full_metadata().tables, "alembic_version"}


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    before = _revision(database)

    migrate(database)

    assert _revision(database) == before
    database.close()


def test_a_schema_from_the_future_is_refused_and_left_alone(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))

    with pytest.raises(ConfigError, match="from_the_future"):
        migrate(database)

    assert _revision(database) == "from_the_future"
    database.close()


def test_the_embedded_store_is_made_in_the_data_folder(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path / "new" / "folder"))
    store.close()

    assert (tmp_path / "new" / "folder" / "state.db").is_file()


def _revision(database: Database) -> str:
    with database.engine.connect() as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
