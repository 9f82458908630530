"""Who asks, and what they may: keys, their scopes and their meters."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from meterport.domain.access_errors import Forbidden, InvalidKey
from meterport.domain.errors import shown
from meterport.domain.jobs import ANONYMOUS
from meterport.domain.readings import SMART_METER_ID
from meterport.domain.words import unknown

EVERY = "*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)


class Scope(StrEnum):
    """READ: exports, meters and their readings. EXPORT: ask for exports, call them off, share them.

    IMPORT: send readings. METRICS: the service's own numbers. ADMIN: all of these, the exports of
    every owner, and the audit log.
    """

    READ = "read"
    EXPORT = "export"
    IMPORT = "import"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True)
class Meters:
    """Which meters: each pattern is an id, or what ids begin with and a `*` behind it."""

    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            plain = pattern.removesuffix(EVERY)
            if pattern != EVERY and not SMART_METER_ID.fullmatch(plain):
                raise InvalidKey(
                    "meters must be ids, or what ids begin with and * behind it, such as A-*, "
                    f"not {shown(pattern)}"
                )
        if not self.patterns:
            raise InvalidKey("a key without meters could do nothing; name some, such as A-* or *")

    @property
    def are_all(self) -> bool:
        return EVERY in self.patterns

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(pattern for pattern in self.patterns if not pattern.endswith(EVERY))

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        return tuple(each[:-1] for each in self.patterns if each.endswith(EVERY))

    def __contains__(self, smart_meter_id: object) -> bool:
        return isinstance(smart_meter_id, str) and (
            smart_meter_id in self.ids or smart_meter_id.startswith(self.prefixes)
        )

    def lacks(self, meters: Iterable[str]) -> str | None:
        """The first of them that is none of these."""
        return None if self.are_all else next((each for each in meters if each not in self), None)


@dataclass(frozen=True)
class Access:
    """What whoever asks may do now.

    `owner`: whose exports these are; several keys may have one owner. `key_id`: empty where the
    service asks for no keys. `request_id`: empty on the command line.
    """

    owner: str
    scopes: frozenset[Scope]
    meters: Meters
    key_id: str = ""
    request_id: str = ""

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def own_only(self) -> bool:
        """Whether the exports of other owners are none for it."""
        return Scope.ADMIN not in self.scopes

    def check(self, scope: Scope) -> None:
        if not self.has(scope):
            raise Forbidden(
                f"this key has no scope {scope}; `meterport keys create` makes one that has"
            )

    def check_meters(self, meters: Iterable[str]) -> None:
        """Whether or not there are such meters: the answer does not tell."""
        foreign = self.meters.lacks(meters)
        if foreign is not None:
            raise Forbidden(
                f"this key is not for meter {shown(foreign)}; leave it out, or use a key for it",
                smart_meter_id=foreign,
            )


ALL_METERS = Meters((EVERY,))
EVERYTHING = Access(ANONYMOUS, frozenset(Scope), ALL_METERS)
"""Of the command line, and of everybody where the service asks for no keys."""


@dataclass(frozen=True)
class Key:
    """A key without its secret. Times are None where they never come, or have not come yet."""

    id: str
    owner: str
    scopes: frozenset[Scope]
    meters: Meters
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_alive(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def access(self) -> Access:
        return Access(self.owner, self.scopes, self.meters, self.id)


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """Raises InvalidKey."""
    known = tuple(str(scope) for scope in Scope)
    found = list(words)
    for word in found:
        if word not in known:
            raise InvalidKey(unknown("scope", word, known))
    if not found:
        raise InvalidKey(f"a key needs a scope; known: {', '.join(known)}")
    return frozenset(Scope(word) for word in found)


def check_owner(name: str) -> str:
    if not _NAME.fullmatch(name) or name == ANONYMOUS:
        raise InvalidKey(
            "owner must be 1 to 64 letters, digits or . _ : - and begin with a letter or digit, "
            f"not {shown(name)}"
        )
    return name
