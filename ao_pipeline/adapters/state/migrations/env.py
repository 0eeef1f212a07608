"""Alembic's entry: runs inside the caller's transaction, on the connection that `opening.migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
