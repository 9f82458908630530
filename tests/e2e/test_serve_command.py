"""The command line as a user meets it: what it prints, in one line where it is a mistake."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from meterport import __version__
from meterport.adapters.local_dispatch import listening
from tests import make
from tests.e2e.service import ENVIRONMENT, Service, meterport, running, wait_until, with_mounts


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(
        tmp_path_factory.mktemp("command"),
        make.readings(0.5, 0.6, meter="123"),
        make.readings(7.0, meter="kitchen", interval_s=900),
    )


@pytest.fixture(scope="module")
def service(home: make.Home) -> Iterator[Service]:
    with running(home.settings.data) as started:
        yield started


def refusal(*arguments: str | Path, inside: Sequence[str] = (), **variables: object) -> str:
    """The one line that a command says which cannot do what it is asked."""
    done = meterport(*arguments, inside=inside, **variables)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removesuffix("\n")


def test_busy_port_is_told_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        said = refusal("serve", "--data", tmp_path / "data", "--port", str(port))

    assert said.startswith(
        f"meterport: START_REFUSED: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    assert said.endswith("; choose another with --port or METERPORT_PORT")


def test_second_service_on_one_folder_is_refused_and_the_first_serves_on(service: Service) -> None:
    said = refusal("serve", "--data", service.data, "--port", "0")

    assert said == (
        f"meterport: START_REFUSED: another meterport serves {service.data} already; stop it, "
        "or choose another --data"
    )
    assert service.completed(service.create("123")).file_info.record_count == 2


def test_address_that_others_reach_is_refused_without_keys(tmp_path: Path) -> None:
    said = refusal("serve", "--data", tmp_path / "data", METERPORT_HOST="0.0.0.0")  # noqa: S104

    assert said == (
        "meterport: START_REFUSED: "
        "the service on 0.0.0.0 asks for keys, and there is none; make one with "
        "meterport keys create --scopes admin --meters '*'"
    )


def test_address_that_others_reach_is_served_once_that_is_accepted(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with running(
        tmp_path / "data", METERPORT_HOST=everywhere, METERPORT_AUTH="insecure-off"
    ) as service:
        port = service.url.rpartition(":")[2]
        answer = service.http.get(f"http://127.0.0.1:{port}/livez", headers={"Host": "any.example"})

    assert service.url == f"http://0.0.0.0:{port}"
    assert answer.json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "abc", "Input should be a valid integer, unable to parse string as an integer"),
        (
            "FILES_URL",
            "ftp://b",
            "ftp:// is not known here; write a folder such as /data/x, or a store such as "
            "s3://bucket/path",
        ),
    ],
)
def test_wrong_variable_is_named(tmp_path: Path, name: str, value: str, said: str) -> None:
    line = refusal("serve", "--data", tmp_path / "data", **{f"METERPORT_{name}": value})

    assert line == f"meterport: START_REFUSED: METERPORT_{name}: {said}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "METERPORT_BROKER_URL is empty; write one such as redis://host/0"),
        (
            "nonsense://host",
            "METERPORT_BROKER_URL cannot be used (KeyError); write one such as redis://host/0 or "
            "amqp://user@host//",
        ),
    ],
)
def test_a_celery_worker_without_a_broker_is_told(url: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "meterport.celery_app", "worker"],
        env=ENVIRONMENT | {"METERPORT_BROKER_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, f"meterport: START_REFUSED: {said}\n")


@pytest.mark.parametrize("command", [("serve",), ("db", "upgrade")])
def test_data_folder_that_is_a_file_is_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = make.write(tmp_path, "file", "not a folder\n")

    said = refusal(*command, "--data", file)

    assert said == (
        f"meterport: START_REFUSED: cannot use the data folder {file}: File exists; "
        "choose another with --data or METERPORT_DATA"
    )


def test_data_folder_that_is_read_only_is_told(tmp_path: Path) -> None:
    data = make.home(tmp_path).settings.data
    disk = tmp_path / "disk"
    disk.mkdir()
    fill = f"mount -t tmpfs tmpfs '{disk}'; cp -r '{data}'/. '{disk}'"
    inside = with_mounts(f"{fill}; mount -o remount,bind,ro '{disk}'")

    said = refusal("serve", "--data", disk, "--port", "0", inside=inside)

    assert said == (
        f"meterport: START_REFUSED: cannot use the data folder {disk}: Read-only file system; "
        "choose another with --data or METERPORT_DATA"
    )


def test_service_in_a_very_deep_folder_works_and_wakes(tmp_path: Path) -> None:
    home = make.home(tmp_path / ("d" * 120), make.readings(0.5))
    with running(home.settings.data) as service:
        completed = service.completed(service.create("123"))
        assert (home.settings.data / "wake.sock").is_socket()
        with listening(home.settings.data) as receiver:
            job_id = service.create("123")
            heard = wait_until(lambda: received(receiver))

    assert len(os.fsencode(home.settings.data / "wake.sock")) > 108
    assert completed.file_info.record_count == 1
    assert heard == job_id


def received(receiver: socket.socket) -> str:
    with suppress(BlockingIOError):
        return receiver.recv(64).decode()
    return ""


def test_data_folder_may_have_an_odd_name(tmp_path: Path) -> None:
    home = make.home(tmp_path / "Zähler & Töpfe #1?", make.readings(0.5))

    done = meterport("meters", "--data", home.settings.data)

    assert done.stdout.startswith("123 "), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Zähler & Töpfe #1?"]


def test_data_folder_whose_name_the_readings_store_cannot_hold_is_told(tmp_path: Path) -> None:
    # deltalake 1.6 reads "%20" in a table's path as a space, and then finds nothing there.
    said = refusal("meters", "--data", tmp_path / "100%20")

    assert said.startswith(
        f"meterport: START_REFUSED: cannot use the data folder {tmp_path / '100%20'}: "
    )


@pytest.mark.parametrize("wrong", [("serv",), ("serve", "--nope")])
def test_wrong_command_line_is_told_with_code_2(wrong: tuple[str, ...]) -> None:
    done = meterport(*wrong)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: ")
    assert "Traceback" not in done.stderr


def test_version_is_printed() -> None:
    done = meterport("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_settings_are_shown_as_json(tmp_path: Path) -> None:
    done = meterport(
        "config", "show", "--data", tmp_path, METERPORT_WORKERS=3, METERPORT_ALLOWED_HOSTS="b,a"
    )

    assert json.loads(done.stdout) == {
        "data": str(tmp_path),
        "database_url": "",
        "readings_url": "",
        "files_url": "",
        "store_endpoint": "",
        "store_region": "us-east-1",
        "store_access_key_id": "",
        "store_secret_access_key": "",
        "store_public_endpoint": "",
        "downloads": "proxy",
        "download_link_s": 300,
        "broker_url": "",
        "host": "127.0.0.1",
        "port": 8000,
        "workers": 3,
        "auth": "auto",
        "api_key": "",
        "allowed_hosts": ["b", "a"],
        "job_lease_s": 15.0,
        "job_time_limit_s": 7200.0,
        "job_crashes": 5,
        "job_retries": 3,
        "job_retry_s": 1.0,
        "part_rows": 1_000_000,
        "max_meters": 10_000,
        "max_rows": 1_000_000_000,
        "max_upload_bytes": 1 << 30,
        "import_memory_mib": None,
        "max_queued": 10_000,
        "max_active_exports": 100,
        "creates_per_minute": 60,
        "downloads_at_once": 8,
        "streams_at_once": 5,
        "worker_restart_s": 0.1,
        "keep_files_days": 7.0,
        "keep_jobs_days": 90.0,
        "keep_versions_days": 7.0,
        "disk_reserve_mib": None,
        "upkeep_every_h": 1.0,
        "scrub_every_h": 24.0,
        "log_format": "auto",
        "log_level": "info",
    }


def test_database_is_brought_up_to_date(tmp_path: Path) -> None:
    done = meterport("db", "upgrade", "--data", tmp_path / "data")

    assert (done.returncode, done.stdout) == (0, "the database is up to date\n")
    assert (tmp_path / "data" / "meterport.db").is_file()


def test_openapi_document_is_printed_without_a_data_folder(tmp_path: Path) -> None:
    done = meterport("openapi", METERPORT_DATA=tmp_path / "data")

    document = json.loads(done.stdout)
    assert document["info"] == document["info"] | {"title": "meterport", "version": __version__}
    assert list(document["paths"])[:3] == [
        "/api/export/csv",
        "/api/export/status/{job_id}",
        "/api/export/download/{job_id}",
    ]
    assert not (tmp_path / "data").exists()


def test_meters_are_listed_as_json_beside_a_running_service(service: Service) -> None:
    done = meterport("meters", "--json", "--data", service.data)

    assert json.loads(done.stdout) == [
        {
            "smart_meter_id": "123",
            "first": "2024-01-01T00:00:00Z",
            "last": "2024-01-01T00:01:00Z",
            "interval_s": 60,
            "rows": 2,
        },
        {
            "smart_meter_id": "kitchen",
            "first": "2024-01-01T00:00:00Z",
            "last": "2024-01-01T00:00:00Z",
            "interval_s": 900,
            "rows": 1,
        },
    ]


def test_a_service_that_is_told_to_stop_sends_away_who_waits(tmp_path: Path) -> None:
    home = make.home(tmp_path, make.readings(0.5))
    with running(home.settings.data) as service, service.paused():
        job_id = service.create("123")
        address = (service.http.base_url.host, service.http.base_url.port)
        with socket.create_connection(address) as waits:
            waits.sendall(
                f"GET /api/export/status/{job_id} HTTP/1.1\r\nHost: localhost\r\n"
                "Prefer: wait=30\r\nConnection: close\r\n\r\n".encode()
            )
            assert service.http.get("/livez").status_code == 200  # so the other has come, too
            service.process.terminate()
            answer = b"".join(iter(lambda: waits.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"status":"pending"' in answer
