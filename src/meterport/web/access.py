"""Who asks, by their key. Every route but the probes passes here before anything of it is read.

Where the service asks for no keys, whoever reaches it may do everything.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from meterport.domain.access import EVERYTHING, Access, Scope
from meterport.domain.access_errors import Forbidden, Unauthenticated
from meterport.domain.audit import Action, Deed, Result
from meterport.domain.errors import MeterportError
from meterport.ports.access import Keys
from meterport.ports.audit import Recorder
from meterport.services.keys import authenticate
from meterport.web.errors import meterport_error, request_id


def authenticated(request: Request) -> Access:
    """Asked anew each time, so that a key is of no use from the moment that it is revoked.

    Raises Unauthenticated.
    """
    access = replace(_known(request), request_id=request_id(request))
    request.state.access = access
    return access


def _known(request: Request) -> Access:
    keys: Keys | None = request.app.state.keys
    if keys is None:
        return EVERYTHING
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise Unauthenticated("the header Authorization comes twice; send one key")
    return authenticate(given[0] if given else None, keys=keys, now=datetime.now(UTC))


AccessOf = Annotated[Access, Depends(authenticated)]


def _with(scope: Scope) -> Callable[[Access], Access]:
    def checked(access: AccessOf) -> Access:
        access.check(scope)
        return access

    return checked


MayRead = Annotated[Access, Depends(_with(Scope.READ))]
MayExport = Annotated[Access, Depends(_with(Scope.EXPORT))]
MayImport = Annotated[Access, Depends(_with(Scope.IMPORT))]
MayMeasure = Annotated[Access, Depends(_with(Scope.METRICS))]
MayAdminister = Annotated[Access, Depends(_with(Scope.ADMIN))]


async def refused(request: Request, error: Exception) -> Response:
    """The answer to Forbidden, once it is recorded who asked for what they may not."""
    access: Access | None = getattr(request.state, "access", None)
    if access is not None and isinstance(error, Forbidden):
        try:
            await run_in_threadpool(_record, request, access, error)
        except MeterportError as failed:
            return await meterport_error(request, failed)
    return await meterport_error(request, error)


def _record(request: Request, access: Access, error: Forbidden) -> None:
    recorder: Recorder = request.app.state.services.audit
    route = getattr(request.scope.get("route"), "path_format", "")
    recorder.record(
        Deed(
            Action.REQUEST,
            access,
            meters=[error.smart_meter_id] if error.smart_meter_id else (),
            result=Result.REFUSED,
            details={"method": request.method, "route": route},
        )
    )
