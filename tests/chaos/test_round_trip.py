"""R20: what is written reads back value for value, by readers of other people's making.

Drawn data sets go through the whole product: asked for, worked on (a fleet in parts), stored,
opened, unpacked by gzip and zstd, read. What a format is not declared to hold must fail the job,
name a place where it is, and a remedy, and leave no file; anything else must be there, exactly.
A few data sets for every format and compression; full: 5,040. And a month of minutes; full: a year.
"""

from itertools import zip_longest
from pathlib import Path
from subprocess import CalledProcessError

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from meterport.domain.jobs import Job
from meterport.domain.options import Compression
from meterport.domain.readings import READING_SCHEMA
from meterport.services.sweep import sweep
from meterport.services.work_job import work_job
from tests import make, readers
from tests.chaos import broken_formats
from tests.chaos.data_sets import DataSet, InMemory, as_held, data_sets, long_set, not_held
from tests.chaos.harness import Chaos
from tests.unit.exports import downloaded, exported, now, workplace

pytestmark = pytest.mark.promise("R20")

COMPRESSIONS = ("none", "gzip", "zstd")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> make.Home:
    return make.home(tmp_path_factory.mktemp("round_trip"))


def round_trip(chaos: Chaos, home: make.Home, data: DataSet, compression: str) -> None:
    job = worked_on(home, data, compression)
    places = not_held(data)
    chaos.count(data_sets=1, rows=len(data.rows), refused=bool(places))
    if places:
        assert_refused(home, job, places)
        return
    assert job.file is not None, job.error
    text = readers.unpacked(content(home, job), compression)
    expected = readers.told(as_held(data))
    assert job.file.rows == len(data.rows)
    if data.format == "csv":
        assert readers.told(readers.read_csv(text, data.dialect)) == expected
        return
    for read in readers.READERS[data.format]:
        assert readers.told(read(text)) == expected


def worked_on(home: make.Home, data: DataSet, compression: str) -> Job:
    readings = InMemory(data)
    job = home.submit(data.request(Compression(compression)))
    at = workplace(home, source=readings, catalog=readings, part_rows=data.part_rows)
    while work_job(at):
        pass
    return now(home, job)


def assert_refused(home: make.Home, job: Job, places: list[str]) -> None:
    assert job.error is not None, f"there is a file, though it cannot hold {places[0]}"
    assert job.error.code == "FORMAT_CANNOT_HOLD"
    assert any(place in job.error.message for place in places), job.error.message
    assert job.error.details.startswith(("Ask for ", "Choose ")), job.error.details
    if job.request.is_fleet:  # parts that were finished go within a minute
        sweep(archive=home.services.archive, objects=home.services.objects)
    left = [*home.services.objects.keys(), *home.services.objects.drafts()]
    assert [key for key in left if job.id in key] == []


def content(home: make.Home, job: Job) -> bytes:
    """As it is downloaded; then it is removed."""
    data = downloaded(home, job)
    for piece in home.services.jobs.pieces(job):
        home.services.objects.delete(piece.key)
    return data


def trips(
    chaos: Chaos,
    home: make.Home,
    format_: str,
    compression: str,
    *,
    commit: int = 8,
) -> None:

    @seed(chaos.random.randrange(1 << 32))
    @settings(
        max_examples=chaos.size(commit, full=240),
        phases=(Phase.explicit, Phase.generate),  # shrinking takes minutes: 0.1 s a data set
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(data_sets(format_))
    def one(data: DataSet) -> None:
        round_trip(chaos, home, data, compression)

    one()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("format_", readers.READERS)
def test_what_is_held_reads_back_value_for_value_and_the_rest_is_refused(
    chaos: Chaos, home: make.Home, format_: str, compression: str
) -> None:
    trips(chaos, home, format_, compression)


LONG_READERS = {**readers.READERS, "xml": (readers.read_long_green_button,)}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("format_", LONG_READERS)
def test_a_year_of_minutes_reads_back_value_for_value(
    chaos: Chaos, tmp_path: Path, format_: str
) -> None:
    data = long_set(format_, days=chaos.size(31, full=365))
    compression = Compression(chaos.random.choice(COMPRESSIONS))
    home = make.home(tmp_path, pl.DataFrame(data.rows, schema=READING_SCHEMA, orient="row"))

    text = readers.unpacked(exported(home, data.request(compression)), compression)

    expected = readers.told(as_held(data))
    for read in LONG_READERS[format_]:
        # Of so many rows pytest would not end to show what differs.
        pairs = zip_longest(readers.told(read(text)), expected)
        assert (
            next(((n, *pair) for n, pair in enumerate(pairs) if pair[0] != pair[1]), None) is None
        )
    chaos.count(data_sets=1, rows=len(data.rows))
    home.services.close()


@pytest.mark.parametrize("name", broken_formats.TEETH)
def test_a_product_that_writes_anything_else_is_caught(
    chaos: Chaos, home: make.Home, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, format_, compression = broken_formats.TEETH[name]
    spoil(monkeypatch)

    # The first that tells ends it; of eighty there may be none with a clock change in a frame.
    with pytest.raises((AssertionError, CalledProcessError)):
        trips(chaos.toothless(name), home, format_, compression, commit=400)
