"""R10: downloads that break off at any byte go on from there, and end with the same SHA-256.

Through a proxy that cuts answers of the service; full: 1,000 cuts.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterport.client import Client, MeterportRefused
from tests import make
from tests.chaos.harness import Chaos
from tests.chaos.proxy import Proxy, proxy
from tests.e2e.service import Service, csv_of, running

pytestmark = pytest.mark.promise("R10")

ROWS = 3_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    home = make.home(tmp_path, make.many_readings(ROWS))
    with running(home.settings.data) as made:
        yield made


@pytest.fixture
def between(service: Service) -> Iterator[Proxy]:
    with proxy(service.url) as started:
        yield started


def cut(chaos: Chaos, between: Proxy, *, cuts: int) -> None:
    """The next so many downloads break off, each somewhere."""
    left = iter(range(cuts))
    between.cut_at = chaos.random.randrange

    def choose(method: str, path: str) -> str:
        is_download = path.startswith("/api/export/download/")
        return "cut_off" if is_download and next(left, None) is not None else ""

    between.choose = choose


def open_files(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


@pytest.mark.timeout(3600)
def test_a_download_that_breaks_off_goes_on_and_ends_whole(
    chaos: Chaos, service: Service, between: Proxy, tmp_path: Path
) -> None:
    job_id = service.create(minutes=ROWS)
    service.completed(job_id)
    service.download(job_id)
    before = open_files(service)
    for number in range(chaos.size(8, full=250)):
        cut(chaos, between, cuts=4)
        target = tmp_path / f"{number}.csv"
        Client(between.endpoint).download(job_id, target)
        chaos.count(downloads=1, cuts=4)
        assert target.read_bytes() == csv_of("123", first=0, rows=ROWS)
    assert between.faults["cut_off"] == chaos.size(32, full=1000)
    assert open_files(service) <= before + 5


def test_a_client_that_forgets_where_it_was_is_caught(
    service: Service, between: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.create(minutes=ROWS)
    service.completed(job_id)
    monkeypatch.setattr("meterport.client._Fetched.range", property(lambda self: "bytes=0-"))
    left = iter(range(1))
    between.choose = lambda method, path: (
        "cut_off" if "download" in path and next(left, None) is not None else ""
    )

    with pytest.raises(MeterportRefused) as refused:
        Client(between.endpoint).download(job_id, tmp_path / "a.csv")

    assert refused.value.code == "EXPORT_DAMAGED"
    assert list(tmp_path.glob("a.csv*")) == []
