"""Keys for tests of a service that asks for them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from meterport.services.keys import create_key
from tests import make


def key(
    home: make.Home, *, scopes: Sequence[str], meters: Sequence[str], owner: str | None = None
) -> str:
    s = home.services
    now = datetime.now(UTC)
    return create_key(
        scopes=scopes, meters=meters, keys=s.keys, audit=s.audit, now=now, owner=owner
    ).text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
