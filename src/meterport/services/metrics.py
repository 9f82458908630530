"""The service in numbers as Prometheus reads them: text format 0.0.4.

Labels: none of meters, owners or jobs; what has a label has few and known words for it.
Types:  sums are of the records that are kept, and fall when some are forgotten: gauges, then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from meterport import __version__
from meterport.domain.errors import MeterportError
from meterport.domain.figures import DiskSpace, JobFigures
from meterport.ports import ReadingSource
from meterport.ports.overview import Disk, JobCounts, Presence

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

T = TypeVar("T")


def metrics(*, counts: JobCounts, presence: Presence, disk: Disk, source: ReadingSource) -> str:
    """Without what cannot be known just now. Raises ServiceUnavailable without a database."""
    lines = [
        *_value("build_info", "The version that runs here.", 1, version=__version__),
        *_of_jobs(counts.figures()),
        *_value("workers", "Worker processes that are there.", presence.workers()),
    ]
    version = _known(source.version)
    if version is not None:
        lines += _value("readings_version", "Newest version of the readings.", version)
    space = _known(disk.scarcest)
    if space is not None:
        lines += _of_disk(space)
    return "\n".join(lines) + "\n"


def _known(ask: Callable[[], T]) -> T | None:
    with suppress(MeterportError, OSError):
        return ask()
    return None


def _of_jobs(figures: JobFigures) -> Iterator[str]:
    states = {f'{{state="{state}"}}': count for state, count in figures.jobs.items()}
    yield from _family("jobs", "gauge", "Exports whose records are kept, by state.", states)
    yield from _value(
        "oldest_queued_job_age_seconds",
        "Since the oldest queued export was asked for; 0 if none is queued.",
        figures.oldest_queued_s,
    )
    yield from _value("rows_written", "Rows of the finished exports.", figures.rows)
    yield from _value("bytes_written", "Bytes of the finished exports.", figures.size_bytes)
    yield from _value("claims_lost", "Attempts whose worker died or was cut off.", figures.crashes)
    yield from _value("retries", "Attempts that met an error that may pass.", figures.retries)
    yield from _histogram(
        "export_duration_seconds",
        "From first claim to end, of exports completed within 24 hours; a window, no counter.",
        figures.durations_s,
    )


def _of_disk(space: DiskSpace) -> Iterator[str]:
    yield from _value("disk_free_bytes", "Free space where the least is left.", space.free_bytes)
    yield from _value("disk_reserve_bytes", "Space that is left alone.", space.reserve_bytes)


def _value(name: str, help_: str, value: float, **labels: str) -> Iterator[str]:
    told = ",".join(f'{label}="{word}"' for label, word in labels.items())
    yield from _family(name, "gauge", help_, {f"{{{told}}}" if told else "": value})


def _histogram(name: str, help_: str, values: Sequence[float]) -> Iterator[str]:
    below = {f'_bucket{{le="{bound:g}"}}': _count(values, bound) for bound in BOUNDS_S}
    sums = {"_sum": round(sum(values), 3), "_count": len(values)}
    yield from _family(name, "histogram", help_, below | {'_bucket{le="+Inf"}': len(values)} | sums)


def _count(values: Iterable[float], bound: float) -> int:
    return sum(value <= bound for value in values)


def _family(name: str, kind: str, help_: str, samples: Mapping[str, float]) -> Iterator[str]:
    """`samples` by what follows the name."""
    full = f"meterport_{name}"
    yield f"# HELP {full} {help_}"
    yield f"# TYPE {full} {kind}"
    for suffix, value in samples.items():
        yield f"{full}{suffix} {value!r}"
