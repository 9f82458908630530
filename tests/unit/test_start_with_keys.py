"""Whether a service that starts says what becomes of its keys."""

from datetime import UTC, datetime, timedelta

import pytest
import structlog

from meterport.domain.errors import StartRefused
from meterport.serve import check_keys
from meterport.services.keys import create_key, revoke_key
from tests import make
from tests.unit import keyed


def warned(home: make.Home, **given: object) -> list[str]:
    with structlog.testing.capture_logs() as logged:
        check_keys(home.services, home.settings.model_copy(update=given))
    return [line["event"] for line in logged]


@pytest.mark.parametrize("given", [{}, {"auth": "insecure-off", "host": "192.0.2.1"}])
def test_keys_that_nobody_is_asked_for_are_warned_of(
    home: make.Home, given: dict[str, str]
) -> None:
    keyed.key(home)

    assert warned(home, **given) == ["keys_not_asked_for"]
    assert warned(home, auth="keys") == []


def test_without_keys_there_is_nothing_to_warn_of(home: make.Home) -> None:
    services = home.services
    long_ago = datetime.now(UTC) - timedelta(days=2)
    create_key(
        scopes=["read"],
        meters=["*"],
        keys=services.keys,
        audit=services.audit,
        now=long_ago,
        valid_for=timedelta(days=1),
    )
    revoke_key(keyed.id_of(keyed.key(home)), keys=services.keys, audit=services.audit)

    assert warned(home) == []
    with pytest.raises(StartRefused, match="asks for keys, and there is none"):
        warned(home, auth="keys")
