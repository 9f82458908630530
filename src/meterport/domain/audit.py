"""The audit log: who received whose readings, and when. It is only added to.

Chain:   an entry's `sha256` is that of the previous entry's, a line break and the entry's own
         text, so that a change, a hole or an exchange anywhere breaks what follows. The head is
         the last entry; who notes it elsewhere also sees that entries at the end were removed.
Text:    a JSON array of the fields in their order, ASCII, without spaces; `at` is UTC with
         milliseconds. Both databases hold the same text.
Meters:  a set of meters is kept once, under the SHA-256 of its sorted ids with a line break
         behind each; entries name the set.
Without: readings, secrets, labels, addresses. `details` are words of ours and ids.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from meterport.domain.access import Access
from meterport.domain.errors import InvalidRequest, shown

_HEAD = re.compile(r"(?P<seq>\d{1,18}):(?P<sha256>[0-9a-f]{64})", re.ASCII)


class Action(StrEnum):
    EXPORT_CREATED = "export_created"
    EXPORT_CANCELLED = "export_cancelled"
    EXPORT_DELETED = "export_deleted"
    FILE_DOWNLOADED = "file_downloaded"
    MANIFEST_READ = "manifest_read"
    COVERAGE_READ = "coverage_read"
    PREVIEW_READ = "preview_read"
    READINGS_IMPORTED = "readings_imported"
    METER_ERASED = "meter_erased"
    KEY_CREATED = "key_created"
    KEY_ROTATED = "key_rotated"
    KEY_REVOKED = "key_revoked"
    LINK_CREATED = "link_created"
    LINK_REVOKED = "link_revoked"
    REQUEST = "request"
    """Of which nothing is known but that it was refused."""


class Result(StrEnum):
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Deed:
    """What is to be recorded. `by`: of it only who asked, with which key, in which request.

    `rows` and `size_bytes`: what was given away, or taken in; None where that says nothing.
    """

    action: Action
    by: Access
    meters: Collection[str] = ()
    job_id: str | None = None
    rows: int | None = None
    size_bytes: int | None = None
    result: Result = Result.DONE
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """`details` as they are kept; the command line has neither key nor request."""
        command = {} if self.by.request_id else {"by": "command line"}
        said = command | dict(self.details)
        return json.dumps(said, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Head:
    """The last entry, as whoever wants to find it again has to note it."""

    seq: int = 0
    sha256: str = "0" * 64

    def __str__(self) -> str:
        return f"{self.seq}:{self.sha256}"

    @classmethod
    def read(cls, text: str) -> "Head":
        """Raises InvalidRequest."""
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise InvalidRequest(
                f"a head is SEQ:SHA256, as `meterport audit verify` prints it, not {shown(text)}"
            )
        return cls(int(found["seq"]), found["sha256"])


@dataclass(frozen=True)
class Entry:
    """As the database holds it; words are kept as they are, also those of a later release."""

    seq: int
    at: str
    owner: str
    key_id: str
    action: str
    result: str
    job_id: str | None
    meters_sha256: str | None
    rows: int | None
    size_bytes: int | None
    request_id: str
    details: str
    sha256: str = ""

    @property
    def text(self) -> str:
        return json.dumps(astuple(self)[:-1], separators=(",", ":"))

    @property
    def head(self) -> Head:
        return Head(self.seq, self.sha256)

    def sealed(self, before: Head) -> "Entry":
        return replace(self, sha256=self._digest(before))

    def fault(self, before: Head) -> "Fault | None":
        """What is wrong with it, if `before` is the head up to it."""
        if self.seq > before.seq + 1:
            return Fault(before.seq + 1, "is missing")
        if self.seq != before.seq + 1 or self.sha256 != self._digest(before):
            return Fault(self.seq, "is not what was written")
        return None

    def _digest(self, before: Head) -> str:
        return hashlib.sha256(f"{before.sha256}\n{self.text}".encode()).hexdigest()


@dataclass(frozen=True)
class Fault:
    """The first entry that is not what was written."""

    seq: int
    what: str

    def __str__(self) -> str:
        return f"entry {self.seq} {self.what}"


@dataclass(frozen=True)
class Verdict:
    """`head`: the last entry up to which all is as it was written."""

    head: Head
    fault: Fault | None = None


@dataclass(frozen=True)
class Sought:
    """Which entries: all that is named here is asked for at once. `since`: not before that."""

    smart_meter_id: str | None = None
    job_id: str | None = None
    owner: str | None = None
    key_id: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """An entry of a view. `meters`: how many; `smart_meter_id`: which, if it is one."""

    entry: Entry
    meters: int = 0
    smart_meter_id: str | None = None

    def as_json(self) -> dict[str, object]:
        entry = self.entry
        told = {
            "seq": entry.seq,
            "at": entry.at,
            "action": entry.action,
            "result": entry.result,
            "owner": entry.owner,
            "key_id": entry.key_id or None,
            "job_id": entry.job_id,
            "meters": self.meters,
            "smart_meter_id": self.smart_meter_id,
            "rows": entry.rows,
            "bytes": entry.size_bytes,
            "request_id": entry.request_id or None,
            "details": json.loads(entry.details) or None,
            "sha256": entry.sha256,
        }
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True)
class AuditPage:
    """`next_seq`: of the last entry, where earlier ones follow."""

    entries: Sequence[Seen]
    next_seq: int | None


def set_of(meters: Iterable[str]) -> Sequence[str]:
    """In the order in which a set is hashed."""
    return sorted(set(meters))


class SetDigest:
    """The digest of a set whose ids come in order."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, smart_meter_id: str) -> None:
        self._sha256.update(f"{smart_meter_id}\n".encode())

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def digest_of(ordered: Iterable[str]) -> str:
    digest = SetDigest()
    for smart_meter_id in ordered:
        digest.add(smart_meter_id)
    return digest.hexdigest()


def time_text(instant: datetime) -> str:
    """One length and one zone, so that their order is that of the times."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
