"""The history of exports, over every database that there is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_history import SqlHistory
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain.access import EVERYTHING, Access, Meters, Scope
from meterport.domain.errors import InvalidRequest
from meterport.domain.exports import ExportRequest
from meterport.domain.history import HistoryPage, Wanted
from meterport.domain.jobs import Job, Phase
from meterport.ports import JobStore
from meterport.ports.history import History
from meterport.services.find_job import sees
from meterport.services.keys import MOST_PATTERNS
from tests import make
from tests.contracts.jobs import ERROR, LEASE, NOBODYS, add, claim, expired, file_of, get
from tests.contracts.parts import THREE, finish_parts, split

ALL = Wanted()
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return SqlJobs(database)


@pytest.fixture
def history(database: Database) -> History:
    return SqlHistory(database)


def ids(page: HistoryPage) -> list[str]:
    return [entry.job.id for entry in page.entries]


def found(history: History, wanted: Wanted) -> list[str]:
    return ids(history.page(wanted, access=EVERYTHING, limit=200))


def pages(history: History, limit: int) -> list[list[str]]:
    told, after = [], ()
    while True:
        page = history.page(ALL, access=EVERYTHING, limit=limit, after=after)
        told.append(ids(page))
        if page.next_key is None:
            return told
        after = page.next_key  # type: ignore[assignment]


def made_at(database: Database, job: Job, as_text: str) -> None:
    """As the database itself, or an older release, wrote it."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    value = ":text" if is_sqlite else "CAST(:text AS TIMESTAMP)"
    with database.write() as connection:
        connection.execute(
            text(f"UPDATE jobs SET created_at = {value} WHERE id = :id"),  # noqa: S608
            {"text": as_text, "id": job.id},
        )


def test_the_newest_comes_first(jobs: JobStore, history: History, database: Database) -> None:
    made = [add(jobs) for _ in range(3)]
    for second, job in enumerate(made):
        made_at(database, job, f"2026-01-01 00:00:0{second}.000")

    page = history.page(ALL, access=EVERYTHING, limit=3)

    assert ids(page) == [job.id for job in reversed(made)]
    assert page.next_key is None
    assert page.entries[0].job == get(jobs, made[-1])


def test_pages_tell_each_job_once_also_where_many_were_made_at_once(
    jobs: JobStore, history: History, database: Database
) -> None:
    texts = ["2026-01-01 00:00:00", "2026-01-01 00:00:00.500", "2026-01-01 00:00:01"]
    made = [add(jobs) for _ in range(9)]
    for n, job in enumerate(made):
        made_at(database, job, texts[n % 3])

    told = pages(history, 2)

    assert [len(page) for page in told] == [2, 2, 2, 2, 1]
    assert sorted(id_ for page in told for id_ in page) == sorted(job.id for job in made)
    assert [id_ for page in told for id_ in page] == found(history, ALL)


def test_what_comes_meanwhile_does_not_shift_the_next_page(
    jobs: JobStore, history: History
) -> None:
    add(jobs)
    add(jobs)
    before = found(history, ALL)
    first = history.page(ALL, access=EVERYTHING, limit=1)
    add(jobs)

    second = history.page(ALL, access=EVERYTHING, limit=1, after=first.next_key or ())

    assert ids(first) + ids(second) == before
    assert second.next_key is None


@pytest.mark.parametrize(
    "key",
    [
        ("2026-01-01 00:00:00",),
        ("2026-01-01 00:00:00", "17"),
        ("2026-13-01 00:00:00", NOBODYS),
        ("0000-01-01 00:00:00", NOBODYS),
        ("2026-01-01T00:00:00Z", NOBODYS),
        ("now", NOBODYS),
        ("", ""),
    ],
)
def test_a_key_that_no_page_ended_with_is_refused(history: History, key: Sequence[str]) -> None:
    with pytest.raises(InvalidRequest, match="cursor is none that this list gave"):
        history.page(ALL, access=EVERYTHING, limit=1, after=key)


def test_behind_a_job_that_was_forgotten_the_list_goes_on(jobs: JobStore, history: History) -> None:
    job = add(jobs)

    page = history.page(
        ALL, access=EVERYTHING, limit=1, after=("9999-12-31 23:59:59.999999", NOBODYS)
    )

    assert ids(page) == [job.id]


def test_a_fleet_is_found_by_each_of_its_meters_and_counted(
    jobs: JobStore, history: History
) -> None:
    one = add(jobs, "A")
    request = ExportRequest.of_fleet(["A", "B"], make.period())
    fleet = jobs.add(request, owner="owner").job

    assert set(found(history, Wanted(smart_meter_id="A"))) == {one.id, fleet.id}
    assert found(history, Wanted(smart_meter_id="B")) == [fleet.id]
    assert found(history, Wanted(smart_meter_id="C")) == []
    counts = {
        entry.job.id: entry.meters
        for entry in history.page(ALL, access=EVERYTHING, limit=9).entries
    }
    assert counts == {one.id: 1, fleet.id: 2}


def test_a_label_and_a_format_are_found_as_they_were_asked_for(
    jobs: JobStore, history: History
) -> None:
    labelled = ExportRequest("A", make.period(), "json", label="Zähler 7")
    job = jobs.add(labelled, owner="owner").job
    add(jobs)

    assert get(jobs, job).request == labelled
    assert found(history, Wanted(label="Zähler 7")) == [job.id]
    assert found(history, Wanted(format="json")) == [job.id]
    assert found(history, Wanted(label="Zähler 7", format="csv")) == []


def test_times_are_half_open_to_the_millisecond(
    jobs: JobStore, history: History, database: Database
) -> None:
    job = add(jobs)
    made_at(database, job, "2026-01-01 00:00:00.000")
    later = MIDNIGHT + timedelta(milliseconds=1)

    assert found(history, Wanted(created_from=MIDNIGHT, created_before=later)) == [job.id]
    assert found(history, Wanted(created_from=later)) == []
    assert found(history, Wanted(created_before=MIDNIGHT)) == []


def phases(history: History) -> dict[Phase, int]:
    counts = {phase: len(found(history, Wanted(phase=phase))) for phase in Phase}
    return {phase: count for phase, count in counts.items() if count}


def test_each_phase_is_told_and_found(jobs: JobStore, history: History) -> None:
    job = add(jobs)
    told = [get(jobs, job).phase]
    at_work = claim(jobs)
    told.append(get(jobs, job).phase)
    jobs.complete(at_work, file_of(at_work))
    told.append(get(jobs, job).phase)
    history.expire(job.id)
    told.append(get(jobs, job).phase)

    assert told == [Phase.QUEUED, Phase.RUNNING, Phase.COMPLETED, Phase.EXPIRED]
    assert phases(history) == {Phase.EXPIRED: 1}


def test_a_failed_and_a_cancelled_job_are_told_apart(jobs: JobStore, history: History) -> None:
    add(jobs)
    failed = claim(jobs)
    jobs.fail(failed, ERROR)
    waiting = add(jobs)
    jobs.cancel(waiting.id)
    add(jobs)
    at_work = claim(jobs)
    told = jobs.cancel(at_work.id)

    assert get(jobs, failed).phase is Phase.FAILED
    assert (told.phase, get(jobs, waiting).phase) == (Phase.CANCELLED, Phase.CANCELLED)
    assert phases(history) == {Phase.FAILED: 1, Phase.CANCELLED: 2}


def test_a_job_whose_worker_died_is_queued(jobs: JobStore, history: History) -> None:
    add(jobs)

    job = expired(jobs)

    assert get(jobs, job).phase is Phase.QUEUED


def test_a_job_in_parts_is_running_until_they_are_written(jobs: JobStore, history: History) -> None:
    job = split(jobs)
    told = [get(jobs, job).phase]
    for _ in THREE:
        finish_parts(jobs, 1)
        told.append(get(jobs, job).phase)

    assert told == [Phase.RUNNING, Phase.RUNNING, Phase.RUNNING, Phase.FINALIZING]
    assert phases(history) == {Phase.FINALIZING: 1}


def test_only_a_completed_job_expires_and_only_once(jobs: JobStore, history: History) -> None:
    add(jobs)
    done = claim(jobs)
    jobs.complete(done, file_of(done))
    waiting = add(jobs)

    history.expire(done.id)
    first = get(jobs, done).expires_at
    for id_ in (done.id, waiting.id, NOBODYS):
        history.expire(id_)

    assert get(jobs, done).expires_at == first
    assert get(jobs, done).file == file_of(done)
    assert get(jobs, waiting) == waiting


def test_a_label_belongs_to_what_a_key_stands_for(jobs: JobStore) -> None:
    plain = make.request()
    labelled = ExportRequest("123", make.period(), label="x")
    first = jobs.add(labelled, owner="owner", idempotency_key="k").job

    again = jobs.earlier(labelled, owner="owner", idempotency_key="k")

    assert again is not None
    assert again.id == first.id
    with pytest.raises(InvalidRequest, match="came with another request"):
        jobs.earlier(plain, owner="owner", idempotency_key="k")
    assert jobs.claim(LEASE) is not None


def access(owner: str, *patterns: str, scope: Scope = Scope.READ) -> Access:
    return Access(owner, frozenset([scope]), Meters(patterns), "key")


@pytest.mark.parametrize(
    "asking",
    [
        access("x", "*"),
        access("y", "*"),
        access("x", "A*"),
        access("x", "a*"),
        access("x", "A", "B*"),
        access("x", "A_*"),
        access("x", "nothing"),
        access("z", "*"),
        access("z", "*", scope=Scope.ADMIN),
        access("z", "A*", "C", scope=Scope.ADMIN),
        EVERYTHING,
    ],
    ids=lambda asking: f"{asking.owner}:{','.join(asking.meters.patterns)}",
)
def test_the_list_has_just_those_that_may_be_seen_one_by_one(
    history: History, jobs: JobStore, asking: Access
) -> None:
    fleets = [("A", "B"), ("A1", "A2"), ("A_1", "A_2"), ("A", "C")]
    for owner in ("x", "y"):
        for meter in ("A", "a", "A-1", "A_1", "B", "C"):
            jobs.add(make.request(meter), owner=owner)
        for fleet in fleets:
            jobs.add(ExportRequest.of_fleet(fleet, make.period()), owner=owner)
    everything = history.page(ALL, access=EVERYTHING, limit=200).entries
    assert len(everything) == 20

    listed = ids(history.page(ALL, access=asking, limit=200))

    assert listed == [e.job.id for e in everything if sees(asking, e.job, jobs)]
    assert listed or asking.owner == "z" or "nothing" in asking.meters


@pytest.mark.parametrize(
    "patterns",
    [["*"], ["A*"], ["a*"], ["A", "A1"], ["A", "B"], ["A_*"], ["A", "A*"], ["B*", "A-1*"], ["C"]],
)
def test_a_job_has_other_meters_as_its_own_list_says(jobs: JobStore, patterns: list[str]) -> None:
    meters = Meters(tuple(patterns))
    fleets = [("A", "B"), ("A", "A1"), ("A_1", "A_2"), ("A-1", "A-11"), ("a", "A")]
    made = [jobs.add(ExportRequest.of_fleet(each, make.period()), owner="x").job for each in fleets]
    made += [jobs.add(make.request(meter), owner="x").job for meter in ("A", "a", "B", "A-1")]

    told = [jobs.has_others(job, than=meters) for job in made]

    assert told == [meters.lacks(jobs.meters(job)) is not None for job in made]


@pytest.mark.parametrize(
    "patterns",
    [
        pytest.param([f"{number}-*" for number in range(MOST_PATTERNS)], id="beginnings"),
        pytest.param([f"{number}" for number in range(MOST_PATTERNS)], id="ids"),
        pytest.param(["1" * length + "*" for length in range(1, 64)], id="lengths"),
    ],
)
def test_a_key_may_name_as_many_meters_as_keys_can(
    jobs: JobStore, history: History, patterns: list[str]
) -> None:
    meter = patterns[-1].removesuffix("*")
    seen = jobs.add(make.request(meter), owner="acme").job
    jobs.add(make.request(f"x{meter}"), owner="acme")

    page = history.page(ALL, access=access("acme", *patterns), limit=10)

    assert ids(page) == [seen.id]


def test_no_meter_of_a_fleet_is_read_to_judge_a_key(
    jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand, at each poll and at each event: the database judges them."""
    fleet = ExportRequest.of_fleet(("A1", "A2"), make.period())
    job = jobs.add(fleet, owner="x").job
    monkeypatch.setattr(jobs, "meters", None)

    assert sees(access("x", "A*"), job, jobs)
    assert not sees(access("x", "A1"), job, jobs)
