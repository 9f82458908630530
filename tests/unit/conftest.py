"""The application in this process, on a real home of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from meterport.web.app import create_app
from tests import make


@pytest.fixture(scope="session")
def empty_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with everything but readings, made once and copied for each test."""
    return make.home(tmp_path_factory.mktemp("empty")).settings.data


@pytest.fixture
def home(tmp_path: Path, empty_data: Path) -> make.Home:
    shutil.copytree(empty_data, tmp_path / "data")
    return make.home(tmp_path)


@pytest.fixture
def client(home: make.Home) -> Iterator[TestClient]:
    app = create_app(home.services, home.settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def loaded(home: make.Home) -> make.Home:
    """With the readings of tests/unit/fleets.py."""
    home.load(
        make.readings(0.5, 0.6, meter="A"),
        make.readings(None, 0.8, meter="B"),
        make.readings(0.9, 1.0, meter="C"),
    )
    return home
