"""A database that does not answer is ServiceUnavailable, whatever was asked of it."""

import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.pool import QueuePool

from meterport.adapters import sql_database
from meterport.adapters.sql_audit import SqlAudit
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures
from meterport.adapters.sql_figures import SqlFigures
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_leases import SqlLeases
from meterport.adapters.sql_meters import SqlMeters
from meterport.adapters.sql_presence import SqlPresence
from meterport.adapters.sql_schema import upgrade
from meterport.adapters.sql_tables import jobs as jobs_table
from meterport.domain.access import ALL_METERS
from meterport.domain.audit import Sought
from meterport.domain.errors import InternalError, ServiceUnavailable
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job, Lease
from meterport.services.verify_audit import verify_audit
from tests import make
from tests.contracts.audits import download
from tests.contracts.conftest import Postgres, wait_until

LEASE = Lease("worker", timedelta(hours=1))
FILE = ExportFile("key", 1, 1, "ab" * 32)


def _writing(database: Database) -> None:
    with SqlMeters(database).writing(patience=timedelta(0)):
        raise AssertionError("nobody can be the writer of a database that is gone")


CALLS: Mapping[str, Callable[[Database, Job], object]] = {
    "add": lambda db, job: SqlJobs(db).add(job.request, owner="owner", idempotency_key="key"),
    "get": lambda db, job: SqlJobs(db).get(job.id),
    "claim": lambda db, job: SqlJobs(db).claim(LEASE),
    "renew": lambda db, job: SqlJobs(db).renew(job, LEASE, rows_written=1),
    "begin": lambda db, job: SqlJobs(db).begin(job, source_version=1, rows_expected=1),
    "complete": lambda db, job: SqlJobs(db).complete(job, FILE),
    "fail": lambda db, job: SqlJobs(db).fail(job, InternalError()),
    "hand_back": lambda db, job: SqlJobs(db).hand_back(job),
    "retry": lambda db, job: SqlJobs(db).retry(job, after=timedelta(0)),
    "cancel": lambda db, job: SqlJobs(db).cancel(job.id),
    "needed": lambda db, job: SqlJobArchive(db).needed([job.key]),
    "results": lambda db, job: SqlJobArchive(db).results([job.key]),
    "recent": lambda db, job: SqlJobArchive(db).recent(1),
    "stranded": lambda db, job: SqlJobArchive(db).stranded(since=timedelta(0)),
    "kept_files": lambda db, job: list(SqlJobArchive(db).kept_files()),
    "oldest_version": lambda db, job: SqlJobArchive(db).oldest_version_in_use(),
    "forget": lambda db, job: SqlJobArchive(db).forget(older_than=timedelta(0)),
    "meter": lambda db, job: SqlMeters(db).get("123"),
    "record": lambda db, job: SqlAudit(db).record(download("123")),
    "audit_page": lambda db, job: SqlAudit(db).page(Sought(), limit=1),
    "audit_walk": lambda db, job: verify_audit(SqlAudit(db)),
    "mark": lambda db, job: SqlErasures(db).mark(),
    "erasure": lambda db, job: SqlErasures(db).state("123"),
    "meters": lambda db, job: SqlMeters(db).all(),
    "page": lambda db, job: SqlMeters(db).page(prefix="", after="", limit=1, within=ALL_METERS),
    "figures": lambda db, job: SqlFigures(db).figures(),
    "workers": lambda db, job: SqlPresence(db).workers(),
    "version": lambda db, job: SqlMeters(db).version(),
    "add_meters": lambda db, job: SqlMeters(db).add([], version=1),
    "writing": lambda db, job: _writing(db),
    "lease": lambda db, job: SqlLeases(db).holding("housekeeping").__enter__(),
    "erase": lambda db, job: SqlErasures(db).begin("123"),
    "erased": lambda db, job: SqlErasures(db).finish("123"),
    "erasures": lambda db, job: SqlErasures(db).all(),
    "unfinished": lambda db, job: SqlErasures(db).unfinished(),
    "upgrade": lambda db, job: upgrade(db),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A claimed job of some database that answers."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('good')}/meterport.db")
    upgrade(database)
    SqlJobs(database).add(make.request(), owner="owner")
    claimed = SqlJobs(database).claim(LEASE)
    database.engine.dispose()
    assert claimed is not None
    return claimed


def no_folder(folder: Path) -> str:
    return f"sqlite:///{folder}/absent/meterport.db"


def no_database(folder: Path) -> str:
    (folder / "meterport.db").write_bytes(b"this is no database\n" * 500)
    return f"sqlite:///{folder}/meterport.db"


def closed_port(folder: Path) -> str:
    return "postgresql+psycopg://postgres@127.0.0.1:1/meterport"


@pytest.fixture(params=[no_folder, no_database, closed_port], ids=lambda kind: kind.__name__)
def gone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = Database(request.param(tmp_path))
    yield database
    database.engine.dispose()


@pytest.mark.parametrize("call", CALLS)
def test_a_database_that_is_gone_is_service_unavailable(
    call: str, gone: Database, job: Job
) -> None:
    with pytest.raises(ServiceUnavailable) as refusal:
        CALLS[call](gone, job)

    assert refusal.value.retryable


@pytest.mark.parametrize("call", ["add", "get"])
def test_a_damaged_file_is_service_unavailable(call: str, tmp_path: Path, job: Job) -> None:
    path = tmp_path / "meterport.db"
    made = Database(f"sqlite:///{path}")
    upgrade(made)
    made.engine.dispose()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    damaged = Database(f"sqlite:///{path}")

    with pytest.raises(ServiceUnavailable):
        CALLS[call](damaged, job)

    damaged.engine.dispose()


def test_a_folder_that_goes_away_takes_no_more_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    database = Database(f"sqlite:///{folder}/meterport.db")
    upgrade(database)
    shutil.rmtree(folder)

    with pytest.raises(ServiceUnavailable):
        SqlJobs(database).add(make.request(), owner="owner")

    database.engine.dispose()


def test_a_database_that_was_dropped_is_service_unavailable(
    postgres: Postgres, migrated: str
) -> None:
    name = postgres.create(template=migrated)
    database = Database(postgres.url(name))
    jobs = SqlJobs(database)
    job = jobs.add(make.request(), owner="owner").job
    postgres.drop(name)

    with pytest.raises(ServiceUnavailable):
        jobs.get(job.id)

    database.engine.dispose()


def test_connections_that_the_server_closed_are_replaced(postgres: Postgres, migrated: str) -> None:
    name = postgres.create(template=migrated)
    database = Database(postgres.url(name))
    jobs = SqlJobs(database)
    added = jobs.add(make.request(), owner="owner").job
    postgres.disconnect(name)

    found = jobs.get(added.id)

    assert found == added
    database.engine.dispose()
    postgres.drop(name)


def test_a_connection_that_is_cut_within_a_transaction_is_service_unavailable(
    postgres: Postgres, migrated: str
) -> None:
    name = postgres.create(template=migrated)
    database = Database(postgres.url(name))
    jobs = SqlJobs(database)

    def cut() -> None:
        with database.write() as connection:
            postgres.disconnect(name)
            connection.execute(text("SELECT 1"))

    with pytest.raises(ServiceUnavailable):
        cut()

    assert jobs.add(make.request(), owner="owner").job.attempt == 0
    database.engine.dispose()
    postgres.drop(name)


def test_a_worker_that_froze_in_a_transaction_keeps_no_job(
    postgres: Postgres, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on a machine that went away: its server still believes in the connection."""
    monkeypatch.setattr(sql_database, "IDLE_IN_TRANSACTION_S", 0.3)
    name = postgres.create(template=migrated)
    frozen, other = Database(postgres.url(name)), Database(postgres.url(name))
    SqlJobs(frozen).add(make.request(), owner="owner")

    def freeze() -> None:
        with frozen.write() as connection:
            connection.execute(select(jobs_table).with_for_update())
            assert SqlJobs(other).claim(LEASE) is None
            wait_until(lambda: SqlJobs(other).claim(LEASE))
            connection.execute(select(jobs_table))

    with pytest.raises(ServiceUnavailable):
        freeze()

    for database in (frozen, other):
        database.engine.dispose()
    postgres.drop(name)


def test_a_server_that_never_answers_is_service_unavailable(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_database, "CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"postgresql+psycopg://x@127.0.0.1:{silent.getsockname()[1]}/x")

        with pytest.raises(ServiceUnavailable):
            SqlJobs(database).get(job.id)

    database.engine.dispose()


def test_no_connection_to_be_had_in_time_is_service_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a database answers nobody and every connection waits for it."""
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    monkeypatch.setattr(pool, "_timeout", 0.1)

    with ExitStack() as held:
        for _ in range(15):
            held.enter_context(database.engine.connect())
        with pytest.raises(ServiceUnavailable):
            SqlJobs(database).get("00000000-0000-4000-8000-000000000000")
