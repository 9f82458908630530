"""Fleets: the meters of a job, and the parts that its file is made of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0004"
down_revision = "0003"

JOB_ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parts_left", sa.Integer))
    op.create_table(
        "job_meters",
        sa.Column("job_id", JOB_ID, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("smart_meter_id", sa.String, nullable=False),
    )
    op.create_index("job_meters_by_meter", "job_meters", ["smart_meter_id"])
    op.create_table(
        "job_parts",
        sa.Column("job_id", JOB_ID, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_meter", sa.Integer, nullable=False),
        sa.Column("end_meter", sa.Integer, nullable=False),
        sa.Column("start_datetime", sa.TIMESTAMP, nullable=False),
        sa.Column("end_datetime", sa.TIMESTAMP, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.TIMESTAMP),
        sa.Column("worker_id", sa.String),
        sa.Column("lease_until", sa.TIMESTAMP),
        sa.Column("rows_written", sa.BigInteger, nullable=False),
        sa.Column("rows_expected", sa.BigInteger, nullable=False),
        sa.Column("file_path", sa.String),
        sa.Column("record_count", sa.BigInteger),
        sa.Column("file_size_bytes", sa.BigInteger),
        sa.Column("sha256", sa.String),
    )
    op.create_index("job_parts_by_status", "job_parts", ["status", "job_id", "number"])


def downgrade() -> None:
    op.drop_table("job_parts")
    op.drop_table("job_meters")
    op.drop_column("jobs", "parts_left")
