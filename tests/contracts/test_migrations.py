"""The schema that the migrations leave: the contract's jobs table, and what the adapters expect."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_schema import revision, upgrade
from meterport.domain.completeness import Completeness, Manifest
from meterport.domain.errors import ManifestGone, ServiceUnavailable
from meterport.domain.exports import ExportFile, ExportRequest
from meterport.domain.fleets import Part
from meterport.domain.jobs import JobStatus, Lease
from meterport.domain.options import Compression, ExportOptions
from meterport.domain.period import Period
from meterport.services.read_manifest import read_manifest
from tests import make

# API.md, "The jobs table": name, type, nullable, default
CONTRACT = {
    "sqlite": [
        ("id", "VARCHAR(36)", False, None),
        ("smart_meter_id", "VARCHAR", False, None),
        ("start_datetime", "TIMESTAMP", False, None),
        ("end_datetime", "TIMESTAMP", False, None),
        ("status", "VARCHAR", False, "'pending'"),
        ("created_at", "TIMESTAMP", True, "CURRENT_TIMESTAMP"),
        ("updated_at", "TIMESTAMP", True, "CURRENT_TIMESTAMP"),
        ("file_path", "VARCHAR", True, None),
        ("error_message", "TEXT", True, None),
        ("record_count", "INTEGER", True, None),
        ("file_size_bytes", "BIGINT", True, None),
    ],
    "postgresql": [
        ("id", "UUID", False, None),
        ("smart_meter_id", "VARCHAR", False, None),
        ("start_datetime", "TIMESTAMP WITHOUT TIME ZONE", False, None),
        ("end_datetime", "TIMESTAMP WITHOUT TIME ZONE", False, None),
        ("status", "VARCHAR", False, "'pending'::character varying"),
        ("created_at", "TIMESTAMP WITHOUT TIME ZONE", True, "CURRENT_TIMESTAMP"),
        ("updated_at", "TIMESTAMP WITHOUT TIME ZONE", True, "CURRENT_TIMESTAMP"),
        ("file_path", "VARCHAR", True, None),
        ("error_message", "TEXT", True, None),
        ("record_count", "INTEGER", True, None),
        ("file_size_bytes", "BIGINT", True, None),
    ],
}
A_JOB_ID = "1e500000-0000-4000-8000-000000000000"
CONTRACTS_OWN_INSERT = f"""
    INSERT INTO jobs (id, smart_meter_id, start_datetime, end_datetime)
    VALUES ('{A_JOB_ID}', '123', '2024-01-01 00:00:00', '2024-01-31 23:59:59')
"""  # noqa: S608  # a constant
JANUARY = Period(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC))
A_FLEET = "2e500000-0000-4000-8000-000000000000"
A_FLEET_AT_WORK = (
    f"""
    INSERT INTO jobs (id, smart_meter_id, start_datetime, end_datetime, parts_left)
    VALUES ('{A_FLEET}', '*', '2024-01-01 00:00:00', '2024-01-01 01:00:00', 1)
    """,  # noqa: S608  # a constant
    *(
        f"INSERT INTO job_meters VALUES ('{A_FLEET}', {position}, '{meter}')"  # noqa: S608
        for position, meter in enumerate("AB")
    ),
    *(
        f"""
        INSERT INTO job_parts (job_id, number, first_meter, end_meter, start_datetime,
            end_datetime, status, updated_at, attempt, crashes, retries, rows_written,
            rows_expected, file_path, record_count, file_size_bytes, sha256)
        VALUES ('{A_FLEET}', {number}, {number - 1}, {number}, '2024-01-01 00:00:00',
            '2024-01-01 01:00:00', {end}, 60, {result})
        """  # noqa: S608  # constants
        for number, end, result in (
            (1, "'completed', '2024-01-01 02:00:00', 1, 0, 0, 60", "'key', 60, 10, 'ab'"),
            (2, "'pending', '2024-01-01 02:00:00', 1, 0, 0, 0", "null, null, null, null"),
        )
    ),
)
"""Before 0005: one part is done, the other one waits."""
UPGRADE_WHEN_TOLD = """
import sys
import alembic.command
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_schema import upgrade

database = Database(sys.argv[1])
with database.read():
    print("ready", flush=True)
sys.stdin.readline()
upgrade(database)
"""


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.engine.dispose()


def shape(database: Database) -> dict[str, object]:
    """Of each table the columns and the keys. SQLite stores TIMESTAMP and DATETIME alike."""
    inspector, dialect = inspect(database.engine), database.engine.dialect
    return {
        table: [
            [
                (
                    c["name"],
                    c["type"].compile(dialect).replace("DATETIME", "TIMESTAMP"),
                    c["nullable"],
                )
                for c in inspector.get_columns(table)
            ],
            inspector.get_pk_constraint(table)["constrained_columns"],
            [
                (f["constrained_columns"], f["referred_table"], f["referred_columns"])
                for f in inspector.get_foreign_keys(table)
            ],
        ]
        for table in inspector.get_table_names()
    }


def test_the_jobs_table_begins_with_the_contracts_columns(database: Database) -> None:
    dialect = database.engine.dialect

    found = inspect(database.engine).get_columns("jobs")[:11]

    assert [
        (column["name"], column["type"].compile(dialect), column["nullable"], column["default"])
        for column in found
    ] == CONTRACT[dialect.name]
    assert inspect(database.engine).get_pk_constraint("jobs")["constrained_columns"] == ["id"]


def test_every_other_column_of_a_job_may_be_left_out(database: Database) -> None:
    additive = inspect(database.engine).get_columns("jobs")[11:]

    assert additive
    assert [c["name"] for c in additive if not c["nullable"] and c["default"] is None] == []


def test_a_row_of_the_contracts_columns_alone_is_a_pending_job(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text(CONTRACTS_OWN_INSERT))

    job = SqlJobs(database).get(A_JOB_ID)

    assert job is not None
    assert job.id == A_JOB_ID
    assert job.status is JobStatus.PENDING
    assert job.request.filename("csv") == "smart_meter_123_20240101_20240131.csv"
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert abs(job.updated_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_adapters_tables_are_those_of_the_migrations(empty: Database) -> None:
    upgrade(empty)
    migrated = shape(empty)
    sql_tables.metadata.drop_all(empty.engine)

    sql_tables.metadata.create_all(empty.engine)

    assert shape(empty) == migrated
    assert set(migrated) == {*sql_tables.metadata.tables, "alembic_version"}


def test_an_upgrade_reaches_the_newest_migration(empty: Database) -> None:
    scripts = ScriptDirectory(str(files("meterport.migrations")))

    upgrade(empty)

    assert revision(empty) == scripts.get_current_head()


def test_a_job_that_an_earlier_version_completed_expires_a_week_after(empty: Database) -> None:
    migrate(empty, "0001")
    with empty.write() as connection:
        connection.execute(text(CONTRACTS_OWN_INSERT))
        connection.execute(
            text(
                "UPDATE jobs SET status = 'completed', updated_at = '2024-02-01 10:00:00', "
                "file_path = 'key', record_count = 1, file_size_bytes = 1, sha256 = 'ab'"
            )
        )

    upgrade(empty)

    job = SqlJobs(empty).get(A_JOB_ID)
    assert job is not None
    assert job.expires_at == datetime(2024, 2, 8, 10, tzinfo=UTC)
    assert (job.status, job.expired, job.attempt) == (JobStatus.COMPLETED, True, 0)


def test_a_job_that_waited_under_an_earlier_version_is_claimed(empty: Database) -> None:
    migrate(empty, "0001")
    with empty.write() as connection:
        connection.execute(text(CONTRACTS_OWN_INSERT))

    upgrade(empty)

    claimed = SqlJobs(empty).claim(Lease("worker"))
    assert claimed is not None
    assert (claimed.id, claimed.attempt, claimed.retries) == (A_JOB_ID, 1, 0)


def test_what_an_earlier_version_had_at_work_is_finished_by_this_one(empty: Database) -> None:
    migrate(empty, "0004")
    with empty.write() as connection:
        for statement in (CONTRACTS_OWN_INSERT, *A_FLEET_AT_WORK):
            connection.execute(text(statement))

    upgrade(empty)

    jobs = SqlJobs(empty)
    claimed = [jobs.claim(Lease("worker")) for _ in range(3)]
    whole, part = (job for job in claimed if job is not None)
    assert (whole.id, whole.request) == (A_JOB_ID, ExportRequest("123", JANUARY))
    assert part.part == Part(2, 1, 2, make.period(), 60, is_last=False)
    assert (part.id, part.attempt, part.request.options) == (A_FLEET, 2, ExportOptions())
    assert (jobs.meters(part), part.request.compression) == (["B"], Compression.NONE)


def test_a_file_whose_parts_an_earlier_version_wrote_in_part_has_no_manifest(
    empty: Database,
) -> None:
    migrate(empty, "0004")
    with empty.write() as connection:
        for statement in A_FLEET_AT_WORK:
            connection.execute(text(statement))
    upgrade(empty)
    jobs = SqlJobs(empty)
    part = jobs.claim(Lease("worker"))
    assert part is not None
    told = Manifest(Completeness("UTC", 0, None, None, 0, 0, {}, (), 0, 0, 0), b"")
    assert jobs.complete(part, ExportFile(part.key, 60, 10, "ab"), told)
    joining = jobs.claim(Lease("worker"))
    assert joining is not None
    assert jobs.complete(joining, ExportFile(joining.key_of_parts, 120, 20, "cd"))

    ended = jobs.get(A_FLEET)
    assert ended is not None
    with pytest.raises(ManifestGone, match=A_FLEET):
        next(read_manifest(ended, jobs.manifests(ended)))


def migrate(database: Database, target: str) -> None:
    """To an earlier schema than the newest."""
    config = Config()
    config.set_main_option("script_location", str(files("meterport.migrations")))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, target)


def test_an_empty_database_has_no_revision(empty: Database) -> None:
    assert revision(empty) is None


def test_a_second_upgrade_changes_nothing(empty: Database) -> None:
    upgrade(empty)
    before = shape(empty)
    job = SqlJobs(empty).add(make.request(), owner="owner").job

    upgrade(empty)

    assert shape(empty) == before
    assert SqlJobs(empty).get(job.id) == job


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE meters (in_the_way INTEGER)"))

    with pytest.raises((ServiceUnavailable, DBAPIError)):
        upgrade(empty)

    assert inspect(empty.engine).get_table_names() == ["meters"]
    with empty.write() as connection:
        connection.execute(text("DROP TABLE meters"))
    upgrade(empty)
    assert "jobs" in inspect(empty.engine).get_table_names()


def test_programs_that_start_together_upgrade_the_database_once(empty_url: str) -> None:
    with ExitStack() as running:
        programs = [upgrading(empty_url, running) for _ in range(3)]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"

        for program in programs:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()

        errors = [program.communicate(timeout=60)[1] for program in programs]
    assert [error for error, p in zip(errors, programs, strict=True) if p.returncode] == []


def upgrading(url: str, running: ExitStack) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", UPGRADE_WHEN_TOLD, url]
    program = running.enter_context(
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    )
    running.callback(program.kill)
    return program
