"""Exports on a home: asked for, worked on step by step, looked at."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import polars as pl
import pytest

from meterport.domain.exports import ExportRequest
from meterport.domain.jobs import Job, Lease
from meterport.domain.sheets import Sheet
from meterport.encoders import FORMATS, csv
from meterport.encoders.base import Sink
from meterport.services.open_export import Verified, finished_file, open_export
from meterport.services.work_job import Workplace, work_job
from tests import make


def submitted(home: make.Home, meter: str = "123") -> Job:
    return home.submit(make.request(meter))


def now(home: make.Home, job: Job) -> Job:
    found = home.services.jobs.get(job.id)
    assert found is not None
    return found


def error_code(home: make.Home, job: Job) -> str | None:
    error = now(home, job).error
    return None if error is None else error.code


def content(home: make.Home, job: Job) -> str:
    """A finished job's file."""
    file = now(home, job).file
    assert file is not None, now(home, job).error
    with home.services.objects.open(file.key) as opened:
        return opened.read().decode()


def downloaded(home: make.Home, job: Job) -> bytes:
    """As a client gets it: all pieces, compressed as they are."""
    s = home.services
    pieces = s.jobs.pieces(job)
    with open_export(finished_file(job), pieces, objects=s.objects, verified=Verified()) as opened:
        return opened.read()


def exported(home: make.Home, request: ExportRequest, **given: object) -> bytes:
    """The request's file, asked for and worked on by a Workplace with those fields."""
    job = home.submit(request)
    while work_job(workplace(home, **given)):
        pass
    return downloaded(home, now(home, job))


def files(home: make.Home) -> list[str]:
    return list(home.services.objects.keys())


def workplace(home: make.Home, **given: object) -> Workplace:
    s = home.services
    at = Workplace(s.jobs, s.source, s.catalog, s.objects, Lease("w"), threading.Event())
    return replace(at, **given)  # type: ignore[arg-type]  # each test gives fields of Workplace


def encode_with(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Write the CSV, but do `action` after its first frame."""

    def body(frames: Iterable[pl.DataFrame], sink: Sink, sheet: Sheet) -> None:
        def interrupted() -> Iterable[pl.DataFrame]:
            for frame in frames:
                yield frame
                action()

        csv.body(interrupted(), sink, sheet)

    changed = {"csv": replace(csv.FORMAT, body=body)}
    monkeypatch.setattr("meterport.services.run_export.FORMATS", dict(FORMATS) | changed)
