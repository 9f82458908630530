"""Fixtures that many tests share."""

import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import brokers, servers
from tests.chaos.counts import ChaosCounts
from tests.samples import SAMPLES

# Tests measure no time.
settings.register_profile("meterport", deadline=None)
settings.load_profile("meterport")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ChaosCounts(config))
    # Under nohup all that tests start would ignore the hang-up by which the kernel ends a stopped
    # process whose parent has died.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL, started once for the run."""
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[brokers.Store]:
    """A real S3 store with a bucket `exports`, started once for the run."""
    with brokers.seaweedfs() as store:
        store.make_bucket("exports")
        yield store


@pytest.fixture(scope="session")
def broker() -> Iterator[brokers.Valkey]:
    """A real Valkey, started once for the run."""
    with brokers.valkey() as server:
        yield server


@pytest.fixture
def samples() -> Path:
    """The folder of real sample files; tests that want it skip where it is absent."""
    if not SAMPLES.is_dir():
        message = f"NO SAMPLE FILES: {SAMPLES} is absent; set METERPORT_SAMPLES"
        warnings.warn(pytest.PytestWarning(message), stacklevel=1)
        pytest.skip(message)
    return SAMPLES
