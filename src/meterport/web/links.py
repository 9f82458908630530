"""`/api/exports/{id}/links`, and `/api/links/{token}`: a download for whoever was given a link."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from meterport.domain.access_errors import LinkExpired
from meterport.domain.links import USUAL_S, Link, lifetime
from meterport.domain.period import iso_utc, to_the_second
from meterport.services.hand_out import record_download
from meterport.services.share_export import Followed, create_link, follow_link, revoke_link
from meterport.services.unerased import Unerased
from meterport.web import links_docs as docs
from meterport.web.access import MayExport, MayRead
from meterport.web.contract import ServicesOf, VerifiedOf, sent_file
from meterport.web.edge import answer_headers
from meterport.web.errors import request_id
from meterport.web.exports import ObjectIfAny, asked_job
from meterport.web.limits import KeyLimitsOf, MayCreate
from meterport.web.routes import add_twins
from meterport.web.strict import check_fields

PATH = "/api/links"
PRIVATE = {"Cache-Control": "no-store, private", "Referrer-Policy": "no-referrer"}
"""The address is the secret: nobody shall keep it, and no page send it on."""

router = APIRouter(prefix="/api/exports")
used = APIRouter(prefix=PATH)


@router.post("/{job_id}/links", status_code=201, **docs.CREATE)
def create(access: MayCreate, job_id: str, body: ObjectIfAny, services: ServicesOf) -> Response:
    check_fields(body, ("expires_in_s",))
    made = create_link(
        asked_job(job_id, services, access),
        access,
        valid_for=lifetime(body.get("expires_in_s", USUAL_S)),
        links=services.links,
        jobs=services.jobs,
        audit=services.audit,
        now=datetime.now(UTC),
    )
    address = f"{PATH}/{made.text}"
    told = {"id": made.link.id, "url": address, "expires_at": _time(made.link.expires_at)}
    return JSONResponse(told, 201, PRIVATE | {"Location": address})


@router.get("/{job_id}/links", **docs.LIST)
def list_links(access: MayRead, job_id: str, services: ServicesOf) -> Response:
    found = services.links.of_job(asked_job(job_id, services, access).id)
    return JSONResponse({"items": [_shown(link) for link in found]})


@router.delete("/{job_id}/links/{link_id}", status_code=204, **docs.REVOKE)
def revoke(access: MayExport, job_id: str, link_id: str, services: ServicesOf) -> Response:
    job = asked_job(job_id, services, access)
    revoke_link(
        job,
        link_id,
        access,
        links=services.links,
        jobs=services.jobs,
        audit=services.audit,
    )
    return Response(status_code=204)


def unerased_of(services: ServicesOf) -> Unerased:
    return services.unerased()


UnerasedOf = Annotated[Unerased, Depends(unerased_of)]
"""Before the link is followed, see there."""


def followed(unerased: UnerasedOf, token: str, request: Request, services: ServicesOf) -> Followed:
    """Raises LinkInvalid, LinkExpired."""
    answer_headers(request.scope).update(PRIVATE)
    return follow_link(
        token,
        links=services.links,
        keys=services.keys,
        jobs=services.jobs,
        asks_for_keys=request.app.state.keys is not None,
        now=datetime.now(UTC),
    )


FollowedOf = Annotated[Followed, Depends(followed)]


async def _download(followed: FollowedOf, limits: KeyLimitsOf) -> AsyncIterator[None]:
    """It is one of the key that made the link."""
    with limits.downloads.taken(followed.link.key_id):
        yield


@used.get("/{token}", dependencies=[Depends(_download, scope="request")], **docs.FOLLOW)
def follow(
    unerased: UnerasedOf,
    link: FollowedOf,
    token: str,
    request: Request,
    services: ServicesOf,
    verified: VerifiedOf,
) -> Response:
    record = partial(
        record_download,
        link.job,
        replace(link.access, request_id=request_id(request)),
        jobs=services.jobs,
        audit=services.audit,
        link_id=link.link.id,
    )

    def judge() -> None:
        with suppress(LinkExpired):  # it has led here in time
            followed(unerased, token, request, services)

    return sent_file(request, link.job, verified, unerased, record, judge)


add_twins(router)
add_twins(used)


def _shown(link: Link) -> dict[str, object]:
    times = {"created_at": link.created_at, "expires_at": link.expires_at}
    return {"id": link.id, **{name: _time(instant) for name, instant in times.items()}}


def _time(instant: datetime) -> str:
    return iso_utc(to_the_second(instant))
