"""Alembic environment: runs on the connection of `alembic_config`."""

from alembic import context

from accident_reco.storage.tables import all_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=all_tables(),
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
