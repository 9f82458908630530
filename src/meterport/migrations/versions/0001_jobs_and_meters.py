"""The contract's jobs table with its additive columns, and the catalogue of meters."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0001"
down_revision = None

# Text on SQLite: a declared UUID column has numeric affinity there and eats some ids.
JOB_ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")
NOW = sa.text("CURRENT_TIMESTAMP")


def upgrade() -> None:
    op.create_table("jobs", *_contract_columns(), *_additive_columns())
    op.create_index("jobs_to_claim", "jobs", ["status", "created_at", "id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("request_sha256", sa.String, nullable=False),
        sa.Column("job_id", JOB_ID, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP, nullable=False),
    )
    op.create_table(
        "meters",
        sa.Column("smart_meter_id", sa.String, primary_key=True),
        sa.Column("first_timestamp", sa.TIMESTAMP, nullable=False),
        sa.Column("last_timestamp", sa.TIMESTAMP, nullable=False),
        sa.Column("interval_s", sa.Integer, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
    )
    state = op.create_table(
        "readings_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.BigInteger),
        sa.Column("writer_id", sa.String),
        sa.Column("lease_until", sa.TIMESTAMP),
    )
    op.bulk_insert(state, [{"id": 1}])


def downgrade() -> None:
    for table in ("readings_state", "meters", "idempotency_keys", "jobs"):
        op.drop_table(table)


def _contract_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("id", JOB_ID, primary_key=True),
        sa.Column("smart_meter_id", sa.String, nullable=False),
        sa.Column("start_datetime", sa.TIMESTAMP, nullable=False),
        sa.Column("end_datetime", sa.TIMESTAMP, nullable=False),
        sa.Column("status", sa.String, nullable=False, server_default="pending"),
        sa.Column("created_at", sa.TIMESTAMP, server_default=NOW),
        sa.Column("updated_at", sa.TIMESTAMP, server_default=NOW),
        sa.Column("file_path", sa.String),
        sa.Column("error_message", sa.Text),
        sa.Column("record_count", sa.Integer),
        sa.Column("file_size_bytes", sa.BigInteger),
    )


def _additive_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("format", sa.String, nullable=False, server_default="csv"),
        sa.Column("owner", sa.String, nullable=False, server_default="anonymous"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("worker_id", sa.String),
        sa.Column("lease_until", sa.TIMESTAMP),
        sa.Column("started_at", sa.TIMESTAMP),
        sa.Column("rows_written", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("rows_expected", sa.BigInteger),
        sa.Column("source_version", sa.BigInteger),
        sa.Column("sha256", sa.String),
        sa.Column("error_code", sa.String),
        sa.Column("error_details", sa.Text),
    )
