"""API keys: made, shown once, told again by their digest, ended.

Form:   `mp_{id}_{secret}`; 12 letters and digits, and 256 random bits in base64url.
Stored: the id and the SHA-256 of the secret, which at that length no guessing finds again.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from meterport.domain.access import EVERYTHING, Access, Key, Meters, check_owner, scopes_of
from meterport.domain.access_errors import InvalidKey, KeyNotFound, Unauthenticated
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import shown
from meterport.ports.access import Keys
from meterport.ports.audit import Recorder

ID_LETTERS, ID_LENGTH = string.ascii_lowercase + string.digits, 12
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)
_KEY = re.compile(r"mp_(?P<id>[a-z0-9]{12})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_NOBODYS = hashlib.sha256(secrets.token_bytes(SECRET_BYTES)).hexdigest()


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
    key_id = _new_id()
    key = Key(
        key_id,
        key_id if owner is None else check_owner(owner),
        scopes_of(scopes),
        Meters(tuple(dict.fromkeys(meters))),
        created_at=now,
        expires_at=_end(now, valid_for),
    )
    made = _added(key, keys)
    _record(Action.KEY_CREATED, key, audit)
    return made


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
    key = replace(
        old,
        id=_new_id(),
        created_at=now,
        expires_at=_end(now, lifetime),
        last_used_at=None,
    )
    made = _added(key, keys)
    keys.end(key_id, at=now + overlap)
    _record(Action.KEY_ROTATED, key, audit, of=key_id)
    return made


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
    said = _KEY.fullmatch(text.strip())
    found = None if said is None else keys.find(said["id"])
    digest = _digest("" if said is None else said["secret"])
    # Compared in any case, so that an id that there is takes no longer than one that there is not.
    is_same = hmac.compare_digest(digest, _NOBODYS if found is None else found[1])
    if found is None or not is_same or not found[0].is_alive(now):
        raise Unauthenticated("the key is unknown, revoked or has expired; ask for another")
    keys.used(found[0].id)
    return found[0].access


def _added(key: Key, keys: Keys) -> NewKey:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    keys.add(key, secret_sha256=_digest(secret))
    return NewKey(key, f"mp_{key.id}_{secret}")


def _new_id() -> str:
    return "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))


def _record(action: Action, key: Key, audit: Recorder, **further: str) -> None:
    """Before the key is shown: what nobody could find recorded, nobody gets."""
    told = {"key": key.id, "owner": key.owner, "scopes": ",".join(sorted(key.scopes))}
    audit.record(Deed(action, EVERYTHING, details={**told, **further}))


def _end(now: datetime, valid_for: timedelta | None) -> datetime | None:
    try:
        return None if valid_for is None else now + valid_for
    except OverflowError as error:
        raise InvalidKey("the key would expire after the year 9999; leave the days out") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
