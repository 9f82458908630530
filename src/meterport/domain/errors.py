"""The error tree.

Every error that a user may see carries a `code` that never changes meaning, a sentence
that names the value and the remedy, and `retryable`: whether trying again can help.

MeterportError
├── InvalidRequest              the request breaks a rule; nothing was stored
│   ├── MissingField · InvalidSmartMeterId · StartNotInPast · InvalidDateRange
│   ├── DateRangeTooSmall · DateRangeTooLarge · UnsupportedFormat · UnsupportedCompression
│   ├── InvalidResolution · InvalidTimezone · InvalidColumns
│   ├── IdempotencyKeyInvalid · IdempotencyKeyReused
│   └── IdempotencyKeyInUse                                          (retryable)
├── ExportError                 the job fails
│   ├── SmartMeterNotFound · SourceDataInvalid · ExportLimitExceeded · FormatCannotHold
│   ├── ResolutionTooFine · TimezoneUnknown · ExportCancelled · ExportTimeout · ExportCrashed
│   ├── InternalError
│   ├── SourceUnavailable · VersionGone · FileGenerationFailed · StorageFull    (retryable)
│   └── AskedVersionGone
├── DownloadError               the file cannot be had (now)
│   ├── ExportNotReady · ExportFailed · ExportDamaged · ExportExpired · RangeNotSatisfiable
│   └── ManifestGone
├── JobNotFound · ExportNotCancellable      what is asked of a job cannot be done
├── AccessError · LimitError · KeyRefused    see domain/access_errors
├── LeaseTaken                  another process is at it              (retryable)
├── ServiceUnavailable          the database does not answer         (retryable)
├── ImportRefused               the file was not imported; the store is as it was
│   └── ImportBusy                                                   (retryable)
├── BackupRefused               nothing was backed up or restored
└── StartRefused                the service cannot start as configured
"""

import string
from datetime import timedelta
from typing import ClassVar

_PRINTABLE = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")


class MeterportError(Exception):
    code: ClassVar[str] = "INTERNAL_ERROR"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(MeterportError):
    code = "INVALID_REQUEST"


class MissingField(InvalidRequest):
    code = "MISSING_FIELD"


class InvalidSmartMeterId(InvalidRequest):
    code = "INVALID_SMART_METER_ID"


class StartNotInPast(InvalidRequest):
    code = "START_NOT_IN_PAST"


class InvalidDateRange(InvalidRequest):
    code = "INVALID_DATE_RANGE"


class DateRangeTooSmall(InvalidRequest):
    code = "DATE_RANGE_TOO_SMALL"


class DateRangeTooLarge(InvalidRequest):
    code = "DATE_RANGE_TOO_LARGE"


class UnsupportedFormat(InvalidRequest):
    code = "UNSUPPORTED_FORMAT"


class UnsupportedCompression(InvalidRequest):
    code = "UNSUPPORTED_COMPRESSION"


class InvalidResolution(InvalidRequest):
    code = "INVALID_RESOLUTION"


class InvalidTimezone(InvalidRequest):
    code = "INVALID_TIMEZONE"


class InvalidColumns(InvalidRequest):
    code = "INVALID_COLUMNS"


class IdempotencyKeyInvalid(InvalidRequest):
    code = "IDEMPOTENCY_KEY_INVALID"


class IdempotencyKeyReused(InvalidRequest):
    code = "IDEMPOTENCY_KEY_REUSED"


class IdempotencyKeyInUse(InvalidRequest):
    """The first request with the key has not been answered yet."""

    code = "IDEMPOTENCY_KEY_IN_USE"
    retryable = True


class ExportError(MeterportError):
    """Ends a job as `failed`, or, if `retryable`, may end only this attempt."""


class SmartMeterNotFound(ExportError):
    code = "SMART_METER_NOT_FOUND"

    def __init__(self, smart_meter_id: str) -> None:
        super().__init__(
            f"Smart meter with ID '{smart_meter_id}' not found",
            "The specified smart meter does not exist in the system",
        )


class SourceUnavailable(ExportError):
    """The readings could not be read; trying again later may help."""

    code = "SOURCE_UNAVAILABLE"
    retryable = True


class StorageUnavailable(ExportError):
    """The object store did not answer; trying again later may help."""

    code = "STORAGE_UNAVAILABLE"
    retryable = True


class SourceDataInvalid(ExportError):
    """The readings break READING_SCHEMA; somebody has to mend the store first."""

    code = "SOURCE_DATA_INVALID"


class ExportLimitExceeded(ExportError):
    """Refused before it is stored, where the catalogue tells; nothing was stored then."""

    code = "EXPORT_LIMIT_EXCEEDED"


class FormatCannotHold(ExportError):
    """The format would lose what was measured; the message names where, the details what to do."""

    code = "FORMAT_CANNOT_HOLD"


class ResolutionTooFine(ExportError):
    """A reading is longer than the intervals that were asked for."""

    code = "RESOLUTION_TOO_FINE"

    def __init__(self, smart_meter_id: str, interval_s: int, resolution: str) -> None:
        super().__init__(
            f"Smart meter '{smart_meter_id}' has readings of {interval_s} seconds, which cannot "
            f"be divided into intervals of {resolution}",
            "Ask for resolution raw, or for a coarser one",
        )


class TimezoneUnknown(ExportError):
    """The process that took the export knew the zone; the one that works on it does not."""

    code = "INVALID_TIMEZONE"

    def __init__(self, zone: str) -> None:
        super().__init__(
            f"The time zone {shown(zone)} is not known to the worker",
            "Install the same version of tzdata for the service and all workers, then run "
            "`meterport jobs rerun`; or ask for another time zone",
        )


class VersionGone(ExportError):
    """Retention or an erasure removed that version; the next attempt reads another."""

    code = "VERSION_GONE"
    retryable = True

    def __init__(self, version: int, *, newest: int) -> None:
        super().__init__(
            f"Version {version} of the readings is no longer kept; the newest is {newest}",
            "Ask for the export again to get the newest version",
        )


class AskedVersionGone(VersionGone):
    """No other version would be what was asked for."""

    retryable = False

    def __init__(self, version: int, *, newest: int | None) -> None:
        kept = "none are kept here" if newest is None else f"the newest is {newest}"
        ExportError.__init__(
            self,
            f"Version {version} of the readings is not kept; {kept}",
            "Ask for a version that is kept, or leave as_of out to get the newest",
        )


class FileGenerationFailed(ExportError):
    code = "FILE_GENERATION_FAILED"
    retryable = True


class StorageFull(ExportError):
    code = "STORAGE_FULL"
    retryable = True


class ExportCancelled(ExportError):
    code = "EXPORT_CANCELLED"

    def __init__(self) -> None:
        super().__init__(
            "The export was cancelled before it was finished",
            "Nothing of it is kept; ask for it again if it is wanted after all",
        )


class ExportTimeout(ExportError):
    code = "EXPORT_TIMEOUT"

    def __init__(self, limit: timedelta) -> None:
        super().__init__(
            f"The export was not finished within {limit.total_seconds():g} seconds",
            "Ask for a shorter period, or raise METERPORT_JOB_TIME_LIMIT_S",
        )


class ExportCrashed(ExportError):
    """Every attempt took its worker down."""

    code = "EXPORT_CRASHED"

    def __init__(self, crashes: int) -> None:
        super().__init__(
            f"The export was given up after {crashes} attempts that ended with their worker",
            "The worker's log names the cause; then ask for the export again",
        )


class InternalError(ExportError):
    """A defect of ours; the log has the traceback under the job's id."""

    code = "INTERNAL_ERROR"

    def __init__(self) -> None:
        super().__init__(
            "The export failed for a reason that is not the request's",
            "The service's log has the cause under the job's id; please report it",
        )


class DownloadError(MeterportError):
    pass


class ExportNotReady(DownloadError):
    code = "EXPORT_NOT_READY"
    retryable = True


class ExportFailed(DownloadError):
    code = "EXPORT_FAILED"


class ExportDamaged(DownloadError):
    """The file is missing or its bytes are not those that were written."""

    code = "EXPORT_DAMAGED"


class ExportExpired(DownloadError):
    code = "EXPORT_EXPIRED"


class ManifestGone(DownloadError):
    """Files that an older release wrote have none."""

    code = "MANIFEST_GONE"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the export {job_id} has no manifest; run it again to get one")


class RangeNotSatisfiable(DownloadError):
    code = "RANGE_NOT_SATISFIABLE"


class JobNotFound(MeterportError):
    code = "JOB_NOT_FOUND"

    def __init__(self, job_id: str, *, listed_by: str = "`meterport jobs`") -> None:
        super().__init__(f"there is no job {shown(job_id)}; {listed_by} lists them")


class ExportNotCancellable(MeterportError):
    """The job has ended already."""

    code = "EXPORT_NOT_CANCELLABLE"


class LeaseTaken(MeterportError):
    """Another process does what only one may do at a time."""

    code = "LEASE_TAKEN"
    retryable = True


class ServiceUnavailable(MeterportError):
    code = "SERVICE_UNAVAILABLE"
    retryable = True


class ImportRefused(MeterportError):
    code = "IMPORT_REFUSED"


class ImportBusy(ImportRefused):
    code = "IMPORT_BUSY"
    retryable = True


class BackupRefused(MeterportError):
    """No backup was made, or nothing was restored; what was there is as it was."""

    code = "BACKUP_REFUSED"


class StartRefused(MeterportError):
    code = "START_REFUSED"


def shown(value: object) -> str:
    """The value as a message may quote it: short and printable, else only its type and length."""
    if isinstance(value, str):
        if len(value) <= 64 and _PRINTABLE.issuperset(value):
            return f"'{value}'"
        return f"a string of {len(value)} characters"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} items"
    return "a value of another type"
