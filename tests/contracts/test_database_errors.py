"""What a statement that a database refuses leaves in the log."""

import traceback

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from meterport.adapters.sql_database import Database


def test_a_refused_statement_does_not_quote_its_values(database: Database) -> None:
    """A crash is logged with its traceback: labels, meters and digests are not for it."""
    values = {"label": "Meier, 2nd floor"}
    statement = text("SELECT nothing_there FROM jobs WHERE label = :label")

    with pytest.raises(SQLAlchemyError) as refused, database.engine.connect() as connection:
        connection.execute(statement, values)

    assert "Meier" not in "".join(traceback.format_exception(refused.value))
