"""Retries, cancelling and expiry of jobs; named leases, of which the readings' writer is one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_FILES_LAST_A_WEEK = {
    "sqlite": "UPDATE jobs SET expires_at = strftime('%Y-%m-%d %H:%M:%f', updated_at, '+7 days') "
    "WHERE status = 'completed'",
    "postgresql": "UPDATE jobs SET expires_at = updated_at + interval '7 days' "
    "WHERE status = 'completed'",
}


def upgrade() -> None:
    for column in _job_columns():
        op.add_column("jobs", column)
    op.execute(_FILES_LAST_A_WEEK[op.get_bind().dialect.name])
    op.create_table(
        "leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("lease_until", sa.TIMESTAMP, nullable=False),
        sa.Column("readings_version", sa.BigInteger),
    )
    op.create_table(
        "erasures",
        sa.Column("smart_meter_id", sa.String, primary_key=True),
        sa.Column("requested_at", sa.TIMESTAMP, nullable=False),
        sa.Column("finished_at", sa.TIMESTAMP),
    )
    for name in ("writer_id", "lease_until"):
        op.drop_column("readings_state", name)


def downgrade() -> None:
    op.add_column("readings_state", sa.Column("writer_id", sa.String))
    op.add_column("readings_state", sa.Column("lease_until", sa.TIMESTAMP))
    op.drop_table("erasures")
    op.drop_table("leases")
    for column in _job_columns():
        op.drop_column("jobs", column.name)


def _job_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("retries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", sa.TIMESTAMP),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("expires_at", sa.TIMESTAMP),
    )
