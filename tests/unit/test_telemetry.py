"""What a log line may hold, whatever went wrong."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from meterport.telemetry import configure_logs, forward_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("format_name", ["console", "json"])
def test_a_crash_is_logged_without_the_values_at_hand(
    format_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(format_name, "info")

    def crash(link: str) -> None:
        raise ValueError(len(link))

    try:
        crash("signature-" * 2)
    except ValueError:
        structlog.get_logger().exception("request_crashed")

    logged = capsys.readouterr().err
    assert "request_crashed" in logged
    assert "ValueError: 20" in logged
    assert "signature-signature" not in logged


def test_what_a_library_warns_of_is_a_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    library = logging.getLogger("a_library")
    library.addHandler(logging.NullHandler())  # as libraries do, which silences them
    forward_logs("a_library")

    library.info("all is well")
    try:
        int("gone")
    except ValueError:
        logging.getLogger("a_library.part").critical("it ends: %s", "why", exc_info=True)

    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert logged["event"] == "library_warns"
    assert logged["level"] == "critical"
    assert logged["library"] == "a_library.part"
    assert logged["message"] == "it ends: why"
    assert logged["exception"].endswith("base 10: 'gone'")
