"""Keys, over every database that there is: what makes one, what ends it, what is stored of it."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_keys import SqlKeys
from meterport.adapters.sql_tables import api_keys
from meterport.domain.access import Meters, Scope
from meterport.domain.access_errors import InvalidKey, KeyNotFound, Unauthenticated
from meterport.domain.audit import Deed, Head
from meterport.domain.errors import ServiceUnavailable
from meterport.ports.access import Keys
from meterport.services.keys import (
    MOST_PATTERNS,
    NewKey,
    authenticate,
    create_key,
    revoke_key,
    rotate_key,
)
from tests.contracts.conftest import at_once

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Unread:
    """An audit log that nobody reads here; what it is told is tested beside it."""

    def record(self, deed: Deed) -> Head:
        return Head()


AUDIT = Unread()


@pytest.fixture
def keys(database: Database) -> Keys:
    return SqlKeys(database)


def made(keys: Keys, *, valid_for: timedelta | None = None, owner: str | None = None) -> NewKey:
    return create_key(
        scopes=["read", "export"],
        meters=["A-*", "B"],
        keys=keys,
        audit=AUDIT,
        now=NOW,
        owner=owner,
        valid_for=valid_for,
    )


def is_let_in(keys: Keys, key: NewKey, *, now: datetime = NOW) -> bool:
    try:
        authenticate(f"Bearer {key.text}", keys=keys, now=now)
    except Unauthenticated:
        return False
    return True


def test_a_key_is_found_with_all_that_it_may(keys: Keys) -> None:
    key = made(keys, owner="acme", valid_for=DAY)

    access = authenticate(f"Bearer {key.text}", keys=keys, now=NOW)

    assert access.owner == "acme"
    assert access.key_id == key.key.id
    assert access.scopes == {Scope.READ, Scope.EXPORT}
    assert access.meters == Meters(("A-*", "B"))
    (found,) = keys.all()
    assert replace(found, last_used_at=None) == key.key


def test_a_key_without_an_owner_is_its_own(keys: Keys) -> None:
    first, second = made(keys), made(keys)

    assert first.key.owner == first.key.id != second.key.owner


def test_the_word_bearer_may_be_written_as_one_likes(keys: Keys) -> None:
    key = made(keys)

    assert authenticate(f"bEARER  {key.text}", keys=keys, now=NOW).key_id == key.key.id


def test_a_key_is_good_also_where_its_use_cannot_be_written_down(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        raise ServiceUnavailable("the database does not answer; try again soon")

    key = made(keys)
    monkeypatch.setattr(keys, "used", full)

    assert is_let_in(keys, key)


def test_the_secret_of_another_key_opens_nothing(keys: Keys) -> None:
    one, other = made(keys), made(keys)
    forged = f"mp_{one.key.id}_{other.text.removeprefix(f'mp_{other.key.id}_')}"

    with pytest.raises(Unauthenticated):
        authenticate(f"Bearer {forged}", keys=keys, now=NOW)


def test_a_key_expires_at_its_time_and_not_before(keys: Keys) -> None:
    key = made(keys, valid_for=DAY)

    assert is_let_in(keys, key, now=NOW + DAY - timedelta(microseconds=1000))
    assert not is_let_in(keys, key, now=NOW + DAY)


def test_a_revoked_key_is_of_no_use_and_stays_revoked(keys: Keys) -> None:
    key, other = made(keys), made(keys)

    revoke_key(key.key.id, keys=keys, audit=AUDIT)
    (first,) = [each.revoked_at for each in keys.all() if each.id == key.key.id]
    revoke_key(key.key.id, keys=keys, audit=AUDIT)

    assert not is_let_in(keys, key)
    assert is_let_in(keys, other)
    assert [each.revoked_at for each in keys.all() if each.id == key.key.id] == [first]


def test_every_refusal_is_the_same_answer(keys: Keys) -> None:
    revoked, expired = made(keys), made(keys, valid_for=DAY)
    revoke_key(revoked.key.id, keys=keys, audit=AUDIT)
    said = set()
    for text in (revoked.text, expired.text, f"mp_{'a' * 12}_{'b' * 43}", "mp_", "é"):
        with pytest.raises(Unauthenticated) as refused:
            authenticate(f"Bearer {text}", keys=keys, now=NOW + DAY)
        said.add((refused.value.message, refused.value.details))

    assert len(said) == 1


def test_two_keys_are_alive_while_one_takes_the_place_of_the_other(keys: Keys) -> None:
    old = made(keys, owner="acme", valid_for=30 * DAY)

    new = rotate_key(old.key.id, keys=keys, audit=AUDIT, now=NOW + DAY, overlap=DAY)

    assert (new.key.owner, new.key.scopes, new.key.meters) == (
        "acme",
        old.key.scopes,
        old.key.meters,
    )
    assert new.key.expires_at == NOW + 31 * DAY
    both = [is_let_in(keys, key, now=NOW + 1.5 * DAY) for key in (old, new)]
    then = [is_let_in(keys, key, now=NOW + 2 * DAY) for key in (old, new)]
    assert (both, then) == ([True, True], [False, True])


def test_a_rotation_never_lets_a_key_live_longer(keys: Keys) -> None:
    old = made(keys, valid_for=DAY)

    rotate_key(old.key.id, keys=keys, audit=AUDIT, now=NOW, overlap=30 * DAY)

    assert not is_let_in(keys, old, now=NOW + DAY)


def test_what_is_dead_is_not_rotated(keys: Keys) -> None:
    key = made(keys)
    revoke_key(key.key.id, keys=keys, audit=AUDIT)

    with pytest.raises(InvalidKey, match="is revoked or has expired"):
        rotate_key(key.key.id, keys=keys, audit=AUDIT, now=NOW)
    assert len(keys.all()) == 1


def test_an_unknown_key_is_named(keys: Keys) -> None:
    with pytest.raises(KeyNotFound, match="there is no key 'nobody'"):
        revoke_key("nobody", keys=keys, audit=AUDIT)
    with pytest.raises(KeyNotFound, match="there is no key 'nobody'"):
        rotate_key("nobody", keys=keys, audit=AUDIT, now=NOW)


def test_the_last_use_is_told_to_a_minute(keys: Keys, database: Database) -> None:
    key = made(keys)
    assert keys.all()[0].last_used_at is None

    is_let_in(keys, key)
    first = keys.all()[0].last_used_at
    is_let_in(keys, key)
    again = keys.all()[0].last_used_at
    with database.write() as connection:
        connection.execute(update(api_keys).values(last_used_at=db_now(-2 * timedelta(minutes=1))))
    is_let_in(keys, key)
    later = keys.all()[0].last_used_at

    assert first is not None
    assert later is not None
    assert again == first <= later


def test_nothing_that_is_stored_lets_anybody_in(keys: Keys, database: Database) -> None:
    key = made(keys)
    secret = key.text.rpartition(f"{key.key.id}_")[2]

    with database.read() as connection:
        (row,) = connection.execute(select(api_keys)).all()

    assert secret not in str(tuple(row))
    for stored in tuple(row):
        with pytest.raises(Unauthenticated):
            authenticate(f"Bearer mp_{key.key.id}_{stored}", keys=keys, now=NOW)


def test_the_secret_is_in_no_file(tmp_path: Path, migrated_file: Path) -> None:
    path = tmp_path / "meterport.db"
    path.write_bytes(migrated_file.read_bytes())
    database = Database(f"sqlite:///{path}")
    key = made(SqlKeys(database))
    database.engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())

    assert key.key.id.encode() in stored
    assert key.text.rpartition("_")[2].encode() not in stored


def test_many_may_use_a_key_at_once(keys: Keys) -> None:
    key = made(keys)

    assert at_once(8, lambda _: is_let_in(keys, key)) == [True] * 8


@pytest.mark.parametrize(
    ("scopes", "meters", "owner", "said"),
    [
        ([], ["A"], None, "a key needs a scope; known: read, export, import, metrics, admin"),
        (["reed"], ["A"], None, "scope 'reed' is not known; did you mean read?"),
        (["read"], [], None, "a key without meters could do nothing"),
        (["read"], ["*A"], None, r"such as A-\*, not '\*A'"),
        (["read"], ["A**"], None, "meters must be ids"),
        (["read"], ["A B"], None, "meters must be ids"),
        (["read"], ["-*"], None, "meters must be ids"),
        (["read"], ["A"], "", "owner must be 1 to 64 letters"),
        (["read"], ["A"], "anonymous", "owner must be"),
        (["read"], ["A"], "a\nb", "not a string of 3 characters"),
    ],
)
def test_a_key_that_could_not_work_is_refused(
    scopes: list[str], meters: list[str], owner: str | None, said: str, keys: Keys
) -> None:
    with pytest.raises(InvalidKey, match=said):
        create_key(scopes=scopes, meters=meters, keys=keys, audit=AUDIT, now=NOW, owner=owner)
    assert keys.all() == []


@pytest.mark.parametrize(
    ("patterns", "has", "has_not"),
    [
        (("*",), ["A", "a", "0:x"], []),
        (("A",), ["A"], ["a", "AB", "", "*"]),
        (("A*",), ["A", "AB", "A-1"], ["a1", "BA"]),
        (("A_*", "B"), ["A_1", "B"], ["A-1", "AB1", "Bx"]),
        (("A.*",), ["A.1"], ["AX1"]),
    ],
)
def test_which_meters_a_pattern_means(
    patterns: tuple[str, ...], has: list[str], has_not: list[str]
) -> None:
    meters = Meters(patterns)

    assert [meter for meter in has + has_not if meter in meters] == has
    assert meters.lacks(has) is None
    assert (meters.lacks(has + has_not) is None) == (not has_not)


def test_a_key_names_only_so_many_meters(keys: Keys) -> None:
    patterns = [f"{number}-*" for number in range(MOST_PATTERNS + 1)]

    with pytest.raises(InvalidKey, match="10,001 meters are more than the 10,000"):
        create_key(scopes=["read"], meters=patterns, keys=keys, audit=AUDIT, now=NOW)

    assert keys.all() == []
