"""The application as it asks for keys, and keys to ask with."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import uvicorn
from starlette.testclient import TestClient

from meterport import serve
from meterport.domain.jobs import Room
from meterport.services.keys import create_key
from meterport.web.app import create_app
from tests import make

USUAL = ("read", "export")


@contextmanager
def client_of(home: make.Home, **given: object) -> Iterator[TestClient]:
    """On that home, which asks for keys; `given`: other settings."""
    asking = home_of(home, **given)
    app = create_app(asking.services, asking.settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


@contextmanager
def server_of(home: make.Home, **given: object) -> Iterator[str]:
    """The same on a real server, at that address."""
    asking = home_of(home, **given)
    server = uvicorn.Server(serve.api_config(asking.services, asking.settings))
    with serve.bound("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


def home_of(home: make.Home, **given: object) -> make.Home:
    settings = home.settings.model_copy(update={"auth": "keys"} | given)
    room = Room(of_owner=settings.max_active_exports, of_all=settings.max_queued)
    return make.Home(settings, replace(home.services, room=room))


def key(
    home: make.Home,
    *,
    scopes: Iterable[str] = USUAL,
    meters: Iterable[str] = ("*",),
    owner: str | None = None,
) -> dict[str, str]:
    """The header of a new key."""
    made = create_key(
        scopes=scopes,
        meters=meters,
        owner=owner,
        keys=home.services.keys,
        audit=home.services.audit,
        now=datetime.now(UTC),
    )
    return {"Authorization": f"Bearer {made.text}"}


def id_of(header: dict[str, str]) -> str:
    return header["Authorization"].split("_")[1]
