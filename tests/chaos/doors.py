"""Who is let in where keys are asked for, with good keys and with spoilt ones."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from meterport.domain.access import EVERYTHING
from meterport.services.share_export import create_link
from tests import make
from tests.asgi import Raw, Reply
from tests.chaos.corpus import Corpus
from tests.chaos.mutations import OF_BYTES
from tests.unit import keyed

ASKING: Mapping[str, object] = {"auth": "keys", "creates_per_minute": 0, "max_active_exports": 0}
GOOD, OTHERS, SPOILT, NONE = 12, 4, 3, 1
"""Of twenty requests."""


class Doors:
    """`good`: a key that may everything; `other`: of another owner, to whom no job of ours is."""

    def __init__(self, home: make.Home, corpus: Corpus) -> None:
        self._corpus = corpus
        self._good = _said(keyed.key(home, scopes=["admin"]))
        scopes = ("read", "export", "import")
        self._other = _said(keyed.key(home, scopes=scopes, meters=["B"], owner="other"))

    def renew(self) -> None:
        """Other spoilt ones."""
        chance = self._corpus.random
        spoilt = [chance.choice(OF_BYTES)(chance, self._good, self._other) for _ in range(SPOILT)]
        self._corpus.authorizations[:] = [
            *([self._good] * GOOD),
            *([self._other] * OTHERS),
            *spoilt,
            *([b""] * NONE),
        ]

    def complaint(self, raw: Raw, reply: Reply) -> str:
        """Whoever has no key gets nothing, and the other one nothing of our jobs."""
        if reply.status >= 400 or not _needs_a_key(raw.path):
            return ""
        keys = [_text(value) for name, value in raw.headers if name == b"authorization"]
        if keys == [_text(self._good)]:
            return ""
        if keys != [_text(self._other)]:
            return f"{reply.status} without a key"
        ours = (*self._corpus.jobs, *self._corpus.doomed)
        told = [job for job in ours if job.encode() in reply.body]
        return f"{reply.status} tells another of {told}" if told else ""


def link_to(home: make.Home, job_id: str) -> str:
    """The token of a link that leads to its file, of a key of its own."""
    s = home.services
    job = s.jobs.get(job_id)
    assert job is not None
    key_id = keyed.id_of(keyed.key(home, scopes=["admin"]))
    made = create_link(
        job,
        replace(EVERYTHING, key_id=key_id),
        valid_for=timedelta(days=1),
        links=s.links,
        jobs=s.jobs,
        audit=s.audit,
        now=datetime.now(UTC),
    )
    return made.text


def _said(header: Mapping[str, str]) -> bytes:
    return header["Authorization"].encode()


def _text(said: bytes) -> str:
    """The key in a header, as the service reads it."""
    return said.decode("latin-1").partition(" ")[2].strip()


def _needs_a_key(path: bytes) -> bool:
    is_link = path.startswith(b"/api/links/")
    return path.startswith((b"/api/", b"/metrics")) and not is_link
