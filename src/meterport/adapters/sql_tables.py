"""The tables, as the newest migration leaves them. The columns of `jobs` down to
`file_size_bytes` are the contract's; the others may grow in number."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import UUID

from meterport.adapters.sql_database import UtcDateTime

metadata = MetaData()

# Text on SQLite: a declared UUID column has numeric affinity there and eats some ids.
JOB_ID = String(36).with_variant(UUID(as_uuid=False), "postgresql")

# What is hashed in order has one order on both databases.
BY_BYTES = String().with_variant(String(collation="C"), "postgresql")

jobs = Table(
    "jobs",
    metadata,
    Column("id", JOB_ID, primary_key=True),
    Column("smart_meter_id", String, nullable=False),
    Column("start_datetime", UtcDateTime, nullable=False),
    Column("end_datetime", UtcDateTime, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", UtcDateTime),
    Column("updated_at", UtcDateTime),
    Column("file_path", String),
    Column("error_message", Text),
    Column("record_count", Integer),
    Column("file_size_bytes", BigInteger),
    Column("format", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("worker_id", String),
    Column("lease_until", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("rows_written", BigInteger, nullable=False),
    Column("rows_expected", BigInteger),
    Column("source_version", BigInteger),
    Column("sha256", String),
    Column("error_code", String),
    Column("error_details", Text),
    Column("retries", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("cancel_requested", Boolean, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("lane", String, nullable=False),
    Column("parts_left", Integer),
    Column("compression", String, nullable=False),
    Column("options", Text),
    Column("label", String),
)
"""`parts_left`: of a job whose file is made in parts, how many are not finished; else null.
`options`: ExportOptions.words as JSON; null where nothing but defaults was asked for."""

job_meters = Table(
    "job_meters",
    metadata,
    Column("job_id", JOB_ID, ForeignKey("jobs.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("smart_meter_id", String, nullable=False),
)
"""The meters of a fleet, in the order of its file; the job's own smart_meter_id is `*`."""

job_parts = Table(
    "job_parts",
    metadata,
    Column("job_id", JOB_ID, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_meter", Integer, nullable=False),
    Column("end_meter", Integer, nullable=False),
    Column("start_datetime", UtcDateTime, nullable=False),
    Column("end_datetime", UtcDateTime, nullable=False),
    Column("status", String, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("worker_id", String),
    Column("lease_until", UtcDateTime),
    Column("rows_written", BigInteger, nullable=False),
    Column("rows_expected", BigInteger, nullable=False),
    Column("file_path", String),
    Column("record_count", BigInteger),
    Column("file_size_bytes", BigInteger),
    Column("sha256", String),
    Column("is_last", Boolean, nullable=False),
)
"""Parts of unfinished and completed jobs, pending or completed; the columns are those of `jobs`."""

job_manifests = Table(
    "job_manifests",
    metadata,
    Column("job_id", JOB_ID, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("about", Text, nullable=False),
    Column("days", LargeBinary, nullable=False),
)
"""Of files that are kept, each of its parts; number 0 where there are none. See Manifest."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("request_sha256", String, nullable=False),
    Column("job_id", JOB_ID, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

import_keys = Table(
    "import_keys",
    metadata,
    Column("owner", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("request_sha256", String, nullable=False),
    Column("state", String, nullable=False),
    Column("holder", String),
    Column("lease_until", UtcDateTime),
    Column("report", Text),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Idempotency keys of files that were sent. `state`: claimed, by `holder` as long as its lease
runs, or done, with the `report` as JSON. See adapters/sql_import_keys."""

meters = Table(
    "meters",
    metadata,
    Column("smart_meter_id", String, primary_key=True),
    Column("first_timestamp", UtcDateTime, nullable=False),
    Column("last_timestamp", UtcDateTime, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("row_count", BigInteger, nullable=False),
)

readings_state = Table(
    "readings_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger),
)
"""One row, id 1: the version that `meters` describes."""

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("readings_version", BigInteger),
)
"""Who may do what only one may do at a time; `readings_version` is kept from removal meanwhile."""

erasures = Table(
    "erasures",
    metadata,
    Column("smart_meter_id", String, primary_key=True),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)
"""The meters that were forgotten; a restored backup forgets them again."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("secret_sha256", String, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("meters", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
)
"""`scopes` and `meters`: lists of words as JSON, see domain/access."""

links = Table(
    "links",
    metadata,
    Column("id", String, primary_key=True),
    Column("job_id", JOB_ID, ForeignKey("jobs.id"), nullable=False),
    Column("key_id", String, nullable=False),
    Column("secret_sha256", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""Of downloads that need no key. `key_id`: who made it, empty without keys; what that key may no
longer read, its links do not lead to either. A revoked one is removed."""

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BY_BYTES, nullable=False),
    Column("owner", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("action", String, nullable=False),
    Column("result", String, nullable=False),
    Column("job_id", String),
    Column("meters_sha256", BY_BYTES),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("request_id", String, nullable=False),
    Column("details", Text, nullable=False),
    Column("sha256", String, nullable=False),
)
"""Who received whose readings, and when; see domain/audit. Rows are added and never changed, which
the database itself refuses. `sha256`: of the row and of the one before."""

audit_meters = Table(
    "audit_meters",
    metadata,
    Column("meters_sha256", BY_BYTES, primary_key=True),
    Column("smart_meter_id", BY_BYTES, primary_key=True),
)
"""The sets of meters that `audit` speaks of, each once, under its own digest."""
