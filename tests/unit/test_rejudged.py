"""A download that has begun ends where its key, or its link, is of no use any more."""

from collections.abc import Callable

import httpx2
import pytest

from meterport.services.keys import revoke_key
from meterport.services.unerased import Unerased
from meterport.web import download, rejudged
from tests import make
from tests.unit import keyed

PIECE = 1000
ROWS = 5_000


@pytest.fixture
def home(home: make.Home, monkeypatch: pytest.MonkeyPatch) -> make.Home:
    monkeypatch.setattr(rejudged, "EVERY_S", 0)
    monkeypatch.setattr(download, "CHUNK_BYTES", PIECE)
    home.load(make.many_readings(ROWS, meter="A"))
    return home


def after_two_pieces(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Each piece is looked at before it goes."""
    looks = []

    def look(self: Unerased, job_id: str) -> None:
        looks.append(job_id)
        if len(looks) == 3:
            act()

    monkeypatch.setattr(Unerased, "check", look)


def received(address: str, path: str, headers: dict[str, str]) -> tuple[int, int]:
    """How many bytes came, and how many were announced."""
    seen = 0
    with (
        httpx2.Client(base_url=address, trust_env=False, timeout=60) as client,
        client.stream("GET", path, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        try:
            for block in answer.iter_raw():
                seen += len(block)
        except httpx2.RemoteProtocolError:
            pass
        return seen, int(answer.headers["Content-Length"])


def exported(home: make.Home, address: str, headers: dict[str, str]) -> str:
    body = {"smart_meter_id": "A", "start": "2024-01-01", "end": "2024-02-01"}
    with httpx2.Client(base_url=address, trust_env=False, timeout=60) as client:
        job_id = str(client.post("/api/exports", json=body, headers=headers).json()["id"])
    home.work()
    return job_id


def test_a_revoked_key_gets_no_further_piece(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyed.key(home)
    s = home.services
    with keyed.server_of(home) as address:
        path = f"/api/export/download/{exported(home, address, key)}"
        whole = received(address, path, key)
        after_two_pieces(
            monkeypatch, lambda: revoke_key(keyed.id_of(key), keys=s.keys, audit=s.audit)
        )

        cut = received(address, path, key)

    assert whole[0] == whole[1] > 3 * PIECE
    assert cut == (2 * PIECE, whole[1])


def test_a_revoked_link_gets_no_further_piece(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyed.key(home)
    with keyed.server_of(home) as address:
        links = f"/api/exports/{exported(home, address, key)}/links"
        with httpx2.Client(base_url=address, trust_env=False, timeout=60) as client:
            link = client.post(links, headers=key).json()
            whole = received(address, link["url"], {})
            after_two_pieces(
                monkeypatch, lambda: client.delete(f"{links}/{link['id']}", headers=key)
            )

            cut = received(address, link["url"], {})

    assert whole[0] == whole[1] > 3 * PIECE
    assert cut == (2 * PIECE, whole[1])
