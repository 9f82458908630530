"""Links to an export's file: made, shown once, followed, ended. See services/tokens.

A link may no more than the key that made it may at the moment when it is followed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from meterport.domain.access import EVERYTHING, Access, Key, Scope
from meterport.domain.access_errors import LinkExpired, LinkInvalid
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import ExportExpired
from meterport.domain.jobs import Job, JobId
from meterport.domain.links import Link
from meterport.ports import JobStore
from meterport.ports.access import Keys, Links
from meterport.ports.audit import Recorder
from meterport.services.find_job import sees
from meterport.services.open_export import downloadable_file
from meterport.services.tokens import Token, is_token_id

PREFIX = "mpl"
NEEDED = (Scope.READ, Scope.EXPORT)
NO_JOB = JobId("00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True)
class NewLink:
    """`text`: the whole token, which nobody can tell again."""

    link: Link
    text: str


@dataclass(frozen=True)
class Followed:
    """Where a link leads, and what its key may do."""

    link: Link
    job: Job
    access: Access


def create_link(
    job: Job,
    access: Access,
    *,
    valid_for: timedelta,
    links: Links,
    jobs: JobStore,
    audit: Recorder,
    now: datetime,
) -> NewLink:
    """It ends with the file at the latest. Raises Forbidden, and what a download now would."""
    for scope in NEEDED:
        access.check(scope)
    downloadable_file(job)
    end = now + valid_for
    token = Token.new(PREFIX)
    until = end if job.expires_at is None else min(end, job.expires_at)
    link = Link(token.id, job.id, access.key_id, created_at=now, expires_at=until)
    if not links.add(link, secret_sha256=token.sha256):
        raise ExportExpired("the file is no longer kept; ask for the export again")
    told = {"link": link.id}
    meters = jobs.meters(job)
    audit.record(Deed(Action.LINK_CREATED, access, meters, job_id=job.id, details=told))
    return NewLink(link, token.text)


def revoke_link(
    job: Job, link_id: str, access: Access, *, links: Links, jobs: JobStore, audit: Recorder
) -> None:
    """Safe to repeat."""
    if is_token_id(link_id) and links.remove(job.id, link_id):
        told, meters = {"link": link_id}, jobs.meters(job)
        audit.record(Deed(Action.LINK_REVOKED, access, meters, job_id=job.id, details=told))


def follow_link(
    text: str, *, links: Links, keys: Keys, jobs: JobStore, asks_for_keys: bool, now: datetime
) -> Followed:
    """Raises LinkInvalid, or LinkExpired to whoever has a link that would be good otherwise.

    All that is wrong with a link is one answer, after the same look-ups: nobody without its
    secret learns whether there is one, and nobody with it why it leads nowhere.
    """
    token = Token.read(PREFIX, text)
    link, sha256 = links.find(token.id) or (None, None)
    key, _ = keys.find("" if link is None else link.key_id) or (None, None)
    job = jobs.get(NO_JOB if link is None else link.job_id)
    access = _access(link, key, asks_for_keys, now)
    if (
        not token.is_known_as(sha256)
        or link is None
        or job is None
        or access is None
        or not _may_follow(access, job, jobs)
    ):
        raise LinkInvalid("the link is unknown, or leads nowhere any more; ask for another")
    if link.expires_at <= now:
        raise LinkExpired("the link has expired; ask for another")
    return Followed(link, job, access)


def _access(
    link: Link | None, key: Key | None, asks_for_keys: bool, now: datetime
) -> Access | None:
    """What the link's key may do now; None: nothing. A key counts also where none is asked for."""
    if link is None:
        return None
    if not link.key_id:
        return None if asks_for_keys else EVERYTHING
    return key.access if key is not None and key.is_alive(now) else None


def _may_follow(access: Access, job: Job, jobs: JobStore) -> bool:
    return all(access.has(scope) for scope in NEEDED) and sees(access, job, jobs)
