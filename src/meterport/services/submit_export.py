"""Accept an export: check what is asked for, store the job durably, wake a worker."""

from collections.abc import Mapping
from datetime import datetime

from meterport.domain.errors import (
    IdempotencyKeyInvalid,
    MissingField,
    SourceUnavailable,
    UnsupportedCompression,
    UnsupportedFormat,
    shown,
)
from meterport.domain.exports import ExportRequest, check_smart_meter_id
from meterport.domain.jobs import ANONYMOUS, Lane
from meterport.domain.period import Period, parse_instant
from meterport.encoders import FORMATS
from meterport.ports import Dispatcher, JobStore, MeterCatalog, Space, Submission
from meterport.services.choose_meters import Limits, check_meters, check_rows

REQUIRED = ("smart_meter_id", "start_datetime", "end_datetime")
COMPRESSIONS = ("none",)


def submit_export(
    request: ExportRequest,
    *,
    jobs: JobStore,
    catalog: MeterCatalog,
    dispatcher: Dispatcher,
    space: Space,
    owner: str = ANONYMOUS,
    idempotency_key: str | None = None,
    source_version: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Submission:
    """Raises StorageFull or ExportLimitExceeded rather than accept what could not be written."""
    if idempotency_key is not None:
        _check_key(idempotency_key)
        earlier = jobs.earlier(request, owner=owner, idempotency_key=idempotency_key)
        if earlier is not None:
            return Submission(earlier, replayed=True)
    lane = _lane(request, catalog, limits)
    space.check()
    submission = jobs.add(
        request,
        owner=owner,
        idempotency_key=idempotency_key,
        source_version=source_version,
        lane=lane,
    )
    if not submission.replayed:
        dispatcher.wake(submission.job.id, lane)
    return submission


def _lane(request: ExportRequest, catalog: MeterCatalog, limits: Limits) -> Lane:
    """Raises ExportLimitExceeded."""
    meters = request.fleet or (request.smart_meter_id,)
    check_meters(meters, limits)
    try:
        known = catalog.some(meters)
    except SourceUnavailable:
        return Lane.SMALL  # the job will find out, and try again when it is back
    expected = sum(meter.expected_rows(request.period) for meter in known.values())
    check_rows(expected, limits)
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
    format = _known_format(body.get("format", "csv"))  # noqa: A001 - the contract's word
    _check_compression(body.get("compression", "none"))
    return ExportRequest(meter, period, format)


def _known_format(name: object) -> str:
    if isinstance(name, str) and name in FORMATS:
        return name
    raise UnsupportedFormat(f"format {shown(name)} is not supported; known: {', '.join(FORMATS)}")


def _check_compression(name: object) -> None:
    if name not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise UnsupportedCompression(f"compression {shown(name)} is not supported; known: {known}")


def _check_key(key: str) -> None:
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid("Idempotency-Key must be 1 to 255 printable ASCII characters")
