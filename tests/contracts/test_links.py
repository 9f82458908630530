"""The laws of the links table: a link is there as long as its export's file, and no longer."""

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy import Select, insert, update

from meterport.adapters import sql_tables
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures
from meterport.adapters.sql_history import SqlHistory
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_jobs import SqlJobs
from meterport.adapters.sql_links import SqlLinks
from meterport.domain.errors import InvalidRequest
from meterport.domain.exports import ExportFile
from meterport.domain.jobs import Job, JobId, Lease
from meterport.domain.links import MOST_OF_EXPORT, Link
from meterport.ports.access import Links
from tests import make
from tests.contracts.conftest import at_once

SHA256 = "ab" * 32
NOBODYS = JobId("6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60")
DAY = timedelta(days=1)


@pytest.fixture
def links(database: Database) -> Links:
    return SqlLinks(database)


@pytest.fixture
def job(database: Database) -> Job:
    """A finished one."""
    return finished(database)


def finished(database: Database, meter: str = "123") -> Job:
    jobs = SqlJobs(database)
    jobs.add(make.request(meter), owner="owner")
    claimed = jobs.claim(Lease("worker"))
    assert claimed is not None
    assert jobs.complete(claimed, ExportFile(claimed.key, 60, 2000, SHA256))
    return claimed


def link(job: Job, id_: str = "one", *, key_id: str = "key") -> Link:
    return Link(id_, job.id, key_id, created_at=make.JANUARY, expires_at=make.JANUARY + DAY)


def test_a_link_is_found_as_it_was_added(links: Links, job: Job) -> None:
    assert links.add(link(job), secret_sha256=SHA256)

    assert links.find("one") == (link(job), SHA256)
    assert links.find("two") is None
    assert links.of_job(job.id) == [link(job)]


def test_a_removed_link_is_gone_however_often_it_is_removed(links: Links, job: Job) -> None:
    links.add(link(job), secret_sha256=SHA256)
    links.add(link(job, "two"), secret_sha256=SHA256)

    for job_id in (job.id, job.id, NOBODYS, JobId("x")):
        links.remove(job_id, "one")

    assert links.find("one") is None
    assert links.find("two") is not None


def test_an_export_has_only_so_many_links(links: Links, job: Job, database: Database) -> None:
    other = finished(database)
    with database.write() as connection:
        row = {"job_id": job.id, "key_id": "", "secret_sha256": SHA256}
        times = {"created_at": make.JANUARY, "expires_at": make.JANUARY}
        rows = [{"id": str(number), **row, **times} for number in range(MOST_OF_EXPORT)]
        connection.execute(insert(sql_tables.links), rows)

    with pytest.raises(InvalidRequest, match="has 1,000 links"):
        links.add(link(job), secret_sha256=SHA256)

    assert links.find("one") is None
    assert links.add(link(other, "two"), secret_sha256=SHA256)
    links.remove(job.id, "7")
    assert links.add(link(job), secret_sha256=SHA256)


def test_what_is_no_id_at_all_removes_nothing(links: Links, job: Job) -> None:
    links.add(link(job), secret_sha256=SHA256)

    assert not links.remove(job.id, "one\0")

    assert links.find("one") is not None


def test_a_link_of_another_export_is_not_removed(
    links: Links, job: Job, database: Database
) -> None:
    links.add(link(job), secret_sha256=SHA256)

    links.remove(finished(database).id, "one")

    assert links.find("one") is not None


def test_an_export_without_a_file_gets_no_link(links: Links, job: Job, database: Database) -> None:
    SqlHistory(database).expire(job.id)
    pending = SqlJobs(database).add(make.request(), owner="owner").job

    for other in (job, pending):
        assert not links.add(link(other), secret_sha256=SHA256)

    assert not links.add(Link("x", NOBODYS, "", make.JANUARY, make.JANUARY), secret_sha256=SHA256)
    assert links.of_job(job.id) == []


def test_links_go_when_the_export_is_removed(links: Links, job: Job, database: Database) -> None:
    other = finished(database)
    links.add(link(job), secret_sha256=SHA256)
    links.add(link(other, "other"), secret_sha256=SHA256)

    SqlHistory(database).expire(job.id)

    assert links.find("one") is None
    assert links.find("other") is not None


def test_links_go_with_the_readings_of_their_meter(
    links: Links, job: Job, database: Database
) -> None:
    other = finished(database, "124")
    links.add(link(job), secret_sha256=SHA256)
    links.add(link(other, "other"), secret_sha256=SHA256)

    SqlErasures(database).begin("123")

    assert links.find("one") is None
    assert links.find("other") is not None


def test_links_go_with_the_record_of_their_export(
    links: Links, job: Job, database: Database
) -> None:
    links.add(link(job), secret_sha256=SHA256)
    with database.write() as connection:
        old = {"created_at": make.JANUARY, "expires_at": make.JANUARY}
        connection.execute(update(sql_tables.jobs).values(old))

    assert SqlJobArchive(database).forget(older_than=DAY) == 1

    assert links.find("one") is None


def added_while_it_is_removed(links: Links, job: Job, database: Database) -> bool:
    with ThreadPoolExecutor(1) as threads:
        with database.write() as connection:
            connection.execute(update(sql_tables.jobs).values(expires_at=make.JANUARY))
            adding = threads.submit(links.add, link(job), secret_sha256=SHA256)
            wait([adding], timeout=0.5)  # it may have come to its end, or have to wait for ours
        return adding.result()


def test_an_export_that_is_being_removed_gets_no_link(
    links: Links, job: Job, database: Database
) -> None:
    assert not added_while_it_is_removed(links, job, database)
    assert links.of_job(job.id) == []


def test_it_gets_one_where_nobody_locks_the_export(
    links: Links, job: Job, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant of the one above."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time in any case")
    monkeypatch.setattr(Select, "with_for_update", lambda self, **_: self)

    assert added_while_it_is_removed(links, job, database)


def test_no_link_is_left_of_an_export_that_is_removed_while_links_are_made(
    links: Links, job: Job, database: Database
) -> None:
    def act(number: int) -> None:
        if number == 5:
            SqlHistory(database).expire(job.id)
        else:
            links.add(link(job, str(number)), secret_sha256=SHA256)

    at_once(10, act)

    assert links.of_job(job.id) == []
