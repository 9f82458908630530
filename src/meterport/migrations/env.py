"""Alembic's entry: the caller hands over a connection, see adapters/sql_schema.py."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
