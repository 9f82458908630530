"""Who asks, by their key. Every route but the probes passes here before anything of it is read.

Where the service asks for no keys, whoever reaches it may do everything.
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from meterport.domain.access import EVERYTHING, Access, Scope
from meterport.domain.access_errors import Unauthenticated
from meterport.ports.access import Keys
from meterport.services.keys import authenticate


def authenticated(request: Request) -> Access:
    """Asked anew each time, so that a key is of no use from the moment that it is revoked.

    Raises Unauthenticated.
    """
    keys: Keys | None = request.app.state.keys
    if keys is None:
        return EVERYTHING
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise Unauthenticated("the header Authorization comes twice; send one key")
    return authenticate(given[0] if given else None, keys=keys, now=datetime.now(UTC))


AccessOf = Annotated[Access, Depends(authenticated)]


def _reader(access: AccessOf) -> Access:
    access.check(Scope.READ)
    return access


def _exporter(access: AccessOf) -> Access:
    access.check(Scope.EXPORT)
    return access


def _importer(access: AccessOf) -> Access:
    access.check(Scope.IMPORT)
    return access


def _measurer(access: AccessOf) -> Access:
    access.check(Scope.METRICS)
    return access


MayRead = Annotated[Access, Depends(_reader)]
MayExport = Annotated[Access, Depends(_exporter)]
MayImport = Annotated[Access, Depends(_importer)]
MayMeasure = Annotated[Access, Depends(_measurer)]
