"""The laws of a sent file's Idempotency-Key: one of many imports it, all get that one's report."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, literal, select, update

from meterport.adapters import sql_import_keys
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures, detach
from meterport.adapters.sql_import_keys import SqlImportKeys
from meterport.adapters.sql_job_archive import SqlJobArchive
from meterport.adapters.sql_tables import erasures, import_keys
from meterport.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from meterport.domain.idempotency import ImportClaim
from meterport.ports.imports import ImportKeys
from tests.contracts.conftest import at_once

BODY, OTHER = "ab" * 32, "cd" * 32
REPORT = {"files": [{"path": "body", "refused": [{"line": 3, "reason": "of 123"}]}], "version": 1}
DAY = timedelta(days=1)
CLAIM_AND_WAIT = """\
import sys
from meterport.adapters.sql_database import Database
from meterport.adapters.sql_import_keys import SqlImportKeys
SqlImportKeys(Database(sys.argv[1])).claim(owner="owner", key="key", request_sha256=sys.argv[2])
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def keys(database: Database) -> ImportKeys:
    return SqlImportKeys(database)


def claim(keys: ImportKeys, body: str = BODY, *, owner: str = "owner", key: str = "key") -> object:
    return keys.claim(owner=owner, key=key, request_sha256=body)


def claimed(keys: ImportKeys, body: str = BODY, **named: str) -> ImportClaim:
    found = claim(keys, body, **named)
    assert isinstance(found, ImportClaim)
    return found


def change(database: Database, **values: object) -> None:
    with database.write() as connection:
        connection.execute(update(import_keys).values(**values))


def let_leases_end(database: Database) -> None:
    change(database, lease_until=datetime.now(UTC) - timedelta(seconds=1))


def count(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(import_keys)).scalar_one()


def test_a_finished_import_is_told_again(keys: ImportKeys) -> None:
    keys.finish(claimed(keys), REPORT)

    assert claim(keys) == REPORT
    assert claim(keys) == REPORT


def test_one_that_is_not_finished_is_in_use(keys: ImportKeys) -> None:
    claimed(keys)

    with pytest.raises(IdempotencyKeyInUse, match="is being worked on; try again soon"):
        claim(keys)


@pytest.mark.parametrize("finished", [False, True])
def test_another_file_with_the_same_key_is_refused(keys: ImportKeys, finished: bool) -> None:
    first = claimed(keys)
    if finished:
        keys.finish(first, REPORT)

    with pytest.raises(IdempotencyKeyReused, match="use a new key"):
        claim(keys, OTHER)

    keys.finish(first, REPORT)
    assert claim(keys) == REPORT


@pytest.mark.parametrize(("owner", "key"), [("owner", "KEY"), ("other", "key"), ("ownerk", "ey")])
def test_another_key_or_owner_is_another_import(keys: ImportKeys, owner: str, key: str) -> None:
    keys.finish(claimed(keys), REPORT)

    claimed(keys, OTHER, owner=owner, key=key)


def test_a_key_whose_import_was_refused_may_come_with_another_file(keys: ImportKeys) -> None:
    keys.release(claimed(keys))

    claimed(keys, OTHER)


def claim_and_die(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, url, BODY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        process.kill()


def test_who_dies_loses_the_claim_with_its_lease(keys: ImportKeys, database: Database) -> None:
    claim_and_die(database)
    with pytest.raises(IdempotencyKeyInUse):
        claim(keys)

    let_leases_end(database)

    keys.finish(claimed(keys), REPORT)
    assert claim(keys) == REPORT


def test_a_key_is_lost_for_a_day_where_leases_do_not_count(
    keys: ImportKeys, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant of the one above."""
    row = select(import_keys, literal(True).label("is_held"))
    monkeypatch.setattr(sql_import_keys, "_seen", lambda: row)
    claim_and_die(database)
    let_leases_end(database)

    with pytest.raises(IdempotencyKeyInUse):
        claim(keys)


def test_who_comes_back_late_changes_nothing(keys: ImportKeys, database: Database) -> None:
    late = claimed(keys)
    let_leases_end(database)
    newer = claimed(keys)

    keys.renew(late)
    keys.finish(late, {"late": True})
    keys.release(late)

    with pytest.raises(IdempotencyKeyInUse):
        claim(keys)
    keys.finish(newer, REPORT)
    keys.release(newer)
    assert claim(keys) == REPORT


def test_a_claim_that_is_renewed_is_kept(database: Database) -> None:
    keys = SqlImportKeys(database, lease=timedelta(hours=1))
    mine = claimed(keys)
    let_leases_end(database)

    keys.renew(mine)

    with pytest.raises(IdempotencyKeyInUse):
        claim(keys)


def outcome(keys: ImportKeys) -> str:
    try:
        found = claim(keys)
    except IdempotencyKeyInUse:
        return "in use"
    return "claimed" if isinstance(found, ImportClaim) else "told"


@pytest.mark.parametrize("earlier", ["none", "dead", "spent"])
def test_of_twenty_at_once_one_imports(keys: ImportKeys, database: Database, earlier: str) -> None:
    if earlier == "dead":
        claimed(keys)
        let_leases_end(database)
    if earlier == "spent":
        keys.finish(claimed(keys), REPORT)
        change(database, created_at=datetime.now(UTC) - 2 * DAY)

    outcomes = at_once(20, lambda _: outcome(keys))

    assert sorted(outcomes) == ["claimed"] + ["in use"] * 19
    assert count(database) == 1


def test_several_import_where_a_claim_is_not_seen(
    keys: ImportKeys, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant of the one above."""
    monkeypatch.setattr(sql_import_keys, "_judged", lambda row, sha256: None)

    assert at_once(5, lambda _: outcome(keys)).count("claimed") > 1


@pytest.mark.parametrize(("age", "told"), [(DAY - timedelta(minutes=1), True), (DAY, False)])
def test_a_key_is_remembered_for_a_day(
    keys: ImportKeys, database: Database, age: timedelta, told: bool
) -> None:
    keys.finish(claimed(keys), REPORT)
    change(database, created_at=datetime.now(UTC) - age)

    SqlJobArchive(database).forget(older_than=DAY)

    assert count(database) == told
    assert (claim(keys) == REPORT) is told


def test_an_erasure_forgets_why_rows_were_refused(keys: ImportKeys, database: Database) -> None:
    keys.finish(claimed(keys), REPORT)
    claimed(keys, key="in flight")

    SqlErasures(database).begin("123")

    assert claim(keys) == {"files": [{"path": "body", "refused": []}], "version": 1}


def test_what_was_imported_while_a_meter_was_erased_quotes_nothing(
    keys: ImportKeys, database: Database
) -> None:
    mine = claimed(keys)
    SqlErasures(database).begin("123")
    SqlErasures(database).finish("123")

    keys.finish(mine, REPORT)

    assert claim(keys) == {"files": [{"path": "body", "refused": []}], "version": 1}


def test_an_earlier_erasure_is_nothing_to_a_report(keys: ImportKeys, database: Database) -> None:
    SqlErasures(database).begin("123")
    with database.write() as connection:
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(erasures).values(requested_at=an_hour_ago))

    keys.finish(claimed(keys), REPORT)

    assert claim(keys) == REPORT


def test_a_restored_database_has_the_reports_and_no_claims(
    keys: ImportKeys, database: Database
) -> None:
    keys.finish(claimed(keys), REPORT)
    claimed(keys, key="in flight")

    detach(database, version=1)

    assert claim(keys) == REPORT
    claimed(keys, key="in flight")
