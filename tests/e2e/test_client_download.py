"""Our own client: what it saves is what the service wrote, also where an S3 store sends it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterport.client import Client, MeterportRefused
from tests import make
from tests.brokers import Store
from tests.e2e.service import Service, csv_of, running, wait_until

ROWS = 2_000


@pytest.fixture
def home(tmp_path: Path, s3: Store) -> make.Home:
    files = f"s3://exports/{uuid.uuid4().hex}"
    return make.home(tmp_path, make.many_readings(ROWS), files_url=files, **s3.settings())


@pytest.fixture(params=["proxy", "redirect"])
def service(request: pytest.FixtureRequest, home: make.Home, s3: Store) -> Iterator[Service]:
    variables = s3.variables() | {
        "METERPORT_FILES_URL": home.settings.files_url,
        "METERPORT_DOWNLOADS": request.param,
        "METERPORT_LOG_LEVEL": "debug",
    }
    with running(home.settings.data, **variables) as made:
        yield made


def finished(service: Service) -> str:
    job_id = service.create(minutes=ROWS)
    service.completed(job_id)
    return job_id


def test_a_download_is_saved_whole(service: Service, tmp_path: Path) -> None:
    job_id = finished(service)

    Client(service.url).download(job_id, tmp_path / "saved.csv")

    assert (tmp_path / "saved.csv").read_bytes() == csv_of("123", first=0, rows=ROWS)


def test_a_file_that_was_changed_in_the_store_is_not_saved(
    service: Service, home: make.Home, tmp_path: Path
) -> None:
    job_id = finished(service)
    whole = csv_of("123", first=0, rows=ROWS)
    with home.services.objects.draft(f"{job_id}/1") as draft:
        draft.write(whole[:-2] + b"0\n")
        draft.publish()

    with pytest.raises(MeterportRefused) as refused:
        Client(service.url).download(job_id, tmp_path / "saved.csv")

    assert refused.value.code == "EXPORT_DAMAGED"
    assert sorted(path.name for path in tmp_path.glob("saved*")) == []


@pytest.mark.parametrize("service", ["redirect"], indirect=True)
def test_the_link_stands_in_no_log(service: Service, tmp_path: Path) -> None:
    job_id = finished(service)

    Client(service.url).download(job_id, tmp_path / "saved.csv")

    # A request is logged after its answer was sent.
    wait_until(lambda: '"route": "/api/export/download/{job_id}"' in service.log.read_text())
    assert "X-Amz-" not in service.log.read_text()
