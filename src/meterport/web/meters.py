"""The meters: which there are, how complete their readings are, and how they look."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from meterport.domain.audit import Action, Deed, Sought
from meterport.domain.completeness import MOST_GAPS, for_people
from meterport.domain.errors import InvalidColumns, InvalidRequest, SmartMeterNotFound, shown
from meterport.domain.exports import check_smart_meter_id
from meterport.domain.period import Period, iso_utc, parse_instant
from meterport.domain.readings import SMART_METER_ID, VALUE_COLUMNS, MeterSummary
from meterport.domain.words import unknown
from meterport.domain.zones import check_zone
from meterport.services.coverage import coverage, coverage_period
from meterport.services.find_meters import find_meters
from meterport.services.preview import Bucket, preview
from meterport.services.read_manifest import days_of
from meterport.services.refresh_meters import refresh_meters
from meterport.services.unerased import UnerasedMeter
from meterport.web import meters_docs as docs
from meterport.web.access import MayAdminister, MayRead
from meterport.web.audit_docs import OF_METER_AUDIT
from meterport.web.contract import ServicesOf, services_of
from meterport.web.paging import PARAMETERS, page_of, paged
from meterport.web.reading_places import place_to_read
from meterport.web.routes import add_twins
from meterport.web.strict import parameters_of

FEWEST_POINTS, USUAL_POINTS, MOST_POINTS = 10, 300, 2_000

router = APIRouter(prefix="/api/meters")


@router.get("", **docs.LIST)
def list_meters(access: MayRead, request: Request, services: ServicesOf) -> Response:
    parameters = parameters_of(request, ("search", *PARAMETERS))
    page = page_of(parameters, parts=1)
    after = _plain("cursor", page.after[0]) if page.after else ""
    prefix = _plain("search", parameters["search"]) if parameters.get("search") else ""
    if not after:
        refresh_meters(source=services.source, catalog=services.catalog)
    found = services.meter_pages.page(
        prefix=prefix, after=after, limit=page.limit + 1, within=access.meters
    )
    told = found[: page.limit]
    next_key = (told[-1].smart_meter_id,) if len(found) > len(told) else None
    return paged(request, [_summary(meter) for meter in told], next_key=next_key)


def known_meter(access: MayRead, smart_meter_id: str, services: ServicesOf) -> MeterSummary:
    """Raises SmartMeterNotFound, also for one that the key is not for."""
    wanted = check_smart_meter_id(smart_meter_id)
    if wanted not in access.meters:
        raise SmartMeterNotFound(wanted)
    (found,) = find_meters([wanted], source=services.source, catalog=services.catalog)
    return found


KnownMeter = Annotated[MeterSummary, Depends(known_meter)]
ReadingPlace = Annotated[None, Depends(place_to_read, scope="function")]


@router.get("/{smart_meter_id}", **docs.DETAIL)
def get_meter(request: Request, services: ServicesOf, meter: KnownMeter) -> Response:
    parameters_of(request, ())
    return JSONResponse(_summary(meter) | {"source_version": services.catalog.version()})


@router.get("/{smart_meter_id}/coverage", **docs.COVERAGE)
def get_coverage(
    access: MayRead,
    request: Request,
    services: ServicesOf,
    meter: KnownMeter,
    place: ReadingPlace,
) -> Response:
    parameters = parameters_of(request, ("start", "end", "timezone"))
    zone = check_zone(parameters.get("timezone", "UTC"))
    bounds = (_instant(parameters, "start"), _instant(parameters, "end"))
    period = coverage_period(meter, *bounds)
    unerased = UnerasedMeter(meter.smart_meter_id, erasures=services.erasures)
    counted = coverage(meter, period, zone, source=services.source_in_small_frames)
    about, kwh = counted.about, counted.about.energy_kwh.get(meter.smart_meter_id)
    body = about.told() | {
        "energy_kwh": None if kwh is None else for_people(kwh),
        "gaps": [_without_id(gap.as_json()) for gap in about.gaps[:MOST_GAPS]],
        "days": [_without_id(day.as_json()) for day in days_of(counted)],
    }
    _record(request, Deed(Action.COVERAGE_READ, access, [meter.smart_meter_id], rows=about.present))
    unerased.check()
    return JSONResponse(_of(meter, period) | body)


@router.get("/{smart_meter_id}/preview", **docs.PREVIEW)
def get_preview(
    access: MayRead,
    request: Request,
    services: ServicesOf,
    meter: KnownMeter,
    place: ReadingPlace,
) -> Response:
    parameters = parameters_of(request, ("start", "end", "column", "points"))
    column = _column(parameters.get("column", VALUE_COLUMNS[0]))
    points = _points(parameters.get("points"))
    start, end = _instant(parameters, "start"), _instant(parameters, "end")
    period = Period(start or meter.first, end or meter.end)
    unerased = UnerasedMeter(meter.smart_meter_id, erasures=services.erasures)
    found = preview(meter, period, column, points, source=services.source_in_small_frames)
    body = {
        "column": column,
        "step_s": found.step_s,
        "buckets": [_bucket(bucket) for bucket in found.buckets],
    }
    rows = sum(bucket.readings for bucket in found.buckets)
    _record(request, Deed(Action.PREVIEW_READ, access, [meter.smart_meter_id], rows=rows))
    unerased.check()
    return JSONResponse(_of(meter, period) | body)


@router.get("/{smart_meter_id}/audit", **OF_METER_AUDIT)
def get_audit(
    access: MayAdminister, smart_meter_id: str, request: Request, services: ServicesOf
) -> Response:
    """Also of a meter without readings: of an erased one it is told too who received them."""
    page = page_of(parameters_of(request, PARAMETERS), parts=1)
    wanted = check_smart_meter_id(smart_meter_id)
    if wanted not in access.meters:
        raise SmartMeterNotFound(wanted)
    before = _seq(page.after[0]) if page.after else None
    found = services.audit.page(Sought(smart_meter_id=wanted), limit=page.limit, before=before)
    next_key = None if found.next_seq is None else (str(found.next_seq),)
    return paged(request, [seen.as_json() for seen in found.entries], next_key=next_key)


def _record(request: Request, deed: Deed) -> None:
    """Before the answer goes out; a HEAD gets none."""
    if request.method != "HEAD":
        services_of(request).audit.record(deed)


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(
            "cursor is none that this list gave; leave it out to begin with the first page"
        )
    return int(text)


def _summary(meter: MeterSummary) -> dict[str, object]:
    return {
        "smart_meter_id": meter.smart_meter_id,
        "first": iso_utc(meter.first),
        "last": iso_utc(meter.last),
        "end": iso_utc(meter.end),
        "interval_s": meter.interval_s,
        "rows": meter.rows,
    }


def _of(meter: MeterSummary, period: Period) -> dict[str, object]:
    return {
        "smart_meter_id": meter.smart_meter_id,
        "start": iso_utc(period.start),
        "end": iso_utc(period.end),
    }


def _without_id(entry: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in entry.items() if name != "smart_meter_id"}


def _bucket(bucket: Bucket) -> dict[str, object]:
    return {
        "start": iso_utc(bucket.start),
        "min": bucket.low,
        "mean": bucket.mean,
        "max": bucket.high,
        "readings": bucket.readings,
    }


def _instant(parameters: Mapping[str, str], name: str) -> datetime | None:
    return parse_instant(name, parameters[name]) if name in parameters else None


def _column(name: str) -> str:
    if name not in VALUE_COLUMNS:
        raise InvalidColumns(unknown("column", name, VALUE_COLUMNS))
    return name


def _points(text: str | None) -> int:
    if text is None:
        return USUAL_POINTS
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if not FEWEST_POINTS <= number <= MOST_POINTS:
        raise InvalidRequest(
            f"points must be a whole number from {FEWEST_POINTS} to {MOST_POINTS}, "
            f"not {shown(text)}"
        )
    return number


def _plain(name: str, text: str) -> str:
    """An id, or what one begins with: no database has to cope with anything else."""
    if not SMART_METER_ID.fullmatch(text):
        raise InvalidRequest(
            f"{name} must be what the id of a meter begins with, letters, digits or . _ : - and "
            f"first a letter or digit, not {shown(text)}"
        )
    return text


add_twins(router)
