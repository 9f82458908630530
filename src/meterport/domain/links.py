"""Links: each leads to one export's file, for a time, whoever follows it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from meterport.domain.errors import InvalidRequest, shown
from meterport.domain.jobs import JobId

USUAL_S = 86_400
LEAST_S, MOST_S = 60, 30 * 86_400
MOST_OF_EXPORT = 1_000
"""All of them are told in one list."""


@dataclass(frozen=True)
class Link:
    """A link without its secret. `key_id`: of the key that made it; empty without keys."""

    id: str
    job_id: JobId
    key_id: str
    created_at: datetime
    expires_at: datetime


def lifetime(value: object) -> timedelta:
    """From the seconds that a request says. Raises InvalidRequest."""
    if isinstance(value, bool) or not isinstance(value, int) or not LEAST_S <= value <= MOST_S:
        said = str(value) if type(value) is int and abs(value) < 10**15 else shown(value)
        raise InvalidRequest(
            f"expires_in_s must be a whole number from {LEAST_S} to {MOST_S}, not {said}"
        )
    return timedelta(seconds=value)
