"""What was read before an erasure is not told after it."""

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from meterport.bootstrap import erase
from meterport.domain.errors import ExportExpired, SmartMeterNotFound
from meterport.services import unerased
from meterport.services.unerased import UnerasedMeter
from meterport.sources.delta import DeltaSource
from tests import make
from tests.unit import fleets
from tests.unit.exports import submitted


def erasing(home: make.Home, meter: str) -> Callable[..., Iterator[pl.DataFrame]]:
    """A scan that ends when the erasure has returned, with what was there before."""
    scan = DeltaSource.scan

    def erased_meanwhile(self: DeltaSource, *asked: Any, **how: Any) -> Iterator[pl.DataFrame]:
        frames = list(scan(self, *asked, **how))
        assert sum(frame.height for frame in frames) == 2
        erase(home.services, meter)
        return iter(frames)

    return erased_meanwhile


@pytest.mark.parametrize("path", ["preview", "coverage"])
def test_a_meter_that_is_erased_while_it_is_read_is_not_told_of(
    loaded: make.Home, client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeltaSource, "scan", erasing(loaded, "A"))

    answer = client.get(f"/api/meters/A/{path}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "SMART_METER_NOT_FOUND"


def test_the_erasure_of_another_meter_disturbs_nobody(
    loaded: make.Home, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeltaSource, "scan", erasing(loaded, "C"))

    assert client.get("/api/meters/A/preview").status_code == 200


def test_a_meter_whose_erasure_is_under_way_is_not_there(
    loaded: make.Home, client: TestClient
) -> None:
    loaded.services.erasures.begin("A")

    assert client.get("/api/meters/A/preview").status_code == 404
    with pytest.raises(SmartMeterNotFound):
        UnerasedMeter("A", erasures=loaded.services.erasures)


def test_a_meter_that_is_imported_after_its_erasure_is_there_again(
    loaded: make.Home, client: TestClient
) -> None:
    erase(loaded.services, "A")
    loaded.load(make.readings(0.7, meter="A"))

    assert client.get("/api/meters/A/preview").status_code == 200


def test_a_manifest_breaks_off_where_a_meter_of_it_is_erased(
    loaded: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unerased, "BLOCK", 1)
    job = fleets.asked(loaded)
    fleets.work(loaded)
    pieces = loaded.services.unerased().pieces(job.id, ["of A", "of B"])

    assert next(pieces) == "of A"
    erase(loaded.services, "B")
    with pytest.raises(ExportExpired):
        next(pieces)


def test_what_was_exported_in_the_midst_of_an_erasure_ends_with_it(loaded: make.Home) -> None:
    s = loaded.services
    s.erasures.begin("A")
    job = submitted(loaded, "A")
    loaded.work()
    sending = s.unerased()
    sending.check(job.id)

    erase(s, "A")

    with pytest.raises(ExportExpired):
        sending.check(job.id)


def test_an_export_without_the_erased_meter_is_sent_to_its_end(loaded: make.Home) -> None:
    job = submitted(loaded, "C")
    loaded.work()
    sending = loaded.services.unerased()

    erase(loaded.services, "A")

    sending.check(job.id)
