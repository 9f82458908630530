"""What a log line may hold, whatever went wrong."""

from collections.abc import Iterator

import pytest
import structlog

from meterport.telemetry import configure_logs


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
