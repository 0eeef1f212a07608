"""Open the state store that the settings name, migrated to head."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ao_pipeline.adapters.state.catalog import ENGINE, managed_tables
from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.inventory import ALL_SPECS
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import Settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"

MIGRATION_LOCK: Final = 0x616F5F6D
"""PostgreSQL advisory lock that keeps two starting processes from migrating at once."""


def open_store(settings: Settings, *, longest_seconds: float | None = None) -> StateStore:
    """Return the project's state store; migrates it first when it is behind.

    Args:
        settings: Where it is.
        longest_seconds: See `Database`.

    Raises:
        ConfigError: The database was written by a newer version of the project, or cannot be used at all.
        TransientError: It is locked or unreachable.
    """
    database = Database(settings.resolved_state_url, longest_seconds=longest_seconds)
    migrate(database)
    return StateStore(database, ALL_SPECS)


def full_metadata() -> sa.MetaData:
    """Return every table of the store: what the newest migration must lead to."""
    metadata = sa.MetaData()
    for table in ENGINE.sorted_tables:
        table.to_metadata(metadata)
    managed_tables(ALL_SPECS, metadata)
    return metadata


def migrate(database: Database) -> None:
    """Bring the schema to head. Nothing happens when it is there already.

    Raises:
        ConfigError: The schema is ahead of this code.
    """
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    with database.read() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise ConfigError(
                f"the state store is at schema {current}, which this version does not know; run the newer version that wrote it"
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
