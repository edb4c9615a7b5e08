"""Alembic's environment; the connection comes from user_svc.schema, under its lock."""

from alembic import context

from user_svc.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
