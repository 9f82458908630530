"""API keys: made, shown once, told again by their digest, ended. See services/tokens."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from meterport.domain.access import Access, Key, Meters, check_owner, scopes_of
from meterport.domain.access_errors import InvalidKey, KeyNotFound, Unauthenticated
from meterport.domain.errors import shown
from meterport.ports.access import Keys
from meterport.services.tokens import Token

PREFIX = "mp"
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True)
class NewKey:
    """`text`: the whole key, which nobody can tell again."""

    key: Key
    text: str


def create_key(
    *,
    scopes: Iterable[str],
    meters: Iterable[str],
    keys: Keys,
    now: datetime,
    owner: str | None = None,
    valid_for: timedelta | None = None,
) -> NewKey:
    """Without an owner it is one of its own. Raises InvalidKey."""
    token = Token.new(PREFIX)
    key = Key(
        token.id,
        token.id if owner is None else check_owner(owner),
        scopes_of(scopes),
        Meters(tuple(dict.fromkeys(meters))),
        created_at=now,
        expires_at=_end(now, valid_for),
    )
    keys.add(key, secret_sha256=token.sha256)
    return NewKey(key, token.text)


def rotate_key(key_id: str, *, keys: Keys, now: datetime, overlap: timedelta = OVERLAP) -> NewKey:
    """Another key that may do the same for as long a time; the old one ends after `overlap`.

    Raises KeyNotFound, InvalidKey for one that is dead.
    """
    old = known_key(key_id, keys)
    if not old.is_alive(now):
        raise InvalidKey(f"the key {key_id} is revoked or has expired; create another")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    new = create_key(
        scopes=sorted(old.scopes),
        meters=old.meters.patterns,
        keys=keys,
        now=now,
        owner=old.owner,
        valid_for=lifetime,
    )
    keys.end(key_id, at=now + overlap)
    return new


def revoke_key(key_id: str, *, keys: Keys) -> None:
    """Safe to repeat. Raises KeyNotFound."""
    keys.revoke(known_key(key_id, keys).id)


def known_key(key_id: str, keys: Keys) -> Key:
    found = keys.find(key_id)
    if found is None:
        raise KeyNotFound(f"there is no key {shown(key_id)}; meterport keys list shows them")
    return found[0]


def authenticate(header: str | None, *, keys: Keys, now: datetime) -> Access:
    """What the key in an `Authorization: Bearer` header may do. Raises Unauthenticated.

    All that is wrong with a key is one answer: nobody learns which ids there are.
    """
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("this service needs a key: add the header Authorization: Bearer KEY")
    token = Token.read(PREFIX, text.strip())
    found = keys.find(token.id)
    is_same = token.is_known_as(None if found is None else found[1])
    if found is None or not is_same or not found[0].is_alive(now):
        raise Unauthenticated("the key is unknown, revoked or has expired; ask for another")
    keys.used(found[0].id)
    return found[0].access


def _end(now: datetime, valid_for: timedelta | None) -> datetime | None:
    try:
        return None if valid_for is None else now + valid_for
    except OverflowError as error:
        raise InvalidKey("the key would expire after the year 9999; leave the days out") from error
