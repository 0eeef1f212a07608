"""Write the next migration from what the table specs say: `make migration m="Add a column"`. Read it before you commit it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext

from ao_pipeline.adapters.state.database import Database
from ao_pipeline.adapters.state.opening import MIGRATIONS, full_metadata, migrate
from ao_pipeline.errors import ConfigError


def write_migration(message: str, folder: Path = MIGRATIONS / "versions") -> Path | None:
    """Write the migration from the newest schema to the specs' own; None when they agree already.

    Raises:
        ConfigError: There is no message to name it by.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")
    if not slug:
        raise ConfigError('a migration needs a message: make migration m="Add a column"')
    with TemporaryDirectory() as scratch:
        database = Database(f"sqlite:///{Path(scratch) / 'schema.db'}")
        migrate(database)
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            steps = produce_migrations(context, full_metadata()).upgrade_ops
            code = "" if steps is None or steps.is_empty() else render_python_code(steps, migration_context=context)
        database.close()
    if not code:
        return None
    newest = max(int(path.name[:4]) for path in folder.glob("[0-9]*.py"))
    lines = [line for line in code.splitlines() if not line.strip().startswith("#")]
    path = folder / f"{newest + 1:04d}_{slug}.py"
    head = f'"""{message.rstrip(".")}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
    body = f'revision = "{newest + 1:04d}"\ndown_revision = "{newest:04d}"\n\n\ndef upgrade() -> None:\n'
    path.write_text(
        head + body + "\n".join(f"    {line.strip()}" if n == 0 else line for n, line in enumerate(lines)) + "\n"
    )
    return path


if __name__ == "__main__":
    written = write_migration(" ".join(sys.argv[1:]))
    print(written or "the newest migration already gives the tables that the specs describe")
