"""Accept an export: check what is asked for, store the job durably, wake a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from meterport.domain.access import EVERYTHING, Access, Scope
from meterport.domain.access_errors import Forbidden
from meterport.domain.audit import Action, Deed
from meterport.domain.errors import (
    InvalidColumns,
    InvalidRequest,
    InvalidResolution,
    MissingField,
    SourceUnavailable,
    UnsupportedFormat,
)
from meterport.domain.exports import ExportRequest, check_smart_meter_id
from meterport.domain.idempotency import check_key
from meterport.domain.jobs import Job, Lane, Room, Submission
from meterport.domain.options import Compression, CsvDialect, Layout, compression_of
from meterport.domain.period import Period, parse_instant
from meterport.domain.readings import VALUE_COLUMNS
from meterport.domain.shapes import STEP_S, Gaps, Label, Resolution
from meterport.domain.words import unknown
from meterport.domain.zones import check_zone
from meterport.encoders import FORMATS
from meterport.encoders.compression import check_layout
from meterport.ports import Dispatcher, JobStore, MeterCatalog, Space
from meterport.ports.audit import Recorder
from meterport.services.choose_meters import Limits, check_meters, check_rows, expected_rows

REQUIRED = ("smart_meter_id", "start_datetime", "end_datetime")


@dataclass(frozen=True)
class Intake:
    """Where exports are accepted, and what one may have at most.

    `room`: of the owner's part counts only where there is a key.
    """

    jobs: JobStore
    catalog: MeterCatalog
    dispatcher: Dispatcher
    space: Space
    audit: Recorder
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    room: Room = Room()  # noqa: RUF009 - it is frozen


def submit_export(
    request: ExportRequest,
    *,
    at: Intake,
    access: Access = EVERYTHING,
    idempotency_key: str | None = None,
    source_version: int | None = None,
    purpose: str = "",
) -> Submission:
    """Raises StorageFull or ExportLimitExceeded rather than accept what could not be written.

    TooManyActiveExports or QueueFull, unless it was accepted before.

    `source_version`: which to read while it is kept; `as_of` of the options is read or nothing.
    `purpose`: within which an idempotency key stands for one request. Raises Forbidden.
    """
    check_options(request)
    authorise(request, access)
    if idempotency_key is not None:
        check_key(idempotency_key)
        # No key has a line break.
        idempotency_key = f"{purpose}\n{idempotency_key}" if purpose else idempotency_key
        earlier = at.jobs.earlier(request, owner=access.owner, idempotency_key=idempotency_key)
        if earlier is not None:
            return _replayed(earlier, at, access)
    lane = _lane(request, at)
    at.space.check()
    as_of = request.options.as_of
    submission = at.jobs.add(
        request,
        owner=access.owner,
        idempotency_key=idempotency_key,
        source_version=source_version if as_of is None else as_of,
        lane=lane,
        room=at.room if access.key_id else replace(at.room, of_owner=0),
    )
    if submission.replayed:
        return _replayed(submission.job, at, access)
    _record(submission, at, access, purpose)
    at.dispatcher.wake(submission.job.id, lane)
    return submission


def authorise(request: ExportRequest, access: Access) -> None:
    """Raises Forbidden."""
    access.check(Scope.EXPORT)
    access.check_meters(request.fleet or (request.smart_meter_id,))


def _replayed(earlier: Job, at: Intake, access: Access) -> Submission:
    """Of `all` meters another key of its owner may have had more, of which nothing is told."""
    foreign = access.meters.lacks(at.jobs.meters(earlier))
    if foreign is not None:
        raise Forbidden(
            "this Idempotency-Key stands for an export of more meters than this key is for; "
            "use a new Idempotency-Key",
            smart_meter_id=foreign,
        )
    submission = Submission(earlier, replayed=True)
    _record(submission, at, access)
    return submission


def _record(submission: Submission, at: Intake, access: Access, purpose: str = "") -> None:
    """A job that is stored and not recorded is told to nobody; asked again, it is a replay."""
    job = submission.job
    told = {"purpose": purpose, "replayed": "true" if submission.replayed else ""}
    at.audit.record(
        Deed(
            Action.EXPORT_CREATED,
            access,
            meters=at.jobs.meters(job),
            job_id=job.id,
            details={name: word for name, word in told.items() if word},
        )
    )


def _lane(request: ExportRequest, at: Intake) -> Lane:
    """Raises ExportLimitExceeded."""
    meters = request.fleet or (request.smart_meter_id,)
    check_meters(meters, at.limits)
    try:
        known = at.catalog.some(meters)
    except SourceUnavailable:
        return Lane.SMALL  # the job will find out, and try again when it is back
    expected = expected_rows(known.values(), request.period, request.options.shape)
    check_rows(expected, at.limits)
    return Lane.of(expected)


def read_request(body: Mapping[str, object], *, now: datetime) -> ExportRequest:
    """The frozen tier's request; fields that it does not know are passed over.

    Missing fields are reported first, then the first failing rule in the contract's order.
    """
    missing = [name for name in REQUIRED if name not in body]
    if missing:
        raise MissingField(f"required and missing: {', '.join(missing)}")
    meter = check_smart_meter_id(body["smart_meter_id"])
    start = parse_instant("start_datetime", body["start_datetime"])
    end = parse_instant("end_datetime", body["end_datetime"])
    period = Period.requested(start, end, now=now)
    format = known_format(body.get("format", "csv"))  # noqa: A001 - the contract's word
    compression = compression_of(body.get("compression", Compression.NONE))
    return ExportRequest(meter, period, format, compression=compression)


def known_format(name: object) -> str:
    if isinstance(name, str) and name in FORMATS:
        return name
    raise UnsupportedFormat(unknown("format", name, tuple(FORMATS), "is not supported"))


def check_options(request: ExportRequest) -> None:
    """Refuse what says nothing in the format that is asked for, rather than pass it over."""
    options, shape = request.options, request.options.shape
    check_zone(shape.zone)
    check_layout(request.compression, options.layout)
    if options.csv != CsvDialect() and request.format != "csv":
        raise InvalidRequest(f"the options under csv say nothing in format {request.format}")
    _check_steps(request.format, shape.resolution)
    needs = FORMATS[request.format].needs
    if needs is None:
        _check_meters_are_told(request)
        return
    _check_places(request.format, needs, shape.columns or needs)
    for field, unusual in (
        ("interval_label", shape.label is not Label.START),
        ("with_count", shape.with_count),
        ("gaps", shape.gaps is not Gaps.OMIT),
    ):
        if unusual:
            raise InvalidRequest(
                f"format {request.format} has its own way to tell of intervals and gaps; "
                f"leave {field} out"
            )


def _check_meters_are_told(request: ExportRequest) -> None:
    options, meters = request.options, len(request.fleet)
    told = "smart_meter_id" in options.shape.own or options.layout is Layout.FILE_PER_METER
    if meters > 1 and not told:
        raise InvalidColumns(
            f"columns lacks smart_meter_id, so nobody could tell the rows of {meters:,} "
            "meters apart; add it, or ask for layout file_per_meter"
        )


def _check_steps(format: str, resolution: Resolution) -> None:  # noqa: A002
    steps_s = FORMATS[format].steps_s
    if resolution is Resolution.RAW or steps_s is None or STEP_S[resolution] in steps_s:
        return
    named = ", ".join(word for word, step_s in STEP_S.items() if step_s in steps_s)
    raise InvalidResolution(
        f"format {format} has no intervals of {resolution}; ask for {named} or raw"
    )


def _check_places(format: str, places: Sequence[str], columns: Sequence[str]) -> None:  # noqa: A002
    """A format with places of its own passes over nothing, and says at least something."""
    for name in columns:
        if name not in places:
            raise InvalidColumns(
                f"format {format} has no place for column {name}; it has {', '.join(places)}"
            )
    values = [name for name in places if name in VALUE_COLUMNS]
    if not set(values) & set(columns):
        raise InvalidColumns(
            f"columns names no value that format {format} holds; add one of {', '.join(values)}"
        )
