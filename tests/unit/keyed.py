"""The application as it asks for keys, and keys to ask with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from starlette.testclient import TestClient

from meterport.services.keys import create_key
from meterport.web.app import create_app
from tests import make

USUAL = ("read", "export")


@contextmanager
def client_of(home: make.Home, **given: object) -> Iterator[TestClient]:
    """On that home, which asks for keys; `given`: other settings."""
    settings = home.settings.model_copy(update={"auth": "keys"} | given)
    app = create_app(make.Home(settings, home.services).services, settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def key(
    home: make.Home,
    *,
    scopes: Iterable[str] = USUAL,
    meters: Iterable[str] = ("*",),
    owner: str | None = None,
) -> dict[str, str]:
    """The header of a new key."""
    made = create_key(
        scopes=scopes, meters=meters, owner=owner, keys=home.services.keys, now=datetime.now(UTC)
    )
    return {"Authorization": f"Bearer {made.text}"}


def id_of(header: dict[str, str]) -> str:
    return header["Authorization"].split("_")[1]
