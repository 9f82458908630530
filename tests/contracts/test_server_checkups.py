"""What the doctor says of the servers of the distributed profile, and of one that is down."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from meterport.adapters.broker_checkup import BrokerCheckup
from meterport.adapters.store_checkup import StoreCheckup
from meterport.bootstrap import prepare
from meterport.cli_jobs import examined
from meterport.domain.findings import Finding, Level
from meterport.settings import Settings
from tests import make
from tests.brokers import Store, Valkey, free_port, valkey
from tests.contracts.conftest import Postgres, wait_until

START_BROKER = (
    "start it, or correct METERPORT_BROKER_URL; until then jobs are accepted and wait, "
    "and housekeeping sends again what was lost"
)
CHECK_STORE = (
    "check that it runs, that the bucket of METERPORT_FILES_URL is there, and METERPORT_STORE_…: "
    "its address, and a key that may list, read, write and delete"
)
NOBODYS = "00000000-0000-4000-8000-000000000000/1"


@pytest.fixture
def settings(tmp_path: Path, postgres: Postgres, broker: Valkey, s3: Store) -> Iterator[Settings]:
    """Of the distributed profile, with a password wherever one can be."""
    name = postgres.create()
    yield make.settings(
        tmp_path / "data",
        database_url=postgres.url(name).replace("postgres@", "postgres:hunter2@"),
        broker_url=broker.url,
        files_url=f"s3://exports/{uuid.uuid4().hex}",
        **s3.settings(),
    )
    postgres.drop(name)


def told(settings: Settings) -> list[tuple[str, str, str]]:
    """Level, part and sentence of all that the doctor finds."""
    report, healthy = examined(settings, scrub=False, as_json=True)
    found = [(one["level"], one["about"], one["message"]) for one in json.loads(report)]
    assert healthy == ("error" not in {level for level, _, _ in found})
    return found


def test_a_healthy_profile_is_told_part_by_part_without_passwords(
    settings: Settings, s3: Store, broker: Valkey
) -> None:
    prepare(settings).close()

    found = told(settings)

    assert {level for level, _, _ in found} == {"ok"}
    assert "hunter2" not in str(found)
    assert "test-secret" not in str(found)
    url = make_url(settings.database_url)
    assert [sentence for _, about, sentence in found if about == "profile"] == [
        f"jobs: postgresql+psycopg://postgres:***@127.0.0.1:{url.port}/{url.database}",
        f"delivery: Celery over {broker.url}",
        f"readings: {settings.data}/readings",
        f"files: {settings.files_url} at {s3.endpoint}",
        "downloads: proxy",
    ]
    assert ("ok", "broker", "it answers") in found
    assert ("ok", "object store", "files and unfinished uploads can be listed") in found


def test_a_broker_that_is_down_is_a_warning(settings: Settings) -> None:
    prepare(settings).close()
    down = settings.model_copy(update={"broker_url": f"redis://:hunter2@127.0.0.1:{free_port()}/0"})

    found = told(down)

    assert [one for one in found if one[0] != "ok"] == [
        ("warning", "broker", "it does not answer (ConnectionError)")
    ]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_nobody_at_the_brokers_address_is_told_with_the_remedy(scheme: str) -> None:
    (found,) = BrokerCheckup(f"{scheme}://127.0.0.1:{free_port()}/0").findings()

    assert (found.level, found.about) == (Level.WARNING, "broker")
    assert found.remedy == START_BROKER


def test_a_broker_that_dies_and_comes_back_is_told_each_time() -> None:
    with valkey() as server:
        checkup = BrokerCheckup(server.url)
        up = next(checkup.findings())
        server.kill()
        down = next(checkup.findings())
        server.start()
        again = next(checkup.findings())

    assert [up.level, down.level, again.level] == [Level.OK, Level.WARNING, Level.OK]


@pytest.mark.parametrize("url", ["carrier-pigeon://host", "redis://[host/0"])
def test_a_url_of_no_broker_is_an_error(url: str) -> None:
    (found,) = BrokerCheckup(url).findings()

    assert (found.level, found.about) == (Level.ERROR, "broker")
    assert found.remedy == "write METERPORT_BROKER_URL as redis://host/0 or amqp://user@host//"


@pytest.mark.parametrize(
    ("bucket", "changes"),
    [
        ("exports", {"endpoint": "http://127.0.0.1:1"}),
        ("exports", {"secret_access_key": "wrong"}),
        ("exports", {"access_key_id": "nobody"}),
        ("never-made", {}),
    ],
    ids=["address", "secret", "key", "bucket"],
)
def test_a_store_that_cannot_be_used_is_an_error_with_the_remedy(
    s3: Store, bucket: str, changes: dict[str, str]
) -> None:
    (found,) = StoreCheckup(f"s3://{bucket}/files", s3.options | changes).findings()

    assert (found.level, found.about) == (Level.ERROR, "object store")
    assert found.message.startswith("it cannot be listed (")
    assert found.remedy == CHECK_STORE


def test_the_doctor_tells_a_store_that_is_down_and_looks_at_the_rest(settings: Settings) -> None:
    prepare(settings).close()
    down = settings.model_copy(update={"store_endpoint": f"http://127.0.0.1:{free_port()}"})

    found = told(down)

    assert ("error", "object store", "it cannot be listed (GenericError)") in found
    assert ("ok", "readings", "every file is there") in found


def test_an_upload_that_nobody_finished_counts_among_the_leftovers(settings: Settings) -> None:
    objects = prepare(settings).objects
    abandoned = objects.draft(NOBODYS)
    abandoned.__enter__().write(b"half a file")
    wait_until(lambda: list(objects.keys()) == [NOBODYS])

    found = told(settings)

    assert ("warning", "exports", f"1 files of no job: {NOBODYS}") in found
    abandoned.__exit__(None, None, None)


def test_a_database_server_that_is_down_is_an_error_beside_the_profile(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://meterport:hunter2@127.0.0.1:{free_port()}/x"
    report, healthy = examined(
        make.settings(tmp_path / "data", database_url=url), scrub=False, as_json=True
    )

    found = [Finding(**one) for one in json.loads(report)]
    assert not healthy
    assert "hunter2" not in report
    assert found[0].message == f"jobs: {url.replace('hunter2', '***')}"
    assert found[-1].message == "the database does not answer; try again soon"
    assert found[-1].remedy == "start the database, or correct METERPORT_DATABASE_URL"
