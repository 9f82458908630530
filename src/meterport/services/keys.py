"""API keys: made, shown once, told again by their digest, ended. See services/tokens."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from meterport.domain.access import EVERYTHING, Access, Key, Meters, check_owner, scopes_of
from meterport.domain.access_errors import InvalidKey, KeyNotFound, Unauthenticated
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import ServiceUnavailable, shown
from meterport.ports.access import Keys
from meterport.ports.audit import Recorder
from meterport.services.tokens import Token

PREFIX = "mp"
OVERLAP = timedelta(hours=24)
MOST_PATTERNS = 10_000
"""Each is a value in the statements that list exports, twice; and is read at each request."""


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
    audit: Recorder,
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
        _meters_of(meters),
        created_at=now,
        expires_at=_end(now, valid_for),
    )
    keys.add(key, secret_sha256=token.sha256)
    _record(Action.KEY_CREATED, key, audit)
    return NewKey(key, token.text)


def rotate_key(
    key_id: str, *, keys: Keys, audit: Recorder, now: datetime, overlap: timedelta = OVERLAP
) -> NewKey:
    """Another key that may do the same for as long a time; the old one ends after `overlap`.

    Raises KeyNotFound, InvalidKey for one that is dead.
    """
    old = known_key(key_id, keys)
    if not old.is_alive(now):
        raise InvalidKey(f"the key {key_id} is revoked or has expired; create another")
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    token = Token.new(PREFIX)
    key = replace(
        old,
        id=token.id,
        created_at=now,
        expires_at=_end(now, lifetime),
        last_used_at=None,
    )
    keys.add(key, secret_sha256=token.sha256)
    keys.end(key_id, at=now + overlap)
    _record(Action.KEY_ROTATED, key, audit, of=key_id)
    return NewKey(key, token.text)


def revoke_key(key_id: str, *, keys: Keys, audit: Recorder) -> None:
    """Safe to repeat. Raises KeyNotFound."""
    key = known_key(key_id, keys)
    keys.revoke(key.id)
    _record(Action.KEY_REVOKED, key, audit)


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
    # A full disk lets nobody write that down, and is no reason to tell nobody how their jobs stand.
    with suppress(ServiceUnavailable):
        keys.used(found[0].id)
    return found[0].access


def _meters_of(patterns: Iterable[str]) -> Meters:
    named = tuple(dict.fromkeys(patterns))
    if len(named) > MOST_PATTERNS:
        raise InvalidKey(
            f"{len(named):,} meters are more than the {MOST_PATTERNS:,} that one key can name; "
            "name what their ids begin with, such as A-*, or make several keys"
        )
    return Meters(named)


def _record(action: Action, key: Key, audit: Recorder, **further: str) -> None:
    """Before the key is shown: what nobody could find recorded, nobody gets."""
    told = {"key": key.id, "owner": key.owner, "scopes": ",".join(sorted(key.scopes))}
    audit.record(Deed(action, EVERYTHING, details={**told, **further}))


def _end(now: datetime, valid_for: timedelta | None) -> datetime | None:
    try:
        return None if valid_for is None else now + valid_for
    except OverflowError as error:
        raise InvalidKey("the key would expire after the year 9999; leave the days out") from error
