"""GET /metrics: the service in numbers, as Prometheus reads them."""

import re

import pytest
from starlette.testclient import TestClient

from meterport import __version__
from meterport.domain.errors import ServiceUnavailable, SourceUnavailable
from meterport.domain.figures import DiskSpace, JobFigures, JobState
from meterport.services.metrics import metrics
from tests import make
from tests.answers import assert_refused

NAME = r"meterport_[a-z_]+"
SAMPLE = re.compile(rf'({NAME})(\{{[a-z]+="[^"\\\n]*"\}})? (-?[0-9.e+-]+|\+Inf)')


class Stub:
    """Each part that is asked, with an answer for it."""

    def figures(self) -> JobFigures:
        return JobFigures(
            jobs=dict.fromkeys(JobState, 0) | {JobState.QUEUED: 2, JobState.COMPLETED: 3},
            oldest_queued_s=12.5,
            rows=6_000_000_000,
            size_bytes=15_000_000_000,
            crashes=1,
            retries=4,
            durations_s=[0.05, 0.5, 3.25, 9_000],
        )

    def workers(self) -> int:
        return 2

    def scarcest(self) -> DiskSpace:
        return DiskSpace(10**12, 2**31)

    def version(self) -> int | None:
        return 7


EXPECTED = f"""\
# HELP meterport_build_info The version that runs here.
# TYPE meterport_build_info gauge
meterport_build_info{{version="{__version__}"}} 1
# HELP meterport_jobs Exports whose records are kept, by state.
# TYPE meterport_jobs gauge
meterport_jobs{{state="queued"}} 2
meterport_jobs{{state="running"}} 0
meterport_jobs{{state="completed"}} 3
meterport_jobs{{state="expired"}} 0
meterport_jobs{{state="failed"}} 0
meterport_jobs{{state="cancelled"}} 0
# HELP meterport_oldest_queued_job_age_seconds Since the oldest queued export was asked for; \
0 if none is queued.
# TYPE meterport_oldest_queued_job_age_seconds gauge
meterport_oldest_queued_job_age_seconds 12.5
# HELP meterport_rows_written Rows of the finished exports.
# TYPE meterport_rows_written gauge
meterport_rows_written 6000000000
# HELP meterport_bytes_written Bytes of the finished exports.
# TYPE meterport_bytes_written gauge
meterport_bytes_written 15000000000
# HELP meterport_claims_lost Attempts whose worker died or was cut off.
# TYPE meterport_claims_lost gauge
meterport_claims_lost 1
# HELP meterport_retries Attempts that met an error that may pass.
# TYPE meterport_retries gauge
meterport_retries 4
# HELP meterport_export_duration_seconds From first claim to end, of exports completed within \
24 hours; a window, no counter.
# TYPE meterport_export_duration_seconds histogram
meterport_export_duration_seconds_bucket{{le="0.1"}} 1
meterport_export_duration_seconds_bucket{{le="0.5"}} 2
meterport_export_duration_seconds_bucket{{le="1"}} 2
meterport_export_duration_seconds_bucket{{le="2.5"}} 2
meterport_export_duration_seconds_bucket{{le="5"}} 3
meterport_export_duration_seconds_bucket{{le="10"}} 3
meterport_export_duration_seconds_bucket{{le="30"}} 3
meterport_export_duration_seconds_bucket{{le="60"}} 3
meterport_export_duration_seconds_bucket{{le="300"}} 3
meterport_export_duration_seconds_bucket{{le="1800"}} 3
meterport_export_duration_seconds_bucket{{le="7200"}} 3
meterport_export_duration_seconds_bucket{{le="+Inf"}} 4
meterport_export_duration_seconds_sum 9003.8
meterport_export_duration_seconds_count 4
# HELP meterport_workers Worker processes that are there.
# TYPE meterport_workers gauge
meterport_workers 2
# HELP meterport_readings_version Newest version of the readings.
# TYPE meterport_readings_version gauge
meterport_readings_version 7
# HELP meterport_disk_free_bytes Free space where the least is left.
# TYPE meterport_disk_free_bytes gauge
meterport_disk_free_bytes 1000000000000
# HELP meterport_disk_reserve_bytes Space that is left alone.
# TYPE meterport_disk_reserve_bytes gauge
meterport_disk_reserve_bytes 2147483648
"""


def test_the_text_is_what_prometheus_reads() -> None:
    stub = Stub()

    text = metrics(counts=stub, presence=stub, disk=stub, source=stub)  # type: ignore[arg-type]

    assert text == EXPECTED


def test_the_type_names_the_formats_version(client: TestClient) -> None:
    answer = client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_every_line_is_a_comment_or_a_sample_of_the_family_above(client: TestClient) -> None:
    text = client.get("/metrics").text

    family = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
            assert line.split()[3] in ("gauge", "histogram")
        else:
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            assert found[1].startswith(family)


def test_exports_are_counted_as_they_are_made(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5, 0.6))
    home.submit(make.request())
    home.work()
    home.submit(make.request())

    lines = client.get("/metrics").text.splitlines()

    assert 'meterport_jobs{state="completed"} 1' in lines
    assert 'meterport_jobs{state="queued"} 1' in lines
    assert "meterport_rows_written 2" in lines
    assert "meterport_export_duration_seconds_count 1" in lines
    assert "meterport_readings_version 1" in lines


def test_no_meter_is_named(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(0.5, meter="the-neighbour"))
    home.submit(make.request("the-neighbour"))
    home.work()

    assert "neighbour" not in client.get("/metrics").text


def test_readings_that_are_away_are_left_out(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise SourceUnavailable("The readings store cannot be read")

    monkeypatch.setattr(home.services.source, "version", gone)

    answer = client.get("/metrics")

    assert answer.status_code == 200
    assert "meterport_readings_version" not in answer.text
    assert "meterport_jobs" in answer.text


def test_without_a_database_there_are_no_numbers(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise ServiceUnavailable("the database does not answer; try again soon")

    monkeypatch.setattr(home.services.counts, "figures", gone)

    assert_refused(client.get("/metrics"), 503, "SERVICE_UNAVAILABLE")
