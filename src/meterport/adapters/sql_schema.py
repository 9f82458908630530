"""Brings a database to the newest schema; at once when it is there already."""

from importlib.resources import files

from sqlalchemy import Connection, inspect, text

from meterport.adapters.sql_database import Database
from meterport.domain.errors import StartRefused

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")


def upgrade(database: Database) -> None:
    """Run what is missing, in one transaction on either database.

    Raises StartRefused if a newer program made the schema.
    """
    found = revision(database)
    if found is not None and found not in REVISIONS:
        raise StartRefused(f"the database has schema {found}, of a newer meterport; use that one")
    if found != REVISIONS[-1]:
        with database.write() as connection:
            # SQLite's write lock makes programs that start together wait; here it takes one.
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('meterport'))"))
            _run_migrations(connection)


def check(database: Database) -> None:
    """Raise StartRefused unless the schema is this program's."""
    if revision(database) != REVISIONS[-1]:
        raise StartRefused("the database is not up to date; run: meterport db upgrade")


def revision(database: Database) -> str | None:
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run_migrations(connection: Connection) -> None:
    # Imported late: it costs a tenth of a second that only a first start needs.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("meterport.migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
