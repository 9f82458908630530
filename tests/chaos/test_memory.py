"""R8: an export's memory is flat: many readings need no more than few."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from meterport.domain.exports import ExportRequest
from meterport.domain.period import Period
from meterport.domain.readings import FRAME_ROWS, READING_SCHEMA
from tests import make
from tests.chaos.harness import Chaos, gone, zygote

pytestmark = pytest.mark.promise("R8")

DAY = 86_400
LIMIT_MIB = 512
"""Of a worker, whatever it exports."""

SLACK_MIB = 96
"""What an allocator may keep more of one run than of another."""


def every_second(day: int) -> pl.DataFrame:
    """A meter's readings of one day, one a second."""
    start = make.JANUARY + timedelta(days=day)
    second = pl.int_range(DAY, eager=True)
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                start, start + timedelta(seconds=DAY - 1), "1s", time_unit="us", eager=True
            ),
            "interval_s": pl.repeat(1, DAY, dtype=pl.Int32, eager=True),
            "smart_meter_id": pl.repeat("123", DAY, eager=True),
            "energy_kwh": (second + day) / 1e6,
            "power_kw": second / 1e3,
            "voltage_v": 230 + second / 1e4,
            "current_a": second / 1e5,
            "energy_export_kwh": pl.repeat(None, DAY, dtype=pl.Float64, eager=True),
            "quality": pl.repeat(None, DAY, dtype=pl.String, eager=True),
        },
        schema=READING_SCHEMA,
    )


def peak_mib(home: make.Home, folder: Path, *, days: int, variant: str = "") -> int:
    """Of the process that exports so many days."""
    s = home.services
    period = Period(make.JANUARY, make.JANUARY + timedelta(days=days))
    job = home.submit(ExportRequest("123", period))
    done = folder / f"done-{days}"
    with zygote(folder, variant) as processes:
        gone(processes.start("job", home.settings.data, done=str(done)), within_s=1200)
    finished = s.jobs.get(job.id)
    assert finished is not None
    assert finished.file is not None, finished.error
    assert finished.file.rows == days * DAY
    s.objects.delete(finished.file.key)
    return int(done.read_text()) >> 10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(tmp_path_factory.mktemp("memory"))


@pytest.mark.timeout(3600)
def test_ten_times_the_readings_need_no_more_memory(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    few, many = chaos.size(26, full=116), chaos.size(52, full=1160)
    home.load(*(every_second(day) for day in range(few)))
    peak_of_few = peak_mib(home, tmp_path, days=few)
    for first in range(few, many, 100):
        home.load(*(every_second(day) for day in range(first, min(first + 100, many))))

    peak_of_many = peak_mib(home, tmp_path, days=many)

    chaos.count(peak_rows=many * DAY, peak_MiB=peak_of_many, peak_MiB_for_fewer_rows=peak_of_few)
    assert few * DAY > 2 * FRAME_ROWS
    assert peak_of_many <= LIMIT_MIB
    assert peak_of_many <= peak_of_few + SLACK_MIB


def test_a_product_that_holds_all_readings_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    home.load(*(every_second(day) for day in range(52)))
    whole = peak_mib(home, tmp_path, days=52)

    spoilt = peak_mib(home, tmp_path, days=52, variant="all_at_once")

    assert spoilt > whole + SLACK_MIB
