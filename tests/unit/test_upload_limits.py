"""How much may be sent to POST /api/readings, and what is left of what was not sent to its end."""

import asyncio
import fcntl
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from meterport.adapters.local_uploads import LocalUploads
from meterport.bootstrap import erase, prepare
from meterport.domain.access import EVERYTHING
from meterport.domain.errors import ImportRefused
from meterport.services.import_options import Said
from meterport.services.receive_readings import heard
from meterport.web.app import create_app
from meterport.web.import_process import ImportProcess
from tests import make
from tests.answers import assert_refused

MOST = 100_000
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def small(home: make.Home) -> Iterator[TestClient]:
    """A service that takes little."""
    settings = home.settings.model_copy(update={"max_upload_bytes": MOST})
    app = create_app(home.services, settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def uploads(home: make.Home) -> list[Path]:
    return list((home.settings.data / "uploads").glob("*"))


def pieces(count: int) -> Iterator[bytes]:
    """A body whose length nobody was told."""
    for _ in range(count):
        yield b"x" * 10_000


@pytest.mark.parametrize("path", ["/api/readings", "/api/readings/"])
def test_a_file_that_says_it_is_too_large_is_not_read(small: TestClient, path: str) -> None:
    answer = small.post(path, content=b"x" * (MOST + 1), headers=CSV)

    assert_refused(answer, 413, "REQUEST_TOO_LARGE")
    assert answer.json()["message"] == "the request is larger than 100000 bytes"


def test_a_file_that_grows_too_large_is_cut_off_and_removed(
    small: TestClient, home: make.Home
) -> None:
    answer = small.post("/api/readings", content=pieces(11), headers=CSV)

    assert_refused(answer, 413, "REQUEST_TOO_LARGE")
    assert uploads(home) == []


def test_no_other_route_takes_more_than_before(small: TestClient) -> None:
    for method, path in (("POST", "/api/export/csv"), ("PUT", "/api/readings")):
        answer = small.request(method, path, content=b"x" * 65_537, headers=CSV)

        assert_refused(answer, 413, "REQUEST_TOO_LARGE")


def test_the_limit_is_told(small: TestClient) -> None:
    assert small.get("/api/capabilities").json()["limits"]["upload_bytes"] == MOST


def test_a_client_that_goes_away_leaves_no_file(home: make.Home) -> None:
    app = create_app(home.services, home.settings)
    there: list[int] = []
    messages = iter(
        [
            {"type": "http.request", "body": b"x" * 2_000_000, "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        there.append(len(uploads(home)))
        return next(messages)

    async def send(message: Any) -> None:
        there.append(message.get("status", 0))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/readings",
        "raw_path": b"/api/readings",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"text/csv")],
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(app(scope, receive, send))

    assert there[:3] == [1, 1, 422]
    assert uploads(home) == []


def test_what_a_dead_process_left_behind_goes_with_the_next_file(home: make.Home) -> None:
    folder = home.settings.data / "uploads"
    dead, used, young = (make.file(folder / name) for name in ("dead", "used", "young"))
    long_ago = time.time() - 3_600
    os.utime(dead, (long_ago, long_ago))
    os.utime(used, (long_ago, long_ago))

    with used.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with LocalUploads(folder, home.services.space).receiving(".csv"):
            pass

    assert sorted(path.name for path in uploads(home)) == ["used", "young"]
    assert young.exists()


@pytest.mark.parametrize("act", ["erased", "started"])
def test_what_a_dead_process_left_behind_goes_with_an_erasure_and_with_a_start(
    home: make.Home, act: str
) -> None:
    """It may have readings of the meter that is to be forgotten."""
    home.load(make.readings(0.5))
    dead = make.file(home.settings.data / "uploads" / "dead")
    os.utime(dead, (time.time() - 3_600, time.time() - 3_600))

    if act == "erased":
        erase(home.services, "123")
    else:
        prepare(home.settings)

    assert uploads(home) == []


def test_a_file_that_wants_too_much_memory_is_refused_and_the_next_one_taken(
    home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stacks of a machine with many cores would take all of it.
    monkeypatch.setenv("POLARS_MAX_THREADS", "2")
    settings = home.settings.model_copy(update={"import_memory_mib": 640})
    app = create_app(home.services, settings)
    parquet = {"Content-Type": "application/vnd.apache.parquet"}
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        large = client.post("/api/readings", content=parquet_of(3_000_000), headers=parquet)
        small = client.post("/api/readings", content=parquet_of(100), headers=parquet)

    assert_refused(large, 422, "IMPORT_REFUSED")
    assert "too large" in large.json()["message"]
    assert small.json()["rows_new"] == 100
    assert uploads(home) == []


def parquet_of(rows: int) -> bytes:
    sink = io.BytesIO()
    make.many_readings(rows).write_parquet(sink, row_group_size=rows)
    return sink.getvalue()


def import_with(*program: str, longest_s: float = 60) -> dict[str, object]:
    run = ImportProcess(dict(os.environ), program=program, longest_s=longest_s)
    return asyncio.run(run(Path("file.csv"), Said(meter="1"), EVERYTHING))


def test_a_file_that_kills_its_reader_is_refused() -> None:
    with pytest.raises(ImportRefused, match="did not survive it"):
        import_with("sh", "-c", "kill -9 $$")


def test_a_file_that_takes_for_ever_is_given_up() -> None:
    with pytest.raises(ImportRefused, match=r"longer than 0\.2 seconds"):
        import_with("sh", "-c", "exec sleep 60", longest_s=0.2)


def test_what_the_reader_was_told_comes_on_its_input() -> None:
    echoed = import_with("sh", "-c", """printf '{"report": %s}' "$(cat)" """)

    assert heard(echoed) == (Said(meter="1"), EVERYTHING)
