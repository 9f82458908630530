"""Settings as they are shown: whole, but for what is secret."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from meterport.settings import environment_of, without_passwords
from tests import make

SECRET = "hunter2"  # noqa: S105 - looked for in what is shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql+psycopg://meterport:hunter2@db:5432/x",
            "postgresql+psycopg://meterport:***@db:5432/x",
        ),
        (
            "postgresql://db/x?user=a&password=hunter2&table=t",
            "postgresql://db/x?user=a&password=***&table=t",
        ),
        (
            "postgresql://a:hunter2@db/x?sslpassword=hunter2#y",
            "postgresql://a:***@db/x?sslpassword=***#y",
        ),
        ("redis://:hunter2@broker/0", "redis://:***@broker/0"),
        ("amqp://a:hun/ter2@b@ter2@broker//", "amqp://a:***@broker//"),
        ("amqp://a:hunter2@one//;amqp://a:hunter2@two//", "amqp://a:***@two//"),
        ("az://files/x?sas_token=hunter2", "az://files/x?sas_token=***"),
        (
            "postgresql://user@host/db?table=t&timestamp=ts&energy_kwh=kwh",
            "postgresql://user@host/db?table=t&timestamp=ts&energy_kwh=kwh",
        ),
        ("sqlite:////data/meterport.db", "sqlite:////data/meterport.db"),
        ("/srv/a:b@c/readings", "/srv/a:b@c/readings"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_passwords(url) == shown


DISTRIBUTED = {
    "METERPORT_DATABASE_URL": f"postgresql+psycopg://meterport:{SECRET}@db/x",
    "METERPORT_BROKER_URL": f"redis://:{SECRET}@broker/0",
    "METERPORT_READINGS_URL": f"postgresql://reader:{SECRET}@db/x?table=readings",
    "METERPORT_FILES_URL": "s3://exports/files",
    "METERPORT_STORE_ENDPOINT": "http://store:8333",
    "METERPORT_STORE_SECRET_ACCESS_KEY": SECRET,
}


def test_the_profile_says_where_everything_is(tmp_path: Path) -> None:
    given = {name.removeprefix("METERPORT_").lower(): value for name, value in DISTRIBUTED.items()}

    assert make.settings(tmp_path, **given).profile == {
        "jobs": "postgresql+psycopg://meterport:***@db/x",
        "delivery": "Celery over redis://:***@broker/0",
        "readings": "postgresql://reader:***@db/x?table=readings",
        "files": "s3://exports/files at http://store:8333",
        "downloads": "proxy",
    }


def test_the_profile_of_one_machine_is_its_data_folder(tmp_path: Path) -> None:
    assert make.settings(tmp_path).profile == {
        "jobs": f"sqlite:///{tmp_path}/meterport.db",
        "delivery": "workers of `serve`",
        "readings": f"{tmp_path}/readings",
        "files": f"{tmp_path}/exports",
        "downloads": "proxy",
    }


def test_no_secret_is_handed_to_a_child_but_by_the_environment(tmp_path: Path) -> None:
    home = make.home(tmp_path, api_key=SecretStr("mp_x"), store_secret_access_key=SecretStr("s"))

    told = environment_of(home.settings)

    assert {"METERPORT_API_KEY", "METERPORT_STORE_SECRET_ACCESS_KEY"} & (
        set(told) - set(os.environ)
    ) == set()
