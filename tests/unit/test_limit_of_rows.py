"""Rows for missing intervals are no way around the limit on the rows of an export."""

from dataclasses import replace
from datetime import timedelta

import pytest

from meterport.domain.errors import ExportLimitExceeded
from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job
from meterport.domain.options import ExportOptions
from meterport.services.choose_meters import Limits
from meterport.services.work_job import work_job
from tests import make
from tests.unit.exports import error_code, files, now, workplace
from tests.unit.fleets import METERS

DAYS = make.period(minutes=3 * 1440)


@pytest.fixture
def slower(home: make.Home) -> make.Home:
    """A minute, two days without readings, an hour: 49 hours of minutes, of which 2,880 missing."""
    for meter in METERS:
        home.load(
            make.readings(1.0, meter=meter),
            make.readings(
                1.0, meter=meter, start=make.JANUARY + timedelta(days=2), interval_s=3600
            ),
        )
    return home


def asked(home: make.Home, *meters: str, **words: object) -> Job:
    options = ExportOptions.requested(words)
    return home.submit(ExportRequest.of_fleet(meters or METERS, DAYS, options=options))


def work(home: make.Home, rows: int, part_rows: int = 1_000) -> None:
    while work_job(workplace(home, part_rows=part_rows, limits=Limits(rows=rows))):
        pass


def test_null_rows_in_shorter_intervals_than_the_newest_end_at_the_limit(slower: make.Home) -> None:
    """The catalogue lets expect 49, of an hour each."""
    job = asked(slower, "A", gaps="null")

    work(slower, rows=2_000)

    assert error_code(slower, job) == "EXPORT_LIMIT_EXCEEDED"
    error = now(slower, job).error
    assert error is not None
    assert "more than the 2,000 rows of one export" in error.message
    assert "gaps omit" in error.details
    assert files(slower) == []


def test_parts_that_are_within_the_limit_are_not_beyond_it_together(slower: make.Home) -> None:
    job = asked(slower, gaps="null")

    work(slower, rows=5_000, part_rows=49)

    assert error_code(slower, job) == "EXPORT_LIMIT_EXCEEDED"


def test_readings_alone_are_held_to_what_was_expected_of_them(slower: make.Home) -> None:
    job = asked(slower, gaps="omit")

    work(slower, rows=5)

    assert error_code(slower, job) is None


def test_null_rows_finer_than_the_newest_readings_are_refused_at_once(home: make.Home) -> None:
    """Before the hourly readings there may have been those of a minute, or none at all."""
    home.load(make.readings(*[1.0] * 48, interval_s=3600))
    small = make.opened(home, max_rows=2_879)
    request = replace(
        make.request(minutes=2 * 1440),
        options=ExportOptions.requested({"resolution": "1m", "gaps": "null"}),
    )

    with pytest.raises(ExportLimitExceeded, match="about 2,880 rows are more than the 2,879"):
        small.submit(request)
