"""The audit log on both databases: entries in one order, views in pages, changes found out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from meterport.adapters import sql_audit
from meterport.adapters.sql_audit import SqlAudit
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import audit, audit_meters
from meterport.domain.access import EVERYTHING
from meterport.domain.audit import Action, Deed, Entry, Head, Result, Sought
from meterport.ports.audit import Audit
from meterport.services.verify_audit import verify_audit
from tests.contracts.audits import (
    ACME,
    JOB,
    add_to_set,
    as_administrator,
    change,
    download,
    exchange,
    forged_as,
    refused,
)
from tests.contracts.conftest import at_once

OF_A = "06f961b802bc46ee168555f066d28f4f0e9afdf3f88174c1ee6f9de004fc30a0"
"""SHA-256 of "A" and a line break."""
CHANGES = {
    "at": "'2020-01-01T00:00:00.000Z'",
    "owner": "'other'",
    "key_id": "'other'",
    "action": "'preview_read'",
    "result": "'refused'",
    "job_id": "NULL",
    "meters_sha256": "NULL",
    "rows": "rows + 1",
    "bytes": "bytes - 1",
    "request_id": "'other'",
    "details": "'{}'",
    "sha256": f"'{'0' * 64}'",
}


@pytest.fixture
def log(database: Database) -> SqlAudit:
    return SqlAudit(database)


@pytest.fixture
def written(log: SqlAudit) -> Head:
    """Five entries; the head after them."""
    for meters in ("A", "AB", "A", "ABC", "A"):
        head = log.record(download(*meters))
    return head


def seqs(log: Audit, **sought: object) -> list[int]:
    page = log.page(Sought(**sought), limit=100)  # type: ignore[arg-type]
    return [seen.entry.seq for seen in page.entries]


def found(log: Audit, expected: Head | None = None) -> str | None:
    fault = verify_audit(log, expected=expected).fault
    return None if fault is None else str(fault)


def test_an_entry_says_who_received_what(log: SqlAudit) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    head = log.record(download("A"))

    (seen,) = log.page(Sought(), limit=10).entries
    told = seen.as_json()

    assert before < datetime.fromisoformat(str(told.pop("at"))) < before + timedelta(minutes=2)
    assert told == {
        "seq": 1,
        "action": "file_downloaded",
        "result": "done",
        "owner": "acme",
        "key_id": "k3v9x2m7q1pz",
        "job_id": JOB,
        "meters": 1,
        "smart_meter_id": "A",
        "rows": 44_640,
        "bytes": 5_000_000_000,
        "request_id": "request-1",
        "details": {"format": "csv"},
        "sha256": head.sha256,
    }


def test_the_command_line_is_named_where_there_is_no_request(log: SqlAudit) -> None:
    log.record(Deed(Action.METER_ERASED, EVERYTHING, ["A"], rows=3))

    (seen,) = log.page(Sought(), limit=10).entries

    assert seen.as_json()["details"] == {"by": "command line"}
    assert seen.as_json()["owner"] == "anonymous"


def test_the_chain_is_the_same_on_both_databases(log: SqlAudit) -> None:
    log.record(download("A"))
    (entry,) = log.entries()

    assert entry.meters_sha256 == OF_A
    again = replace(entry, at="2024-02-01T08:30:00.125Z").sealed(Head())
    assert again.text == (
        '[1,"2024-02-01T08:30:00.125Z","acme","k3v9x2m7q1pz","file_downloaded","done",'
        f'"{JOB}","{OF_A}",44640,5000000000,"request-1","{{\\"format\\":\\"csv\\"}}"]'
    )
    assert again.sha256 == "27b74f083924a88859018a277d5df5486437bc19449e6a9fdf761e76830a9451"


def test_a_set_of_meters_is_kept_once(log: SqlAudit, database: Database) -> None:
    meters = [f"m-{n}" for n in range(2_000)]
    log.record(download(*meters))
    log.record(download(*reversed(meters), *meters))

    with database.read() as connection:
        rows = connection.execute(select(func.count()).select_from(audit_meters)).scalar()

    assert rows == 2_000
    assert [seen.meters for seen in log.page(Sought(), limit=10).entries] == [2_000, 2_000]
    assert found(log) is None


def test_ids_are_hashed_in_one_order_everywhere(log: SqlAudit) -> None:
    log.record(download("a", "B", "_", "Z", "a-b", "a.b", "ab", "10", "9"))

    assert found(log) is None


def test_those_who_record_at_once_get_numbers_of_their_own(
    log: SqlAudit, database: Database
) -> None:
    heads = at_once(8, lambda n: [SqlAudit(database).record(download(f"m-{n}")) for _ in range(5)])

    assert sorted(head.seq for some in heads for head in some) == list(range(1, 41))
    assert found(log) is None


def test_what_is_sought_is_found_the_newest_first(log: SqlAudit, written: Head) -> None:
    other = replace(ACME, owner="other", key_id="another-key")
    log.record(download("B", by=other, job_id=None))

    assert seqs(log) == [6, 5, 4, 3, 2, 1]
    assert seqs(log, smart_meter_id="A") == [5, 4, 3, 2, 1]
    assert seqs(log, smart_meter_id="B") == [6, 4, 2]
    assert seqs(log, smart_meter_id="nobody's") == []
    assert seqs(log, job_id=JOB) == [5, 4, 3, 2, 1]
    assert seqs(log, owner="other") == seqs(log, key_id="another-key") == [6]
    assert seqs(log, smart_meter_id="B", owner="acme") == [4, 2]
    assert seqs(log, since=datetime.now(UTC) + timedelta(days=1)) == []
    assert seqs(log, since=datetime.now(UTC) - timedelta(days=1)) == [6, 5, 4, 3, 2, 1]


def test_pages_follow_each_other_without_repeating_what_is_added_meanwhile(
    log: SqlAudit, written: Head
) -> None:
    first = log.page(Sought(smart_meter_id="A"), limit=2)
    log.record(download("A"))
    second = log.page(Sought(smart_meter_id="A"), limit=2, before=first.next_seq)
    third = log.page(Sought(smart_meter_id="A"), limit=2, before=second.next_seq)

    pages = [[seen.entry.seq for seen in page.entries] for page in (first, second, third)]
    assert pages == [[5, 4], [3, 2], [1]]
    assert third.next_seq is None


def test_what_was_not_changed_verifies(log: SqlAudit, written: Head) -> None:
    verdict = verify_audit(log, expected=written)

    assert verdict.fault is None
    assert verdict.head == written
    assert verify_audit(log).head == Head.read(str(written))


def test_an_earlier_head_is_found_again(log: SqlAudit) -> None:
    noted = log.record(download("A"))
    log.record(download("A"))

    assert found(log, noted) is None


def test_an_empty_log_verifies(log: SqlAudit) -> None:
    assert found(log) is None
    assert found(log, Head()) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET owner = 'other' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 5",
        "UPDATE audit_meters SET smart_meter_id = 'B'",
        "DELETE FROM audit_meters",
    ],
)
def test_the_database_itself_lets_nothing_be_changed(
    log: SqlAudit, written: Head, database: Database, statement: str
) -> None:
    assert refused(database, statement)
    assert found(log, written) is None


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_named_by_its_entry(
    log: SqlAudit, written: Head, database: Database, field: str
) -> None:
    with as_administrator(database) as connection:
        new = {field: text(CHANGES[field])}
        connection.execute(update(audit).where(audit.c.seq == 3).values(new))

    verdict = verify_audit(log)

    assert str(verdict.fault) == "entry 3 is not what was written"
    assert verdict.head.seq == 2


def test_every_field_is_changed_in_these_tests() -> None:
    assert {*CHANGES, "seq"} == {column.name for column in audit.c}


def test_a_changed_last_entry_is_named(log: SqlAudit, written: Head, database: Database) -> None:
    change(database, "UPDATE audit SET owner = 'other' WHERE seq = 5")

    assert found(log) == "entry 5 is not what was written"


@pytest.mark.parametrize("seq", [1, 3, 4])
def test_a_removed_entry_is_missed(
    log: SqlAudit, written: Head, database: Database, seq: int
) -> None:
    change(database, "DELETE FROM audit WHERE seq = :seq", seq=seq)

    assert found(log) == f"entry {seq} is missing"


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 4), (4, 5)])
def test_an_exchanged_pair_is_named(
    log: SqlAudit, written: Head, database: Database, one: int, other: int
) -> None:
    exchange(database, one, other)

    assert found(log) == f"entry {one} is not what was written"


@pytest.mark.parametrize("seq", [0, -7])
def test_an_entry_before_the_first_is_named(
    log: SqlAudit, written: Head, database: Database, seq: int
) -> None:
    change(database, "UPDATE audit SET seq = :seq WHERE seq = 5", seq=seq)

    assert found(log) == f"entry {seq} is not what was written"


def test_a_removed_tail_is_missed_by_whoever_noted_the_head(
    log: SqlAudit, written: Head, database: Database
) -> None:
    change(database, "DELETE FROM audit WHERE seq >= 4")

    assert found(log) is None
    assert found(log, written) == "entry 4 is missing, as are all up to the noted 5"


def test_a_tail_that_was_written_anew_is_not_the_noted_one(
    log: SqlAudit, written: Head, database: Database
) -> None:
    forged_as(database, log, 5)

    assert found(log) is None
    assert found(log, written) == "entry 5 is not the one that was noted"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_meters SET smart_meter_id = 'B' WHERE meters_sha256 = :of_a",
        "DELETE FROM audit_meters WHERE meters_sha256 = :of_a",
    ],
)
def test_a_changed_set_is_named_by_its_first_entry(
    log: SqlAudit, written: Head, database: Database, statement: str
) -> None:
    change(database, statement, of_a=OF_A)

    assert found(log) == "entry 1 names meters that are not those that were written"


@pytest.mark.parametrize("meter", ["0", "zz"])
def test_a_meter_that_was_put_into_a_set_is_noticed(
    log: SqlAudit, written: Head, database: Database, meter: str
) -> None:
    (of_two,) = {entry.meters_sha256 for entry in log.entries() if entry.seq == 2}
    assert of_two is not None
    add_to_set(database, of_two, meter)

    assert found(log) == "entry 2 names meters that are not those that were written"


def test_the_walk_reads_few_at_a_time(
    log: SqlAudit, written: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_audit, "AT_ONCE", 2)

    assert found(log, written) is None
    assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4, 5]
    assert len(list(log.sets())) == 6


def test_a_refusal_is_told_as_one(log: SqlAudit) -> None:
    log.record(Deed(Action.REQUEST, ACME, ["A"], result=Result.REFUSED))

    (entry,) = log.entries()

    assert isinstance(entry, Entry)
    assert (entry.action, entry.result) == ("request", "refused")
