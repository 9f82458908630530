"""What a finished export's manifest says, as one JSON document."""

import json
import zlib
from collections.abc import Iterator, Sequence
from functools import reduce

from meterport.domain.completeness import Completeness, Manifest, MeterDay, joined
from meterport.domain.errors import ManifestGone
from meterport.domain.jobs import Job
from meterport.domain.period import iso_utc
from meterport.services.open_export import downloadable_file

MEMBERS = zlib.MAX_WBITS | 16
"""Gzip; `days` of several parts are one member each."""


def read_manifest(job: Job, manifests: Sequence[Manifest]) -> Iterator[str]:
    """The document in pieces. `manifests`: of the file, or of its parts in order.

    Raises ExportNotReady, ExportFailed, ExportExpired; ManifestGone for a file of an older
    release, which has none.
    """
    file = downloadable_file(job)
    if not manifests:
        raise ManifestGone(job.id)
    about = reduce(Completeness.followed_by, (each.about for each in manifests))
    said = {
        "job_id": job.id,
        "request": described(job),
        "rows": file.rows,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "source_version": job.source_version,
        **about.told(),
    }
    return _document(said, joined(day for each in manifests for day in days_of(each)))


def described(job: Job) -> dict[str, object]:
    request = job.request
    return {
        "smart_meter_id": request.smart_meter_id,
        "start": iso_utc(request.period.start),
        "end": iso_utc(request.period.end),
        "format": request.format,
        "compression": str(request.compression),
        **request.options.words(),
        **({} if request.label is None else {"label": request.label}),
    }


def days_of(manifest: Manifest) -> Iterator[MeterDay]:
    for line in _lines(manifest.days):
        yield MeterDay.of_json(json.loads(line))


def _document(said: dict[str, object], days: Iterator[MeterDay]) -> Iterator[str]:
    yield json.dumps(said, indent=1).removesuffix("\n}") + ',\n "days": ['
    before = "\n  "
    for day in days:
        yield before + json.dumps(day.as_json())
        before = ",\n  "
    yield "\n ]\n}\n"


def _lines(gzipped: bytes) -> Iterator[bytes]:
    unpack = zlib.decompressobj(MEMBERS)
    rest = b""
    for at in range(0, len(gzipped), 1 << 16):
        *lines, rest = (rest + unpack.decompress(gzipped[at : at + (1 << 16)])).split(b"\n")
        yield from lines
